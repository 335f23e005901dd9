"""Inserts and deletes events, and updates the tallies in the same transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.sql import DeleteQuery

from activity.catalogue import category_of
from activity.identity import first_id
from activity.models import Event, TallyChange
from activity.models.fields import PULL_PART, KindField, category_sql
from activity.storage import append_only, messages, partitions, positions, tallies, texts
from activity.storage.newest import update_newest
from activity.storage.rows import insert_rows
from activity.storage.tallies import HALF_HOUR_SQL, TALLIED_CATEGORY, Cell, DeletedCounts
from repositories.access.levels import Category


@transaction.atomic(savepoint=False)
def insert(events: Sequence[Event], cause: str = TallyChange.RECORDED) -> list[Event]:
    """Insert the events that don't exist yet, count them, note the newest ones, and return them.

    Existing events are left unchanged, so redelivered events have no further effect.
    """
    for event in events:
        event.is_pull = event.category == Category.PULL
    positions.assign(events)
    texts.store(events)
    rows = insert_rows(events, "ON CONFLICT DO NOTHING RETURNING id")
    inserted = {id if isinstance(id, UUID) else UUID(id) for (id,) in rows}
    new = [event for event in events if event.pk in inserted]
    messages.store(new)
    tallies.add(new, cause)
    update_newest(new)
    return new


REMOVAL = """
    removal AS (
        INSERT INTO registry_activity_removal (lowest, highest)
        SELECT MIN(position), MAX(position) FROM deleted HAVING COUNT(*) > 0
    )
"""
"""Records which positions were deleted; see `positions.record_removal`."""
# One statement deletes and counts the events, so that the deleted rows aren't sent to the client.
DELETE_AND_COUNT = """
    WITH deleted AS (
        {delete} RETURNING repository_id, occurred_at, {category} AS category, is_pull, position
    ),
    cells AS (
        SELECT repository_id, {half_hour} AS start, category, is_pull,
            COUNT(*) AS events
        FROM deleted GROUP BY 1, 2, 3, 4
    ),
    changes AS (
        INSERT INTO registry_activity_tallychange (repository_id, start, category, is_pull, events, cause)
        SELECT repository_id, start, category, is_pull, -events, %s FROM cells
    ),
    {removal}
    SELECT repository_id, category, SUM(events)::bigint FROM cells GROUP BY 1, 2
"""


def delete_events(events: QuerySet[Event], cause: str) -> DeletedCounts:
    """Delete events, subtract them from the tallies, and return how many were deleted.

    Also records which positions were removed. Call this within a transaction. For the causes, see
    `TallyChange`.
    """
    delete, params = _delete_sql(events)
    with append_only.deletion_allowed(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            sql = DELETE_AND_COUNT.format(
                delete=delete, half_hour=HALF_HOUR_SQL, category=TALLIED_CATEGORY, removal=REMOVAL
            )
            cursor.execute(sql, [*params, cause])
            return tallies.to_counts(cursor)
        # SQLite 3.40 evaluates `pull IS NULL` wrongly in a RETURNING clause.
        cursor.execute(
            f"{delete} RETURNING repository_id, substr(occurred_at, 1, 16), kind, pull, position", params
        )
        rows: Counter[tuple] = Counter()
        removed: set[int] = set()
        for repository, minute, kind, pull, position in cursor:
            category = category_of(KindField.texts.get(kind, "")) if pull is None else PULL_PART
            rows[repository, minute, category] += 1
            removed.add(position)
    cells: Counter[Cell] = Counter()
    for (repository, minute, category), number in rows.items():
        start = tallies.floor(datetime.fromisoformat(f"{minute}+00:00"), tallies.HALF_HOUR)
        cells[Cell(repository, start, category)] -= number
    tallies.record_changes(cells, cause)
    positions.record_removal(min(removed, default=None), max(removed, default=None))
    return tallies.add_up((cell.repository_id, cell.category, -number) for cell, number in cells.items())


DELETE_AND_COUNT_BY_CATEGORY = """
    WITH deleted AS ({delete} RETURNING {category} AS category, position),
    {removal}
    SELECT NULL, category, COUNT(*) FROM deleted GROUP BY category
"""


def delete_days(
    events: QuerySet[Event], groups: Collection[str], start: datetime, end: datetime, cause: str
) -> DeletedCounts:
    """Delete events on whole days, and return the number of deleted events by category. PostgreSQL only.

    Only events in the given groups of partitions are deleted. If nearly all events in these groups are
    deleted, this function is faster than `delete_events`: instead of changing each tally, it invalidates all
    tallies of the days and counts the remaining events again.
    """
    days = events.filter(partitions.in_groups(groups), id__gte=first_id(start), id__lt=first_id(end))
    delete, params = _delete_sql(days)
    with append_only.deletion_allowed(), connection.cursor() as cursor:
        category = category_sql("kind")
        sql = DELETE_AND_COUNT_BY_CATEGORY.format(delete=delete, category=category, removal=REMOVAL)
        cursor.execute(sql, params)
        deleted = tallies.to_counts(cursor)
    tallies.drop(partitions.pull_flags(groups), start, end, by_repository=False, cause=cause)
    return deleted


def _delete_sql(events: QuerySet[Event]) -> tuple[str, tuple]:
    return events.order_by().query.chain(DeleteQuery).get_compiler(events.db).as_sql()
