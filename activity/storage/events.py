"""Inserts events into their table and deletes them from it, and keeps the tallies in step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.db.models.sql import DeleteQuery

from activity.identity import first_id
from activity.models import Event
from activity.storage import append_only, tallies
from activity.storage.rows import insert_rows
from activity.storage.tallies import Cell

Gone = Counter[tuple[int | None, str]]
"""How many events went, by repository and category."""


def insert(events: Sequence[Event]) -> list[Event]:
    """Insert events within a transaction, and count them; leave those that are there as they are.

    Returns the new ones: what follows from an event follows once, however often it is delivered.
    """
    rows = insert_rows(events, "ON CONFLICT DO NOTHING RETURNING id")
    inserted = {id if isinstance(id, UUID) else UUID(id) for (id,) in rows}
    new = [event for event in events if event.pk in inserted]
    tallies.add(new)
    return new


# One statement, which spares the way of each row.
ON_POSTGRESQL = """
    WITH gone AS ({delete} RETURNING repository_id, occurred_at, category, is_pull),
    cells AS (
        SELECT repository_id, date_trunc('hour', occurred_at, 'UTC') AS hour, category, is_pull,
            COUNT(*) AS events
        FROM gone GROUP BY 1, 2, 3, 4
    ),
    lowered AS (
        INSERT INTO registry_activity_tallychange (repository_id, hour, category, is_pull, events)
        SELECT repository_id, hour, category, is_pull, -events FROM cells
    )
    SELECT repository_id, category, SUM(events)::bigint FROM cells GROUP BY 1, 2
"""


def remove(events: QuerySet[Event]) -> Gone:
    """Delete events within a transaction, lower their tallies, and return how many went."""
    delete, params = _delete(events)
    with append_only.deleting(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(ON_POSTGRESQL.format(delete=delete), params)
            return _counted(cursor)
        cursor.execute(f"{delete} RETURNING repository_id, substr(occurred_at, 1, 13), category", params)
        rows = Counter(cursor.fetchall())
    gone: Gone = Counter()
    cells: Counter[Cell] = Counter()
    for (repository, hour, category), number in rows.items():
        gone[repository, category] += number
        cells[Cell(repository, datetime.fromisoformat(f"{hour}:00+00:00"), category)] -= number
    tallies.change(cells)
    return gone


DAYS_ON_POSTGRESQL = """
    WITH gone AS ({delete} RETURNING category) SELECT NULL, category, COUNT(*) FROM gone GROUP BY category
"""


def remove_days(events: QuerySet[Event], lanes: Collection[bool], start: datetime, end: datetime) -> Gone:
    """Delete events of whole days, and return how many went by category alone; PostgreSQL only.

    In less time than `remove` takes, if they are nearly all of these days' pulls, or of all else, or of
    both: the tallies aren't lowered one by one, but made void, and the events that are left count again.
    """
    delete, params = _delete(events.filter(id__gte=first_id(start), id__lt=first_id(end), is_pull__in=lanes))
    with append_only.deleting(), connection.cursor() as cursor:
        cursor.execute(DAYS_ON_POSTGRESQL.format(delete=delete), params)
        gone = _counted(cursor)
    tallies.drop(lanes, start, end, by_repository=False)
    return gone


def _delete(events: QuerySet[Event]) -> tuple[str, tuple]:
    return events.order_by().query.chain(DeleteQuery).get_compiler(events.db).as_sql()


def _counted(rows: Iterable[tuple]) -> Gone:
    return Counter({(repository, category): number for repository, category, number in rows})
