"""Inserts events into the table, and tells which of them are new."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection
from django.db.models.constants import OnConflict
from django.db.models.sql import InsertQuery

from activity import tallies
from activity.models import Event

BATCH = 1000
"""Events in one INSERT: 16 columns of so many stay within PostgreSQL's 65,535 parameters."""


def insert(events: Sequence[Event]) -> list[Event]:
    """Insert events within a transaction, and count them; leave those that are there as they are.

    Returns the new ones: what follows from an event follows once, however often it is delivered.
    """
    fields = Event._meta.local_concrete_fields
    size = min(BATCH, connection.ops.bulk_batch_size(fields, events) or BATCH)  # PostgreSQL: 0 for none
    inserted: set[UUID] = set()
    for begin in range(0, len(events), size):
        inserted |= _insert(fields, events[begin : begin + size])
    new = [event for event in events if event.pk in inserted]
    tallies.add(new)
    return new


def _insert(fields: Sequence, events: Sequence[Event]) -> set[UUID]:
    """Insert in one statement. Django's `bulk_create` doesn't tell which rows it ignored."""
    query = InsertQuery(Event, on_conflict=OnConflict.IGNORE)
    query.insert_values(fields, list(events))
    ((sql, params),) = query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} RETURNING id", params)
        return {id if isinstance(id, UUID) else UUID(id) for (id,) in cursor.fetchall()}
