"""Pages that list all events, the events in a repository or an organization, or a user's events.

The policy page, which also lists events, is in `policies.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet, prefetch_related_objects
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    HttpResponseNotAllowed,
    QueryDict,
)
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise, cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.generic import TemplateView

from activity.deletion.traces import deletion_note
from activity.feed import chart, chart_counts, export, live, search
from activity.feed.choices import FILTERS, ActivityForm, Choice, iso_milliseconds
from activity.feed.conditions import Condition
from activity.feed.filters import EventFilterSet
from activity.feed.links import links
from activity.feed.ordering import BY_TIME, sorted_by
from activity.feed.plans import FIRST_ID
from activity.feed.qualifiers import offered_qualifiers
from activity.feed.reading import find, iter_pages, newest
from activity.feed.remarks import attach_remarks
from activity.feed.search_language import Search
from activity.feed.together import join_neighbors
from activity.gating import sees_only_pulls, sees_pulls
from activity.models import ACTORS, ActorType, Event, EventQuerySet
from repositories.access.people import organizations_of
from repositories.models import RegistrySettings, Repository
from repositories.utils.keyset import InvalidCursor, Page
from repositories.utils.parameters import unknown_parameters
from repositories.utils.text import is_storable
from repositories.views.organizations import OrganizationPage
from repositories.views.pages import RepositoryPage, ViewerMixin

PAGE_SIZE = 10
CSRF_FIELD = "csrfmiddlewaretoken"
COLUMNS = {
    "label": _("Label"),
    "repository": _("Repository"),
    "tag": _("Tag"),
    "digest": _("SHA"),
    "type": _("Type"),
    "actor": _("Initiated by"),
    "time": _("Date and time"),
}


@dataclass(frozen=True)
class Listed:
    """A page of a list of events."""

    page: Page
    searched_to: datetime | None = None
    """How far a search got, if it stopped before the page was full."""
    sorted_from: datetime | None = None
    """From when on events are sorted, if there are too many of them."""
    notices: Sequence[str] = ()

    @property
    def rows(self) -> list[Event]:
        return self.page.rows


class ActivityPage(ViewerMixin, TemplateView):
    """Base class for pages with a list of events that the viewer may see."""

    repository: Repository | None = None
    """The repository whose events the page lists, or None if the page isn't about a single repository."""
    within: QuerySet[Repository] | None = None
    """The repositories that the page is restricted to, if any, such as an organization's repositories."""
    has_atom = True
    parameters_of_page = frozenset({"cursor", "since", "shown", "announced"})
    """The parameters that are not fields of the form."""

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
            excludes_pulls="exclude_pull" in self.query or not sees_only_pulls(self.access, self.repository),
            scanning_enabled=self.scanning_enabled,
            sees_system=self.access.sees_everything,
            fixed=fixed | {"repository"} if self.repository else fixed,
            known=self.parameters_of_page,
            repository=self.repository.full_name if self.repository else "",
        )

    @cached_property
    def choice(self) -> Choice:
        return self.form.choice()

    @property
    def parameters(self) -> dict[str, Any]:
        """The page's filters and the viewer's filters, combined as API filters."""
        return {**self.scope, **self.choice.parameters}

    def visible_events(self) -> EventQuerySet:
        """Return the events that the page could list to this viewer, without any filters."""
        return Event.objects.visible_to(self.access, self.repository)

    def conditions(self) -> list[Condition]:
        """Return the conditions that define the page and have no API filter."""
        return []

    def filtered(self, parameters: Mapping[str, Any]) -> EventFilterSet:
        """Return the events that the viewer may see and that match the given API filters."""
        return EventFilterSet(
            parameters,
            self.visible_events(),
            request=self.request,
            access=self.access,
            scanning_enabled=self.scanning_enabled,
            parsed=self.choice.search,
            repository=self.repository,
            conditions=self.conditions(),
        )

    @cached_property
    def listed(self) -> EventFilterSet:
        return self.filtered(self.parameters)

    @cached_property
    def problems(self) -> list[str]:
        """Why nothing is shown or exported: what the page doesn't understand of the request."""
        if found := [*self.form.problems, *unknown_parameters(self.request.POST, {"export", CSRF_FIELD})]:
            return found
        return [message for messages in self.listed.errors.values() for message in messages]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "since" in request.GET:
            return self.refusal() or self.new_events(request.GET)
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Return a download of all events in the list.

        Exports are recorded as events, so links on other sites must not be able to start an export.
        """
        format = request.POST.get("export", "")
        if format not in export.CONTENT_TYPES:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if self.problems:
            return self.render_to_response(self.get_context_data())
        place = {"repository": self.repository.full_name} if self.repository else {}
        return export.response(
            iter_pages(self.listed.plan, export.CHUNK),
            format,
            "-".join(self.kwargs.values()),
            actor=self.request.user,
            filters=urlencode({**place, **self.parameters}, doseq=True),
        )

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """Return the page. By its status, programs notice that nothing is shown.

        htmx would show nothing at all of a page with an error status.
        """
        is_refused = self.problems and "HX-Request" not in self.request.headers
        return super().render_to_response(context, status=400 if is_refused else 200, **kwargs)

    def refusal(self) -> HttpResponse | None:
        """Return a response in plain text that names the problems, or None if there are none."""
        text = "\n".join(self.problems)
        return HttpResponseBadRequest(text, content_type="text/plain; charset=utf-8") if text else None

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        choice = self.choice
        page = Listed(Page([], None, None)) if self.problems else self.load_page()
        attach_remarks(page.rows)
        if choice.column == "time":
            join_neighbors(page.rows)
        event_chart, counted_from = self.chart()
        return super().get_context_data(
            **kwargs,
            form=self.form,
            problems=self.problems,
            time_inputs=self.form.time_inputs(),
            qualifiers=offered_qualifiers(self.access),
            query=self.query,
            choice=choice,
            sort=f"-{choice.column}" if choice.descending else choice.column,
            columns=[column_header(column, label, choice) for column, label in COLUMNS.items()],
            page=page.page,
            searched_to=page.searched_to,
            sorted_from=page.sorted_from,
            rows=[self.row(event) for event in page.rows],
            chart=event_chart,
            counted_from=counted_from,
            live_url=self.live_url(page.page),
            api_call=self.api_call(),
            atom_url=f"{self.request.path}atom/{self.list_url()}" if self.has_atom else "",
            may_push=bool(self.repository and "push" in self.access.permissions_on(self.repository)),
            offers_pulls=self.offers_pulls,
            notices=[*page.notices, *self.notices(page)],
            sees_everything=self.access.sees_everything,
            deletion_note="" if page.page.next else deletion_note(choice.after or choice.search.after),
        )

    def notices(self, page: Listed) -> list[str]:
        """Return what the viewer should know about how the request was read."""
        if self.problems:
            return []
        notices = [*self.form.notices, *self.listed.search_plan.notices]
        if not page.rows and not page.searched_to:
            notices += search.explain_empty(self.choice.search, self.access, self.choice.after)
        return notices

    def load_page(self) -> Listed:
        """Return the requested page of the list, or the first page if the requested one is not available."""
        cursor = self.request.GET.get("cursor")
        try:
            return self.find_page(cursor)
        except InvalidCursor:
            notice = gettext("That page is not available, so the first page is shown instead.")
            return replace(self.find_page(None), notices=[notice])

    def find_page(self, cursor: str | None) -> Listed:
        """Return a page of the list. Raises InvalidCursor."""
        choice, plan = self.choice, self.listed.plan
        if choice.column == "time":
            start = BY_TIME.encode(Event(pk=FIRST_ID), reverse=True)  # the page before the first one
            found = find(plan, PAGE_SIZE, cursor or (None if choice.descending else start))
            prefetch_related_objects(found.rows, *ACTORS)
            if choice.descending:
                return Listed(Page(found.rows, found.older, found.newer), found.searched_to)
            return Listed(
                Page(found.rows[::-1], found.newer, found.older if cursor else None), found.searched_to
            )
        with newest(plan) as (events, stopped):
            rows, order = sorted_by(events, choice.column, choice.descending)
            page = order.page(rows, PAGE_SIZE, cursor)
        prefetch_related_objects(page.rows, *ACTORS)
        return Listed(page, sorted_from=stopped)

    def row(self, event: Event) -> dict[str, Any]:
        """Return the template context of a table row: an event, and the URLs that its cells link to."""
        row = {"event": event, **links(event, self.access)}
        return {**row, "repository_url": ""} if self.repository else row

    def chart(self) -> tuple[chart.Chart, datetime | None]:
        """Return the chart, and the time from which events were counted (None if all events were counted)."""
        choice, counted_from, zone = self.choice, None, timezone.get_current_timezone()
        if self.problems:
            buckets: list[chart_counts.Bucket] = []
        elif set(self.scope) - {"organization"} or choice.filters or choice.search != Search():
            bounds = choice.search & Search(after=choice.after, before=choice.before)
            buckets, counted_from = chart_counts.count_events(
                self.listed.plan, bounds.after, bounds.before, zone
            )
        else:
            buckets = chart_counts.count_by_tallies(
                self.access,
                repository=self.repository,
                within=self.within,
                after=choice.after,
                before=choice.before,
                exclude_pull=choice.exclude_pull,
                zone=zone,
            )
        return chart.draw(buckets, self.bucket_url), counted_from

    def bucket_url(self, bucket: chart_counts.Bucket) -> str:
        """Return the URL of the list limited to the time range of a chart bucket."""
        bounds = {"after": iso_milliseconds(bucket.start), "before": iso_milliseconds(bucket.end)}
        return f"{self.unbounded_url}&{urlencode(bounds)}"

    @cached_property
    def unbounded_url(self) -> str:
        """The URL of the list for a custom range, to which the bounds of the range can be added."""
        return self.list_url(without=("after", "before"), range="custom")

    def list_url(self, without: Sequence[str] = (), **changes: str) -> str:
        """Return the URL of the first page of the list, with changes to the query parameters."""
        query = self.query.copy()
        for name in ("cursor", "since", "shown", "announced", *without):
            query.pop(name, None)
        for name, value in changes.items():
            query[name] = value
        return f"?{query.urlencode()}"

    def live_url(self, page: Page) -> str:
        """Return the URL to poll for new events, or "" if the page doesn't start with the newest events."""
        choice = self.choice
        is_newest = choice.column == "time" and choice.descending and not page.previous
        if self.problems or not is_newest or choice.before or choice.search.before:
            return ""
        return self.list_url(**live.position(page.rows))

    def new_events(self, query: Mapping[str, str]) -> HttpResponse:
        """Return a notice about the new events that have arrived since the page was loaded."""
        parameters = self.parameters
        if self.choice.range != "custom":
            # The range moves with the current time. Events that have left the range since the page was loaded
            # would otherwise cancel out new events in the count.
            parameters.pop("after", None)
        return live.response(self.request, self.filtered(parameters).plan, query, self.list_url())

    def api_call(self) -> dict[str, str]:
        """Return a URL and a shell command for the API call that returns the same list."""
        parameters = self.parameters
        if not self.offers_pulls:
            parameters.pop("exclude_pull", None)
        if self.choice.column == "time" and not self.choice.descending:
            parameters["sort"] = "time"
        url = self.request.build_absolute_uri(
            f"{self.api_url}?{urlencode(parameters, doseq=True)}".rstrip("?")
        )
        return {"url": url, "curl": f'curl -H "Authorization: Bearer $TOKEN" {shlex.quote(url)}'}


def column_header(column: str, label: str | Promise, choice: Choice) -> dict[str, str | Promise]:
    """Return a column's header: its label, its current sort order, and the order that a click selects."""
    if column != choice.column:
        return {"label": label, "sort": "-time" if column == "time" else column}
    if choice.descending:
        return {"label": label, "sort": column, "aria_sort": "descending", "arrow": "▼"}
    return {"label": label, "sort": f"-{column}", "aria_sort": "ascending", "arrow": "▲"}


class ActivityView(ActivityPage):
    """The page that lists all events that the viewer may see."""

    template_name = "registry_activity/all.html"
    extra_context = {"section": "activity"}


# The base classes declare `repository` with different types. It is never None here.
class RepositoryActivityView(RepositoryPage, ActivityPage):  # type: ignore[misc]
    """The Activity tab of a repository."""

    tab = "registry_activity:repository"
    template_name = "registry_activity/repository.html"


class OrganizationActivityView(OrganizationPage, ActivityPage):
    """The Activity tab of an organization, with the events in its namespaces."""

    tab = "registry_activity:organization"
    template_name = "registry_activity/organization.html"

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

    template_name = "registry_activity/user.html"

    @cached_property
    def person(self) -> Any:
        if not is_storable(username := self.kwargs["username"]):
            raise Http404
        user_model, key = get_user_model(), {get_user_model().USERNAME_FIELD: username}
        # A name that nobody has takes the same queries. Otherwise, a faster response would reveal that
        # there is no such user, instead of one whom they can't see.
        person: Any = user_model._default_manager.filter(**key).first() or user_model(pk=0, **key)
        viewer = self.request.user
        known = (
            person == viewer or self.access.sees_everything or organizations_of(person, self.access).exists()
        )
        events = Event.objects.visible_to(self.access).filter(actor_user=person).order_by()
        # The name is redundant, but it lets the query use the index on names.
        visible = known or events.filter(actor_name=username).exists()
        if person._state.adding or not visible:
            raise Http404
        return person

    @property
    def scope(self) -> Mapping[str, Any]:
        return {"actor": self.person.get_username(), "actor_type": [ActorType.USER.value]}

    def conditions(self) -> list[Condition]:
        # The API filter compares usernames, but an earlier user may have had the same name.
        return [Condition(Q(actor_user=self.person))]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        organizations = organizations_of(self.person, self.access)
        return super().get_context_data(**kwargs, person=self.person, organizations=organizations)
