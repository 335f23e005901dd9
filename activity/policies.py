"""The page of a policy: what it is, which tags it would touch, and its history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from activity.models import Event
from activity.views import FeedView
from repositories.access import Access
from repositories.models import Criterion, Policy, Repository
from repositories.policies.changes import FIELDS
from repositories.views.policies import PolicyPage, known_name, target_of


class PolicyView(PolicyPage, FeedView):  # type: ignore[misc]  # here there is a repository
    """A policy, with what it did and what was done to it."""

    template_name = "activity/policy.html"

    def events(self) -> QuerySet[Event]:
        return super().events().filter(policy=self.policy)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs, target=target_of(self.policy, self.access))
        tell_changes([event for event, _ in context["rows"]], self.access)
        return context


def tell_changes(events: Iterable[Event], access: Access) -> None:
    """Give each event of a change of a policy what changed, as `changes`: label, before, after."""
    changed = [(event, event.details["changes"]) for event in events if _is_change(event)]
    ids = {id for _, changes in changed for id in changes.get("target", {}).values()}
    targets = Repository.objects.filter(pk__in=ids).select_related("namespace") if ids else []
    names = {target.pk: known_name(target, access) for target in targets}
    for event, changes in changed:
        event.changes = [  # type: ignore[attr-defined]
            (_label(field), *(_text(field, sides.get(side), names) for side in ("before", "after")))
            for field in (*FIELDS, "criteria")
            if (sides := changes.get(field))
        ]


def _is_change(event: Event) -> bool:
    # What a producer tells of an event of its own is text.
    return isinstance(event.details.get("changes"), dict)


def _label(field: str) -> str:
    if field == "criteria":
        return str(Criterion._meta.verbose_name_plural)
    return str(Policy._meta.get_field(field).verbose_name)  # type: ignore[union-attr]


def _text(field: str, value: Any, names: dict[int, str]) -> str:
    """Return a value as people read it; what was without a value is a dash."""
    match field:
        case "criteria":
            return ", and ".join(value or ["every tag"])
        case "enabled" if value is not None:
            return "yes" if value else "no"
        case "target" if value is not None:
            return names.get(value, "")
        case "interval" if value is not None:
            return Policy.Interval(value).label
    return value or "—"
