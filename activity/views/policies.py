"""The page of a policy: what it is, which tags it would touch, and its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from activity.models import Event
from activity.storage import tags
from activity.views.activity import FeedView
from repositories.access.resolving import Access
from repositories.models import Criterion, Policy, Repository
from repositories.policies.changes import FIELDS
from repositories.policies.criteria import TagFacts, touched
from repositories.policies.tag_templates import render
from repositories.views.policies import PolicyPage, known_name, target_of

MOST_READ = 1_000
"""Tags that a preview reads, the newest."""
MOST_SHOWN = 50


@dataclass(frozen=True)
class Preview:
    """Which tags a policy would touch now, the newest first, each with the name that it would be given."""

    read: int
    touched: int
    shown: list[tuple[TagFacts, str]]
    complete: bool
    """Whether all tags of the repository were read."""

    @property
    def left_out(self) -> int:
        return self.touched - len(self.shown)


class PolicyView(PolicyPage, FeedView):  # type: ignore[misc]  # here there is a repository
    """A policy, with what it did and what was done to it."""

    template_name = "activity/policy.html"
    has_atom = False

    @property
    def scope(self) -> Mapping[str, str]:
        return {"policy": self.policy.public_id}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(
            **kwargs, target=target_of(self.policy, self.access), preview=preview(self.policy)
        )
        tell_changes([row["event"] for row in context["rows"]], self.access)
        return context


def preview(policy: Policy) -> Preview | None:
    """Return what a policy would touch; None where the tags are gone, or in another registry."""
    if policy.kind == Policy.Kind.PULL_MIRRORING or policy.repository.deleted_at:
        return None
    rows = tags.with_pulls(tags.current(policy.repository)).order_by("-last_push")[: MOST_READ + 1]
    facts = [TagFacts(row.name, row.pushed_at, row.last_pulled_at) for row in rows]
    now, template = timezone.now(), policy.tag_template
    found = touched(facts[:MOST_READ], list(policy.criteria.all()), now)
    return Preview(
        read=min(len(facts), MOST_READ),
        touched=len(found),
        shown=[(tag, render(template, tag.name, now)) for tag in found[:MOST_SHOWN]],
        complete=len(facts) <= MOST_READ,
    )


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
