"""Finds the events that happened shortly before and after an event.

They are on the same tag, about the same person, or by the same actor.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Q
from django.utils.translation import gettext

from activity.feed.conditions import Condition, with_tags, with_whole_digests
from activity.feed.ordering import BY_TIME
from activity.feed.plans import Plan
from activity.feed.reading import find
from activity.models import Event, EventQuerySet
from repositories.access.resolving import Access

NEARBY_EVENTS = 3
"""The maximum number of earlier events, and of later events, to find for each subject."""


def nearby_events(events: EventQuerySet, access: Access, event: Event) -> dict[str, list[Event]]:
    """Return the closest later and earlier events on an event's tag or, if it has none, on its digest.

    Also return those about the same person and by the same actor. `events` contains the events that the
    viewer may see. Each title has up to `NEARBY_EVENTS` events in one direction, newest first.
    """
    return {
        title: find(plan, NEARBY_EVENTS, BY_TIME.encode(event, newer)).rows
        for later, earlier, plan in _neighborhoods(Plan(events, access), event)
        for title, newer in ((later, True), (earlier, False))
    }


def _neighborhoods(visible: Plan, event: Event) -> Iterator[tuple[str, str, Plan]]:
    """Yield the titles of the later and the earlier events, and the plan of both."""
    if event.repository_id and (event.tag or event.digest):
        id = event.repository_id
        same_repository = Condition(Q(repository=id), repositories=[id])
        same_subject = (
            with_tags([event.tag], visible.access) if event.tag else with_whole_digests([event.digest])
        )
        subject = event.reference if event.tag else event.short_digest
        values = {"subject": subject}
        later = gettext("Later events on %(subject)s") % values
        earlier = gettext("Earlier events on %(subject)s") % values
        yield later, earlier, visible.where(same_repository, same_subject)
    if event.subject_user_id is not None:
        later = gettext("Later events about the same person")
        earlier = gettext("Earlier events about the same person")
        same_person = Q(subject_user=event.subject_user_id)
        yield later, earlier, visible.where(Condition(same_person, [same_person]))
    if event.actor_name:
        actor = Q(actor_name=event.actor_name)
        same_type = Condition(Q(actor_type=event.actor_type))
        values = {"actor": event.actor_label}
        later = gettext("Later events by %(actor)s") % values
        earlier = gettext("Earlier events by %(actor)s") % values
        yield later, earlier, visible.where(Condition(actor, [actor]), same_type)
