"""Pages that list all events, the events in a repository or an organization, or a user's events.

The policy page, which also lists events, is in `policies.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    QueryDict,
)
from django.urls import reverse
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from activity.feed import chart, chart_counts, export, live
from activity.feed.choices import FILTERS, ActivityForm, Choice, iso
from activity.feed.filters import EventFilterSet
from activity.feed.ordering import sorted_by
from activity.feed.remarks import attach_remarks
from activity.gating import sees_pulls
from activity.models import ActorType, Event
from repositories.access.people import organizations_of
from repositories.models import RegistrySettings, Repository
from repositories.utils.keyset import InvalidCursor, Page
from repositories.utils.text import is_storable
from repositories.views.organizations import OrganizationPage
from repositories.views.pages import RepositoryPage, ViewerMixin

PAGE_SIZE = 10
COLUMNS = {
    "label": "Label",
    "repository": "Repository",
    "tag": "Tag",
    "digest": "SHA",
    "type": "Type",
    "actor": "Initiated by",
    "time": "Date and time",
}


class ActivityPage(ViewerMixin, TemplateView):
    """Base class for pages with a list of events that the viewer may see."""

    repository: Repository | None = None
    """The repository whose events the page lists, or None if the page isn't about a single repository."""
    within: QuerySet[Repository] | None = None
    """The repositories that the page is restricted to, if any, such as an organization's repositories."""
    has_atom = True

    @property
    def scope(self) -> Mapping[str, Any]:
        """The API filters that define the page, without the filters that the viewer has chosen."""
        return {}

    @property
    def api_url(self) -> str:
        """The URL of the API endpoint that lists the page's events, without filters."""
        if self.repository:
            names = [self.repository.namespace.name, self.repository.name]
            return reverse("registry_api:repository-events", args=names)
        return reverse("registry_api:events")

    @cached_property
    def offers_pulls(self) -> bool:
        return sees_pulls(self.access, self.repository)

    @cached_property
    def query(self) -> QueryDict:
        """The non-empty query parameters to keep in links.

        `exclude_pull` is left out if the viewer can't see pulls.
        """
        query = self.request.GET.copy()
        for name in list(query):
            if not query[name] or (name == "exclude_pull" and not self.offers_pulls):
                del query[name]
        return query

    @cached_property
    def scanning_enabled(self) -> bool:
        return RegistrySettings.get_solo().scanning_enabled

    @cached_property
    def form(self) -> ActivityForm:
        fixed = {name for name in FILTERS if name in self.scope}
        return ActivityForm(
            self.query,
            offers_pulls=self.offers_pulls,
            scanning_enabled=self.scanning_enabled,
            fixed=fixed | {"repository"} if self.repository else fixed,
        )

    @cached_property
    def choice(self) -> Choice:
        return self.form.choice()

    @property
    def parameters(self) -> dict[str, Any]:
        """The page's filters and the viewer's filters, combined as API filters."""
        return {**self.scope, **self.choice.parameters}

    def events(self, parameters: Mapping[str, Any]) -> QuerySet[Event]:
        """Return the events that the viewer may see and that match the given API filters."""
        events = Event.objects.visible_to(self.access, self.repository)
        filters = EventFilterSet(
            parameters, events, request=self.request, scanning_enabled=self.scanning_enabled
        )
        if not filters.is_valid():
            raise ValueError(str(filters.errors))
        return filters.qs

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "since" in request.GET:
            return self.new_events(request.GET)
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Return a download of all events in the list.

        Exports are recorded as events, so links on other sites must not be able to start an export.
        """
        format = request.POST.get("export", "")
        if format not in export.CONTENT_TYPES:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        place = {"repository": self.repository.full_name} if self.repository else {}
        return export.response(
            self.events(self.parameters),
            format,
            f"events.{format}",
            actor=self.request.user,
            filters=urlencode({**place, **self.parameters}, doseq=True),
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        choice = self.choice
        page, notice = self.load_page()
        attach_remarks(page.rows)
        event_chart, counted_from = self.chart()
        return super().get_context_data(
            **kwargs,
            form=self.form,
            query=self.query,
            choice=choice,
            sort=f"-{choice.column}" if choice.descending else choice.column,
            columns=[column_header(column, label, choice) for column, label in COLUMNS.items()],
            page=page,
            rows=[self.row(event) for event in page.rows],
            chart=event_chart,
            counted_from=counted_from,
            live_url=self.live_url(page),
            api_call=self.api_call(),
            atom_url=f"{self.request.path}atom/{self.list_url()}" if self.has_atom else "",
            may_push=bool(self.repository and "push" in self.access.permissions_on(self.repository)),
            offers_pulls=self.offers_pulls,
            notice=notice,
        )

    def load_page(self) -> tuple[Page, str]:
        """Return the requested page of the list, and a notice to show (empty if there is none)."""
        choice = self.choice
        events = self.events(self.parameters).select_related(
            "repository__namespace", "actor_user", "policy__repository__namespace"
        )
        events, order = sorted_by(events, choice.column, choice.descending)
        try:
            return order.page(events, PAGE_SIZE, self.request.GET.get("cursor")), ""
        except InvalidCursor:
            notice = "That page is not available, so the first page is shown instead."
            return order.page(events, PAGE_SIZE), notice

    def row(self, event: Event) -> dict[str, Any]:
        """Return the template context of a table row: an event, and the URLs that its cells link to."""
        return {
            "event": event,
            "subject_url": event.subject_url(self.access),
            "repository_url": "" if self.repository else event.repository_url(self.access),
            "actor_url": event.actor_url(self.access),
        }

    def chart(self) -> tuple[chart.Chart, datetime | None]:
        """Return the chart, and the time from which events were counted (None if all events were counted)."""
        choice, counted_from = self.choice, None
        if set(self.scope) - {"organization"} or choice.filters:
            buckets, counted_from = chart_counts.count_events(
                self.events(self.parameters), choice.after, choice.before
            )
        else:
            buckets = chart_counts.count_by_tallies(
                self.access,
                repository=self.repository,
                within=self.within,
                after=choice.after,
                before=choice.before,
                exclude_pull=choice.exclude_pull,
            )
        return chart.draw(buckets, self.bucket_url), counted_from

    def bucket_url(self, bucket: chart_counts.Bucket) -> str:
        """Return the URL of the list limited to the time range of a chart bucket."""
        return self.list_url(range="custom", after=iso(bucket.start), before=iso(bucket.end))

    def list_url(self, **changes: str) -> str:
        """Return the URL of the first page of the list, with changes to the query parameters."""
        query = self.query.copy()
        for name in ("cursor", "since", "shown", "announced"):
            query.pop(name, None)
        for name, value in changes.items():
            query[name] = value
        return f"?{query.urlencode()}"

    def live_url(self, page: Page) -> str:
        """Return the URL to poll for new events, or "" if the page doesn't start with the newest events."""
        choice = self.choice
        if choice.column != "time" or not choice.descending or choice.before or page.previous:
            return ""
        return self.list_url(**live.position(page.rows))

    def new_events(self, query: Mapping[str, str]) -> HttpResponse:
        """Return a notice about the new events that have arrived since the page was loaded."""
        parameters = self.parameters
        if self.choice.range != "custom":
            # The range moves with the current time. Events that have left the range since the page was loaded
            # would otherwise cancel out new events in the count.
            parameters.pop("after", None)
        return live.response(self.request, self.events(parameters), query, self.list_url())

    def api_call(self) -> dict[str, str]:
        """Return a URL and a shell command for the API call that returns the same list."""
        parameters = self.parameters
        if not self.offers_pulls:
            parameters.pop("exclude_pull", None)
        url = self.request.build_absolute_uri(
            f"{self.api_url}?{urlencode(parameters, doseq=True)}".rstrip("?")
        )
        return {"url": url, "curl": f'curl -H "Authorization: Bearer $TOKEN" {shlex.quote(url)}'}


def column_header(column: str, label: str, choice: Choice) -> dict[str, str]:
    """Return a column's header: its label, its current sort order, and the order that a click selects."""
    if column != choice.column:
        return {"label": label, "sort": "-time" if column == "time" else column}
    if choice.descending:
        return {"label": label, "sort": column, "aria_sort": "descending", "arrow": "▼"}
    return {"label": label, "sort": f"-{column}", "aria_sort": "ascending", "arrow": "▲"}


class ActivityView(ActivityPage):
    """The page that lists all events that the viewer may see."""

    template_name = "activity/all.html"
    extra_context = {"section": "activity"}


# The base classes declare `repository` with different types. It is never None here.
class RepositoryActivityView(RepositoryPage, ActivityPage):  # type: ignore[misc]
    """The Activity tab of a repository."""

    tab = "Activity"
    template_name = "activity/repository.html"


class OrganizationActivityView(OrganizationPage, ActivityPage):
    """The Activity tab of an organization, with the events in its namespaces."""

    tab = "Activity"
    template_name = "activity/organization.html"

    @property
    def scope(self) -> Mapping[str, str]:
        return {"organization": self.organization.name}

    @property
    def within(self) -> QuerySet[Repository]:  # type: ignore[override]
        return Repository.objects.filter(namespace__organization=self.organization).order_by()


class UserView(ActivityPage):
    """A user's profile page. It lists the user's events, limited to those that the viewer may see.

    The page is visible to the user, to MSR admins and auditors, to viewers who share an organization with the
    user, and to viewers who may see one of the user's events. Other viewers get a 404 response.
    """

    template_name = "activity/user.html"

    @cached_property
    def person(self) -> Any:
        if not is_storable(username := self.kwargs["username"]):
            raise Http404
        user_model, key = get_user_model(), {get_user_model().USERNAME_FIELD: username}
        # A name that nobody has takes the same queries. Otherwise, a faster response would reveal that
        # there is no such user, instead of one whom they can't see.
        person: Any = user_model._default_manager.filter(**key).first() or user_model(pk=0, **key)
        viewer = self.request.user
        known = person == viewer or self.access.sees_everything or organizations_of(person, viewer).exists()
        events = Event.objects.visible_to(self.access).filter(actor_user=person).order_by()
        # The name is redundant, but it lets the query use the index on names.
        visible = known or events.filter(actor_name=username).exists()
        if person._state.adding or not visible:
            raise Http404
        return person

    @property
    def scope(self) -> Mapping[str, Any]:
        return {"actor": self.person.get_username(), "actor_type": [ActorType.USER.value]}

    def events(self, parameters: Mapping[str, Any]) -> QuerySet[Event]:
        # The API filter compares usernames, but an earlier user may have had the same name.
        return super().events(parameters).filter(actor_user=self.person)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        organizations = organizations_of(self.person, self.request.user)
        return super().get_context_data(**kwargs, person=self.person, organizations=organizations)
