"""Inserts many rows, optionally with an ON CONFLICT or RETURNING clause, and takes rows out of a table."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.sql import InsertQuery

BATCH = 1000
"""Rows per INSERT. Events have 16 columns, so this stays below PostgreSQL's limit of 65,535 parameters."""


def insert_rows(rows: Sequence[Model], ending: str = "") -> list[tuple]:
    """Insert rows into one table, in the given order, and return the result of the RETURNING clause, if any.

    `ending` is appended to the INSERT statement. This function replaces Django's `bulk_create`, which can
    neither merge a row into an existing row nor report which rows it ignored.
    """
    if not rows:
        return []
    fields = [
        field
        for field in rows[0]._meta.local_concrete_fields
        if field is not rows[0]._meta.auto_field and not field.generated
    ]
    size = min(BATCH, connection.ops.bulk_batch_size(fields, rows))
    returned: list[tuple] = []
    for start in range(0, len(rows), size):
        returned += _insert(fields, rows[start : start + size], ending)
    return returned


def take_rows(rows: QuerySet, number: int) -> list:
    """Delete up to `number` rows, oldest first, and return them. Call this within a transaction.

    Rows that another transaction is taking are skipped.
    """
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    taken = list(rows.order_by("pk")[:number])
    rows.model._base_manager.filter(pk__in=[row.pk for row in taken]).delete()
    return taken


def _insert(fields: Sequence, rows: Sequence[Model], ending: str) -> list[tuple]:
    query = InsertQuery(type(rows[0]))
    query.insert_values(fields, list(rows))
    ((sql, params),) = query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} {ending}", params)
        return cursor.fetchall() if cursor.description else []
