"""Pages of events: all, of a repository, an organization, a user. That of a policy is in `policies.py`."""

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
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from activity.feed import chart, counting, export, live
from activity.feed.choices import NARROWING, ActivityForm, Choice, iso
from activity.feed.filters import narrowed
from activity.feed.ordering import BY_TIME, OLDEST_FIRST, sorted_by
from activity.gating import sees_pulls
from activity.models import ActorType, Event
from repositories.access.people import organizations_of
from repositories.access.resolving import Access
from repositories.models import RegistrySettings, Repository
from repositories.utils.keyset import InvalidCursor, Page
from repositories.views.organizations import OrganizationPage
from repositories.views.pages import RepositoryPage

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

EXPORTS: Mapping[str, export.Format] = {"csv": "csv", "jsonl": "jsonl"}


class FeedView(TemplateView):
    """A list of events that the viewer may see. Subclasses say which, and what else is on the page."""

    repository: Repository | None = None
    """The one repository that all events are of, if there is one."""
    within: QuerySet[Repository] | None = None
    """The repositories that all events are of, if the list is one of several."""
    section = "repositories"
    has_atom = True

    @cached_property
    def access(self) -> Access:
        return Access.of(self.request.user)

    @property
    def scope(self) -> Mapping[str, str]:
        """What the page narrows its list by, as filters of the API."""
        return {}

    @property
    def api_url(self) -> str:
        """The list of the API that the page shows, before anything is narrowed."""
        if self.repository:
            names = [self.repository.namespace.name, self.repository.name]
            return reverse("registry_api:repository-events", args=names)
        return reverse("registry_api:events")

    @cached_property
    def offers_pulls(self) -> bool:
        return sees_pulls(self.access, self.repository)

    @cached_property
    def query(self) -> QueryDict:
        """The choices in the address, for links to carry on. Not even a link may speak of pulls."""
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
        settled = {name for name in NARROWING if name in self.scope}
        return ActivityForm(
            self.query,
            offers_pulls=self.offers_pulls,
            scanning_enabled=self.scanning_enabled,
            settled=settled | {"repository"} if self.repository else settled,
        )

    @cached_property
    def choice(self) -> Choice:
        return self.form.choice()

    @property
    def parameters(self) -> dict[str, str]:
        """What is shown, as filters of the API."""
        return {**self.scope, **self.choice.parameters}

    def events(self, parameters: Mapping[str, str]) -> QuerySet[Event]:
        """Return the events that the viewer may see, narrowed by filters of the API."""
        events = Event.objects.visible_to(self.access, self.repository)
        return narrowed(events, parameters, self.request, self.scanning_enabled)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "since" in request.GET:
            return self.news(request.GET)
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Export, which is recorded, so that no link on a foreign page does it in somebody's name."""
        if request.POST.get("export") in EXPORTS:
            return self.export(EXPORTS[request.POST["export"]])
        return HttpResponseNotAllowed(["GET", "HEAD"])

    def export(self, format: export.Format) -> HttpResponseBase:
        """Send all that the pages list as a file."""
        place = {"repository": self.repository.full_name} if self.repository else {}
        return export.response(
            self.events(self.parameters),
            format,
            f"events.{format}",
            actor=self.request.user,
            filters=urlencode({**place, **self.parameters}),
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        choice = self.choice
        page, notice = self.events_page()
        drawn, counted_from = self.chart()
        return super().get_context_data(
            **kwargs,
            form=self.form,
            query=self.query,
            choice=choice,
            sort=f"-{choice.column}" if choice.descending else choice.column,
            columns=[header(column, label, choice) for column, label in COLUMNS.items()],
            page=page,
            rows=[self.row(event) for event in page.rows],
            chart=drawn,
            counted_from=counted_from,
            live_url=self.live_url(page),
            call=self.call(),
            atom_url=f"{self.request.path}atom/{self.address()}" if self.has_atom else "",
            may_push=bool(self.repository and "push" in self.access.permissions_on(self.repository)),
            offers_pulls=self.offers_pulls,
            notice=notice,
            section=self.section,
            time_zone=timezone.get_current_timezone_name(),
        )

    def events_page(self) -> tuple[Page, str]:
        """Return the page, and what there is to say about it."""
        choice = self.choice
        events = self.events(self.parameters).select_related(
            "repository__namespace", "actor_user", "policy__repository__namespace"
        )
        if choice.column == "time":
            order = BY_TIME if choice.descending else OLDEST_FIRST
        else:
            events, order = sorted_by(events, choice.column, choice.descending)
        try:
            return order.page(events, PAGE_SIZE, self.request.GET.get("cursor")), ""
        except InvalidCursor:
            return order.page(events, PAGE_SIZE), "That page can't be found any more: this is the first one."

    def row(self, event: Event) -> dict[str, Any]:
        """Return an event, and where its cells lead."""
        return {
            "event": event,
            "subject_url": event.subject_url(self.access),
            "repository_url": "" if self.repository else event.repository_url(self.access),
            "actor_url": event.actor_url(self.access),
        }

    def chart(self) -> tuple[chart.Chart, datetime | None]:
        """Return the chart of all that the pages list, and where its counting ended, if it did."""
        choice, ended = self.choice, None
        if set(self.scope) - {"organization"} or choice.narrowing:
            buckets, ended = counting.by_events(self.events(self.parameters), choice.after, choice.before)
        else:
            buckets = counting.by_tallies(
                self.access,
                repository=self.repository,
                within=self.within,
                after=choice.after,
                before=choice.before,
                exclude_pull=choice.exclude_pull,
            )
        return chart.draw(buckets, self.address_of), ended

    def address_of(self, bucket: counting.Bucket) -> str:
        """Return the address of the list of a bucket's events."""
        return self.address(range="custom", after=iso(bucket.start), before=iso(bucket.end))

    def address(self, **changes: str) -> str:
        """Return the address of the first page of the list with other choices."""
        query = self.query.copy()
        for name in ("cursor", "since", "had", "told"):
            query.pop(name, None)
        for name, value in changes.items():
            query[name] = value
        return f"?{query.urlencode()}"

    def live_url(self, page: Page) -> str:
        """Return where to ask for news of this page; nothing where none come: only the newest have them."""
        choice = self.choice
        if choice.column != "time" or not choice.descending or choice.before or page.previous:
            return ""
        return self.address(**live.position(page.rows))

    def news(self, query: Mapping[str, str]) -> HttpResponse:
        """Answer what is new since a page was shown."""
        parameters = self.parameters
        if self.choice.range != "custom":  # or what leaves the last hour would make up for what is new
            parameters.pop("after", None)
        return live.response(self.request, self.events(parameters), query, self.address())

    def call(self) -> dict[str, str]:
        """Return the call of the API that lists the same, as an address and for a shell."""
        parameters = self.parameters
        if not self.offers_pulls:
            parameters.pop("exclude_pull", None)
        url = self.request.build_absolute_uri(f"{self.api_url}?{urlencode(parameters)}".rstrip("?"))
        return {"url": url, "curl": f'curl -H "Authorization: Bearer $TOKEN" {shlex.quote(url)}'}


def header(column: str, label: str, choice: Choice) -> dict[str, str]:
    """Return what a column's header shows: its order now, and the order that a click on it gives."""
    if column != choice.column:
        return {"label": label, "sort": "-time" if column == "time" else column}
    if choice.descending:
        return {"label": label, "sort": column, "aria_sort": "descending", "arrow": "▼"}
    return {"label": label, "sort": f"-{column}", "aria_sort": "ascending", "arrow": "▲"}


class ActivityView(FeedView):
    """All events that the viewer may see."""

    template_name = "activity/all.html"
    section = "activity"


class RepositoryActivityView(RepositoryPage, FeedView):  # type: ignore[misc]  # here there is a repository
    """The Activity tab of a repository."""

    tab = "Activity"
    template_name = "activity/repository.html"


class OrganizationActivityView(OrganizationPage, FeedView):
    """What happened in the namespaces of an organization, for those who may know of it."""

    tab = "Activity"
    template_name = "activity/organization.html"

    @property
    def scope(self) -> Mapping[str, str]:
        return {"organization": self.organization.name}

    @property
    def within(self) -> QuerySet[Repository]:  # type: ignore[override]
        return Repository.objects.filter(namespace__organization=self.organization).order_by()


class UserView(FeedView):
    """The profile of a user, with what they did as far as the viewer may see it.

    It is there for those who know of that user anyhow: who share an organization with them, or may see
    something that they did. For everybody else the user might as well not exist.
    """

    template_name = "activity/user.html"
    section = ""

    @cached_property
    def person(self) -> Any:
        field = get_user_model().USERNAME_FIELD
        if "\0" in self.kwargs["username"]:  # which no database takes
            raise Http404
        person = get_object_or_404(get_user_model(), **{field: self.kwargs["username"]})
        viewer = self.request.user
        known = person == viewer or self.access.sees_everything
        if not (known or organizations_of(person, viewer).exists() or self.seen_of(person).exists()):
            raise Http404
        return person

    def seen_of(self, person: Any) -> QuerySet[Event]:
        events = Event.objects.visible_to(self.access)
        return events.filter(actor_name=person.get_username(), actor_user=person).order_by()

    @property
    def scope(self) -> Mapping[str, str]:
        return {"actor": self.person.get_username(), "actor_type": ActorType.USER.value}

    def events(self, parameters: Mapping[str, str]) -> QuerySet[Event]:
        # A name may have been another's before; the API knows names alone.
        return super().events(parameters).filter(actor_user=self.person)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        organizations = organizations_of(self.person, self.request.user)
        return super().get_context_data(**kwargs, person=self.person, organizations=organizations)
