"""Inserts many rows, optionally with an ON CONFLICT or RETURNING clause, and takes rows out of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from django.db import connection, models
from django.db.models import Model, QuerySet
from django.db.models.sql import InsertQuery

BATCH = 1000
"""Rows per INSERT. Events have 28 columns, so this stays below PostgreSQL's limit of 65,535 parameters."""
MIN_COPIED = 100
"""From this number of rows on, COPY is faster than INSERT, although it takes three more statements."""
PLAIN_FIELDS = {
    *(
        models.AutoField,
        models.BigAutoField,
        models.IntegerField,
        models.BigIntegerField,
        models.BooleanField,
    ),
    *(models.BinaryField, models.CharField, models.DateTimeField, models.GenericIPAddressField),
    *(models.TextField, models.UUIDField),
}
"""The fields whose values the driver converts by itself. Django's conversion takes four times as long."""

CREATE_STAGING = """
    CREATE TEMPORARY TABLE IF NOT EXISTS {table}_staging ON COMMIT DELETE ROWS
    AS SELECT {columns} FROM {table} WITH NO DATA
"""
EMPTY_STAGING = "DELETE FROM {table}_staging"
INSERT_STAGED = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_staging {ending}"


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
    if connection.vendor == "postgresql" and len(rows) >= MIN_COPIED:
        return _copy(fields, rows, ending)
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


def _copy(fields: Sequence, rows: Sequence[Model], ending: str) -> list[tuple]:
    """Copy rows into a temporary table, and insert them from there. PostgreSQL only.

    As parameters of an INSERT statement, the driver would escape each value twice in Python.
    """
    table = rows[0]._meta.db_table
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    names = {"table": table, "columns": columns, "ending": ending}
    convert = [_converter(field) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(CREATE_STAGING.format(**names))
        with (
            connection.wrap_database_errors,
            cursor.copy("COPY {table}_staging ({columns}) FROM STDIN".format(**names)) as copy,
        ):
            for row in rows:
                values = row.__dict__
                copy.write_row([to_database(values[name]) for name, to_database in convert])
        cursor.execute(INSERT_STAGED.format(**names))
        returned = cursor.fetchall() if cursor.description else []
        cursor.execute(EMPTY_STAGING.format(**names))
    return returned


def _converter(field: Any) -> tuple[str, Callable[[Any], Any]]:
    """Return the name of a field's attribute, and a function that converts its values for the driver."""
    if type(field.target_field if field.is_relation else field) in PLAIN_FIELDS:
        return field.attname, lambda value: value.value if isinstance(value, Enum) else value
    return field.attname, lambda value: field.get_db_prep_save(value, connection)
