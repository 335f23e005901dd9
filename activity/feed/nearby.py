"""Finds the events that happened shortly before and after an event, on the same tag and by the same actor."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Q

from activity.feed import search
from activity.feed.ordering import BY_TIME
from activity.feed.qualifiers import Condition
from activity.models import Event, EventQuerySet

NEARBY_EVENTS = 3
"""The maximum number of earlier events, and of later events, to find for each subject."""


def nearby_events(events: EventQuerySet, event: Event) -> dict[str, list[Event]]:
    """Return the closest later and earlier events on an event's tag or, if it has none, on its digest.

    Also return those by the same actor. `events` contains the events that the viewer may see. The result has
    a title for each direction, with up to `NEARBY_EVENTS` events, newest first.
    """
    return {
        f"{title} {name}": search.find(plan, NEARBY_EVENTS, BY_TIME.encode(event, newer)).rows
        for name, plan in _neighborhoods(events, event)
        for title, newer in (("Later", True), ("Earlier", False))
    }


def _neighborhoods(events: EventQuerySet, event: Event) -> Iterator[tuple[str, search.Plan]]:
    if event.repository_id and (event.tag or event.digest):
        repository = Q(repository=event.repository_id)
        same_subject = Condition(Q(tag=event.tag) if event.tag else Q(digest=event.digest))
        subject = event.reference if event.tag else event.short_digest
        yield f"events on {subject}", search.Plan(events, [Condition(repository, [repository]), same_subject])
    if event.actor_name:
        actor = Q(actor_name=event.actor_name)
        same_type = Condition(Q(actor_type=event.actor_type))
        yield f"events by {event.actor_label}", search.Plan(events, [Condition(actor, [actor]), same_type])
