"""The admin's list of events: what a search finds, a keyset page at a time."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.http import HttpRequest
from django.utils import timezone

from activity.admin.event_filters import SearchFilter
from activity.feed import search
from activity.feed.search_language import parse
from repositories.utils.keyset import InvalidCursor


class EventChangeList(ChangeList):
    """A page of what is searched for in the box and beside it. Nothing is counted."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        queryset = super().get_queryset(request, exclude_parameters)
        self.search = parse(self.query, timezone.get_current_timezone())
        for spec in self.filter_specs:
            self.search &= cast(SearchFilter, spec).search
        self.conditions = search.conditions_of(self.search)
        return queryset.none() if self.conditions.problems else queryset.filter(self.conditions.all)

    def get_results(self, request: HttpRequest) -> None:
        self.problems = list(self.conditions.problems)
        self.cursor = request.GET.get(PAGE_VAR)
        try:
            self.found = self._find(self.cursor)
        except InvalidCursor:
            self.problems.append("That page can't be found any more: this is the first one.")
            self.found = self._find(None)
        self.result_list = self.found.rows
        # What the templates ask of a list that is counted and paged by numbers.
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.multi_page = False
        self.can_show_all = self.show_admin_actions = True

    def _find(self, cursor: str | None) -> search.Found:
        return search.find(self.root_queryset, self.conditions, self.list_per_page, cursor)

    @property
    def newest_url(self) -> str:
        return self.get_query_string() if self.cursor else ""

    @property
    def newer_url(self) -> str:
        return self._url(self.found.newer)

    @property
    def older_url(self) -> str:
        return self._url(self.found.older)

    @property
    def onward_url(self) -> str:
        return self._url(self.found.onward)

    def _url(self, cursor: str | None) -> str:
        return self.get_query_string({PAGE_VAR: cursor}) if cursor else ""
