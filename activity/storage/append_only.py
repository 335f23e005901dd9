"""Has the database itself refuse to change or remove events, whoever connects, by whatever statement.

Triggers refuse every UPDATE and TRUNCATE of events, and every DELETE but those within `deleting`.
On PostgreSQL they are triggers of statements, which cost nothing for each row but hold for the very
table that a statement names, so each partition has one of its own. They refuse those who own the table,
too, until they drop the triggers; a table's owner may do that.

They are put there after each `migrate`, since Django makes a table anew to alter it on SQLite.
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
    # Where there is no such function, as in a shell, nothing is deleted either.
    "CREATE TRIGGER IF NOT EXISTS {table}_delete BEFORE DELETE ON {table} WHEN NOT registry_activity_deleting()"
    " BEGIN SELECT RAISE(ABORT, 'Events are append-only.'); END",
]

_deleting: ContextVar[bool] = ContextVar("_deleting", default=False)


@contextmanager
def deleting() -> Iterator[None]:
    """Let this block, within a transaction, delete events."""
    token = _deleting.set(True)
    try:
        _tell("on")
        yield
        _tell("off")  # after an error there is no need: it ends with the transaction
    finally:
        _deleting.reset(token)


def protect(table: str) -> None:
    """Put the triggers on a table of events, unless they are there."""
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


def prepare(connection: Any, **_: Any) -> None:
    """Give a new connection to SQLite what its trigger asks; a receiver of `connection_created`."""
    if connection.vendor == "sqlite":
        connection.connection.create_function("registry_activity_deleting", 0, _deleting.get)


def _tell(state: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('registry_activity.deleting', %s, true)", [state])
