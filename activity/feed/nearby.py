"""Finds the events that happened shortly before and after an event, on the same tag and by the same actor."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Q

from activity.feed.ordering import BY_TIME
from activity.feed.plans import Plan
from activity.feed.qualifiers import Condition, with_tags, with_whole_digests
from activity.feed.reading import find
from activity.models import Event, EventQuerySet
from repositories.access.resolving import Access

NEARBY_EVENTS = 3
"""The maximum number of earlier events, and of later events, to find for each subject."""


def nearby_events(events: EventQuerySet, access: Access, event: Event) -> dict[str, list[Event]]:
    """Return the closest later and earlier events on an event's tag or, if it has none, on its digest.

    Also return those by the same actor. `events` contains the events that the viewer may see. The result has
    a title for each direction, with up to `NEARBY_EVENTS` events, newest first.
    """
    return {
        f"{title} {name}": find(plan, NEARBY_EVENTS, BY_TIME.encode(event, newer)).rows
        for name, plan in _neighborhoods(Plan(events, access), event)
        for title, newer in (("Later", True), ("Earlier", False))
    }


def _neighborhoods(visible: Plan, event: Event) -> Iterator[tuple[str, Plan]]:
    if event.repository_id and (event.tag or event.digest):
        id = event.repository_id
        same_repository = Condition(Q(repository=id), repositories=[id])
        same_subject = (
            with_tags([event.tag], visible.access) if event.tag else with_whole_digests([event.digest])
        )
        subject = event.reference if event.tag else event.short_digest
        yield f"events on {subject}", visible.where(same_repository, same_subject)
    if event.actor_name:
        actor = Q(actor_name=event.actor_name)
        same_type = Condition(Q(actor_type=event.actor_type))
        yield f"events by {event.actor_label}", visible.where(Condition(actor, [actor]), same_type)
