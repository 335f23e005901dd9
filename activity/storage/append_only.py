"""Database triggers that make the tables of events and of their messages append-only for every client.

The triggers reject every UPDATE and TRUNCATE of events, and every DELETE outside `deletion_allowed`. On
PostgreSQL, `deletion_allowed` has an effect only for the owner of the table, who could drop the triggers
anyway: any session can set the flag, but the trigger also checks the role. Other roles can't delete events,
even if they have been granted DELETE. `docs/deletion.md` describes what the triggers can't prevent.

On PostgreSQL, the triggers are statement-level triggers, which add no cost per row. A statement-level trigger
fires only for the table that the statement names, so each partition has its own trigger.

The triggers are created after each `migrate`, because on SQLite, Django alters a table by creating a new one
without triggers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connection

from activity import config

# The function has its own search path, because a session could put functions of the same names into its own.
FUNCTION = """
    CREATE OR REPLACE FUNCTION registry_activity_append_only() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('registry_activity.deleting', true) = 'on'
            AND (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = TG_RELID)
        THEN
            RETURN NULL;
        END IF;
        RAISE 'Events and their messages are append-only.' USING ERRCODE = 'restrict_violation',
            HINT = 'Only auto-deletion can delete events, as the owner of the table.';
    END $$
"""
TRIGGER = """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION registry_activity_append_only()
"""
SQLITE_TRIGGERS = [
    "CREATE TRIGGER IF NOT EXISTS {table}_update BEFORE UPDATE ON {table}"
    " BEGIN SELECT RAISE(ABORT, 'Events and their messages are append-only.'); END",
    # Other SQLite clients don't have this function, so they can't delete any events.
    "CREATE TRIGGER IF NOT EXISTS {table}_delete BEFORE DELETE ON {table}"
    " WHEN NOT registry_activity_deleting()"
    " BEGIN SELECT RAISE(ABORT, 'Events and their messages are append-only.'); END",
]

_deletion_allowed: ContextVar[bool] = ContextVar("_deletion_allowed", default=False)


@contextmanager
def deletion_allowed() -> Iterator[None]:
    """Allow the `with` block to delete events or messages. Use this within a transaction."""
    token = _deletion_allowed.set(True)
    try:
        _set_flag("on")
        yield
        _set_flag("off")  # after an error, the rollback resets the flag
    finally:
        _deletion_allowed.reset(token)


def protect(*tables: str) -> None:
    """Create the missing triggers on tables and partitions, unless the site's tests forbid it."""
    if not config.append_only():
        return
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for table in tables:
                for trigger in SQLITE_TRIGGERS:
                    cursor.execute(trigger.format(table=table))
            return
        cursor.execute(FUNCTION)
        for table in tables:
            cursor.execute(
                "SELECT FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = 'append_only'", [table]
            )
            if not cursor.fetchall():
                cursor.execute(TRIGGER.format(table=table))


def prepare_sqlite(connection: Any, **_: Any) -> None:
    """Register the function that the SQLite trigger calls, and let REPLACE fire the trigger.

    Receiver for the `connection_created` signal.
    """
    if connection.vendor == "sqlite":
        connection.connection.create_function("registry_activity_deleting", 0, _deletion_allowed.get)
        connection.connection.execute("PRAGMA recursive_triggers = ON")


def _set_flag(state: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('registry_activity.deleting', %s, true)", [state])
