"""Positions: numbers that say in which order events were committed.

The id of an event says when it happened, but events can arrive late. A reader that remembers the last
position that it has read finds all newer events, and misses none: a higher position is never committed before
a lower one. The newest position is a row that each recording transaction locks until its end. So whoever
reads a newest position also sees all events up to it, as far as they weren't deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import Max

from activity.models import Event, EventQuerySet, NewestPosition, Removal

LOCK_KEY = 7_021_967
"""The key of the advisory lock that a transaction holds from assigning positions until its end."""
ADVISORY_LOCK = f"SELECT pg_advisory_xact_lock({LOCK_KEY})"


def lock() -> None:
    """Wait until no other transaction assigns positions, and keep others waiting until this transaction ends.

    On SQLite, a transaction that writes excludes all others anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(ADVISORY_LOCK)


# A row of the subquery, and so the lock, is needed before the row of the newest position is locked. Without
# the WHERE clause, SQLite would parse ON as the condition of a join.
ADVANCE = """
    INSERT INTO registry_activity_newestposition (id, position)
    SELECT {only}, CAST(%s AS bigint) FROM ({lock}) AS locked WHERE true
    ON CONFLICT (id) DO UPDATE SET position = registry_activity_newestposition.position + excluded.position
    RETURNING position
"""


def assign(events: Sequence[Event]) -> None:
    """Assign the next positions to new events, in this order. Takes the lock; see `lock`.

    Call this as late as possible in a transaction, and keep the rest of the transaction short.
    """
    if not events:
        return
    locked = f"{ADVISORY_LOCK} OFFSET 0" if connection.vendor == "postgresql" else "SELECT 1"
    with connection.cursor() as cursor:
        cursor.execute(ADVANCE.format(only=NewestPosition.ONLY, lock=locked), [len(events)])
        (last,) = cursor.fetchone()
    for number, event in enumerate(events, last - len(events) + 1):
        event.position = number


def newest() -> int:
    """Return the newest position, or 0 if no event was ever recorded."""
    return NewestPosition.objects.values_list("position", flat=True).first() or 0


def between(after: int, up_to: int) -> EventQuerySet:
    """Return the events whose position is higher than `after`, and at most `up_to`, without related rows."""
    return Event.objects.select_related(None).filter(position__gt=after, position__lte=up_to)


def record_removal(lowest: int | None, highest: int | None) -> None:
    """Record between which positions events are deleted, in the transaction that deletes them.

    Both are None if no event is deleted.
    """
    if lowest is not None and highest is not None:
        Removal.objects.create(lowest=lowest, highest=highest)


def highest_removed() -> int:
    """Return the highest position from which an event was deleted, or 0 if there is none."""
    return Removal.objects.aggregate(highest=Max("highest"))["highest"] or 0


def last_removal() -> int:
    """Return the id of the last removal, or 0 if there is none. See `were_removed`."""
    return Removal.objects.aggregate(last=Max("pk"))["last"] or 0


def were_removed(after: int, up_to: int, since: int) -> bool:
    """Return whether events between two positions may have been deleted since the removal with an id."""
    return Removal.objects.filter(pk__gt=since, highest__gt=after, lowest__lte=up_to).exists()
