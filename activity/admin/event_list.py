"""The admin list of events, which shows search results and uses keyset pagination."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.db.models import prefetch_related_objects
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from activity.admin.event_filters import EventFilter
from activity.feed import plans, reading, search
from activity.feed.search_language import Search, parse
from activity.feed.together import join_neighbors
from repositories.access.resolving import Access
from repositories.utils.admin_lookup import mark_unreadable
from repositories.utils.keyset import InvalidCursor


def search_url(search: Search) -> str:
    """Return the URL that runs a search in the admin list of events."""
    return f"{reverse('admin:registry_activity_event_changelist')}?{urlencode({'q': str(search)})}"


class EventChangeList(ChangeList):
    """A page of the events that match both the search text and the filters. The results are not counted."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        queryset: Any = super().get_queryset(request, exclude_parameters)
        # Django's form drops a search with NUL characters.
        self.search = parse(request.GET.get(SEARCH_VAR, ""), timezone.get_current_timezone())
        (self.filter,) = cast(list[EventFilter], self.filter_specs)
        self.search &= self.filter.search
        repeated = [name for name, values in request.GET.lists() if len(values) > 1]
        self.search &= Search(
            problems=tuple(_("%(name)s can be given only once.") % {"name": name} for name in repeated)
        )
        self.access = Access.for_user(request.user)
        self.plan = search.plan(plans.Plan(queryset, self.access), self.search)
        return self.plan.events()

    def get_results(self, request: HttpRequest) -> None:
        self.problems = list(self.plan.problems)
        if self.problems:
            mark_unreadable(request)
        self.notices = list(self.plan.notices)
        self.cursor = request.GET.get(PAGE_VAR)
        try:
            self.search_page = self._find_page(self.cursor)
        except InvalidCursor:
            self.notices.append(_("That page is not available, so the first page is shown instead."))
            self.search_page = self._find_page(None)
        if not self.search_page.rows and not self.search_page.searched_to and not self.problems:
            self.notices += search.explain_empty(self.search, self.access)
        self.result_list = self.search_page.rows
        join_neighbors(self.result_list)
        prefetch_related_objects(self.result_list, "actor_user", "repository")
        self.newest_url = self.get_query_string() if self.cursor else ""
        cursors = (self.search_page.newer, self.search_page.older, self.search_page.continue_cursor)
        self.newer_url, self.older_url, self.continue_url = (
            self.get_query_string({PAGE_VAR: cursor}) if cursor else "" for cursor in cursors
        )
        # The admin templates are written for numbered pages and expect these attributes.
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.multi_page = False
        self.can_show_all = self.show_admin_actions = True

    def _find_page(self, cursor: str | None) -> reading.EventPage:
        return reading.find(self.plan, self.list_per_page, cursor)
