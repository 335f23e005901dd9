"""Positions: numbers that say in which order events were committed.

The id of an event says when it happened, but events can arrive late. A reader that remembers the last
position that it has read finds all newer events, and misses none: a higher position is never committed before
a lower one.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import Max

from activity.models import Event

LOCK_KEY = 7_021_967
"""The key of the advisory lock that a transaction holds from assigning positions until its end."""
SEQUENCE = "registry_activity_event_position"


def lock() -> None:
    """Wait until no other transaction assigns positions, and keep others waiting until this transaction ends.

    On SQLite, a transaction that writes excludes all others anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])


# A row of the subquery, and so the lock, is needed before the first number is taken.
NEXT_NUMBERS = """
    SELECT nextval(%s) FROM (SELECT pg_advisory_xact_lock(%s) OFFSET 0) AS locked, generate_series(1, %s)
"""


def assign(events: Sequence[Event]) -> None:
    """Assign the next positions to new events, in this order. Takes the lock; see `lock`.

    Call this as late as possible in a transaction, and keep the rest of the transaction short.
    """
    if not events:
        return
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(NEXT_NUMBERS, [SEQUENCE, LOCK_KEY, len(events)])
            numbers = [number for (number,) in cursor]
    else:
        last = Event.objects.aggregate(last=Max("position"))["last"] or 0
        numbers = list(range(last + 1, last + 1 + len(events)))
    for event, number in zip(events, numbers, strict=True):
        event.position = number
