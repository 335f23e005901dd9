"""Database triggers that make the event table append-only for every client.

The triggers reject every UPDATE and TRUNCATE of events, and every DELETE outside `deletion_allowed`. On
PostgreSQL, they are statement-level triggers, which add no cost per row. A statement-level trigger fires only
for the table that the statement names, so each partition has its own trigger. The triggers also apply to the
owner of the table, but the owner can drop them.

The triggers are created after each `migrate`, because on SQLite, Django alters a table by creating a new one
without triggers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connection

FUNCTION = """
    CREATE OR REPLACE FUNCTION registry_activity_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('registry_activity.deleting', true) = 'on' THEN
            RETURN NULL;
        END IF;
        RAISE 'Events are append-only.' USING ERRCODE = 'restrict_violation';
    END $$
"""
TRIGGER = """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION registry_activity_append_only()
"""
SQLITE_TRIGGERS = [
    "CREATE TRIGGER IF NOT EXISTS {table}_update BEFORE UPDATE ON {table}"
    " BEGIN SELECT RAISE(ABORT, 'Events are append-only.'); END",
    # Other SQLite clients don't have this function, so they can't delete any events.
    "CREATE TRIGGER IF NOT EXISTS {table}_delete BEFORE DELETE ON {table}"
    " WHEN NOT registry_activity_deleting() BEGIN SELECT RAISE(ABORT, 'Events are append-only.'); END",
]

_deletion_allowed: ContextVar[bool] = ContextVar("_deletion_allowed", default=False)


@contextmanager
def deletion_allowed() -> Iterator[None]:
    """Allow the `with` block to delete events. Use this within a transaction."""
    token = _deletion_allowed.set(True)
    try:
        _set_flag("on")
        yield
        _set_flag("off")  # after an error, the rollback resets the flag
    finally:
        _deletion_allowed.reset(token)


def protect(table: str) -> None:
    """Create the triggers on the event table or one of its partitions if they don't exist yet."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for trigger in SQLITE_TRIGGERS:
                cursor.execute(trigger.format(table=table))
            return
        cursor.execute(
            "SELECT FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = 'append_only'", [table]
        )
        if not cursor.fetchall():
            cursor.execute(FUNCTION)
            cursor.execute(TRIGGER.format(table=table))


def register_sqlite_function(connection: Any, **_: Any) -> None:
    """Register the function that the SQLite trigger calls.

    Receiver for the `connection_created` signal.
    """
    if connection.vendor == "sqlite":
        connection.connection.create_function("registry_activity_deleting", 0, _deletion_allowed.get)


def _set_flag(state: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('registry_activity.deleting', %s, true)", [state])
