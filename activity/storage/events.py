"""Inserts events into the table, and tells which of them are new; and rows that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection
from django.db.models import Model
from django.db.models.sql import InsertQuery

from activity import tallies
from activity.models import Event

BATCH = 1000
"""Rows in one INSERT: 16 columns of so many stay within PostgreSQL's 65,535 parameters."""


def insert(events: Sequence[Event]) -> list[Event]:
    """Insert events within a transaction, and count them; leave those that are there as they are.

    Returns the new ones: what follows from an event follows once, however often it is delivered.
    """
    rows = insert_rows(events, "ON CONFLICT DO NOTHING RETURNING id")
    inserted = {id if isinstance(id, UUID) else UUID(id) for (id,) in rows}
    new = [event for event in events if event.pk in inserted]
    tallies.add(new)
    return new


def insert_rows(rows: Sequence[Model], ending: str = "") -> list[tuple]:
    """Insert rows of one table, in their order, and return what the end of the statement asks for.

    Django's `bulk_create` can't merge a row into the one that is there, nor tell which rows it ignored.
    """
    if not rows:
        return []
    fields = [field for field in rows[0]._meta.local_concrete_fields if field is not rows[0]._meta.auto_field]
    size = min(BATCH, connection.ops.bulk_batch_size(fields, rows))
    returned: list[tuple] = []
    for begin in range(0, len(rows), size):
        returned += _insert(fields, rows[begin : begin + size], ending)
    return returned


def _insert(fields: Sequence, rows: Sequence[Model], ending: str) -> list[tuple]:
    query = InsertQuery(type(rows[0]))
    query.insert_values(fields, list(rows))
    ((sql, params),) = query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} {ending}", params)
        return cursor.fetchall() if cursor.description else []
