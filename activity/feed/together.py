"""Finds the neighbouring events of a list that belong together: those of one notification or of one pull."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from activity.models import Event

REPEATED = {"repository": "repository_name", "digest": "digest", "actor": "actor_label"}
"""The columns that are left blank where an event continues the one above, if the value is the same."""


def join_neighbors(events: Sequence[Event]) -> None:
    """Set `repeats` on each event that belongs together with the one above it in a list sorted by time.

    The value is the set of columns in which both are the same. Pages draw such events as one, but each
    remains an event of its own: pages, filters and exports count it.
    """
    for above, event in pairwise(events):
        if _belong_together(above, event):
            event.repeats = _repeated(above, event)  # type: ignore[attr-defined]


def _belong_together(event: Event, other: Event) -> bool:
    if (event.repository_id, event.repository_name) != (other.repository_id, other.repository_name):
        return False
    return (event.pull or event.pk) == (other.pull or other.pk) or _is_same_notification(event, other)


def _is_same_notification(event: Event, other: Event) -> bool:
    id = _notification_id(event)
    return id is not None and (event.delivered_by_id, id) == (other.delivered_by_id, _notification_id(other))


def _notification_id(event: Event) -> Any:
    """Return the id of the notification that the event is from, if there is one. See `EventDetails`."""
    more = event.more_details if isinstance(event.more_details, dict) else {}
    return event.notification_id or more.get("notification_id")


def _repeated(above: Event, event: Event) -> set[str]:
    return {column for column, name in REPEATED.items() if getattr(above, name) == getattr(event, name)}
