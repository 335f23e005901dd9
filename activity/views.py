"""Pages of events: of a repository, of a user. That of a policy is in `policies.py`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from activity.feed import BY_TIME, OLDEST_FIRST, sorted_by
from activity.forms import ActivityForm, Choice
from activity.gating import sees_pulls, visible_events, without_pulls
from activity.identity import first_id
from activity.models import Event
from repositories.access import Access
from repositories.keyset import InvalidCursor, Page
from repositories.models import Repository
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


class FeedView(TemplateView):
    """A list of events that the viewer may see. Subclasses say which, and what else is on the page."""

    repository: Repository | None = None
    """The one repository that all events are of, if there is one."""

    @cached_property
    def access(self) -> Access:
        return Access.of(self.request.user)

    def events(self) -> QuerySet[Event]:
        return visible_events(self.access, self.repository)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        offers_pulls = sees_pulls(self.access, self.repository)
        query = self.request.GET.copy()
        if not offers_pulls:
            query.pop("exclude_pull", None)  # nor may a link speak of it
        form = ActivityForm(query, offers_pulls)
        choice = form.choice()
        page, notice = self.page(choice)
        return super().get_context_data(
            **kwargs,
            form=form,
            query=query,
            choice=choice,
            sort=f"-{choice.column}" if choice.descending else choice.column,
            columns=[header(column, label, choice) for column, label in COLUMNS.items()],
            page=page,
            rows=[
                (event, event.actor_url(self.access), event.subject_url(self.access)) for event in page.rows
            ],
            offers_pulls=offers_pulls,
            notice=notice,
            section="repositories",
            time_zone=timezone.get_current_timezone_name(),
        )

    def page(self, choice: Choice) -> tuple[Page, str]:
        """Return the page, and what there is to say about it."""
        events = narrowed(self.events(), choice).select_related("actor_user", "policy__repository__namespace")
        if choice.column == "time":
            order = BY_TIME if choice.descending else OLDEST_FIRST
        else:
            events, order = sorted_by(events, choice.column, choice.descending)
        try:
            return order.page(events, PAGE_SIZE, self.request.GET.get("cursor")), ""
        except InvalidCursor:
            return order.page(events, PAGE_SIZE), "That page can't be found any more: this is the first one."


def header(column: str, label: str, choice: Choice) -> dict[str, str]:
    """Return what a column's header shows: its order now, and the order that a click on it gives."""
    if column != choice.column:
        return {"label": label, "sort": "-time" if column == "time" else column}
    if choice.descending:
        return {"label": label, "sort": column, "aria_sort": "descending", "arrow": "▼"}
    return {"label": label, "sort": f"-{column}", "aria_sort": "ascending", "arrow": "▲"}


def narrowed(events: QuerySet[Event], choice: Choice) -> QuerySet[Event]:
    """Apply the reader's choice of pulls and time."""
    if choice.exclude_pull:
        events = without_pulls(events)
    if choice.after:
        events = events.filter(id__gte=first_id(choice.after))
    if choice.before:
        events = events.filter(id__lt=first_id(choice.before))
    return events


class RepositoryActivityView(RepositoryPage, FeedView):  # type: ignore[misc]  # here there is a repository
    """The Activity tab of a repository."""

    tab = "Activity"
    template_name = "activity/repository.html"


class UserView(FeedView):
    """The profile of a user, with what they did as far as the viewer may see it."""

    template_name = "activity/user.html"

    @cached_property
    def person(self) -> Any:
        field = get_user_model().USERNAME_FIELD
        return get_object_or_404(get_user_model(), **{field: self.kwargs["username"]})

    def events(self) -> QuerySet[Event]:
        return super().events().filter(actor_name=self.person.get_username(), actor_user=self.person)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, person=self.person)
