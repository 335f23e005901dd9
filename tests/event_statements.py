"""SQL statements that would change or delete events, and the tables to which they could be applied."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction

from activity.models import Event

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite lacks this statement or table"
)
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL lacks this statement")

COLUMNS = ", ".join(str(field.column) for field in Event._meta.local_concrete_fields)
FORGED = COLUMNS.replace("tag", "'forged'")
MERGE = "MERGE INTO {table} USING registry_activity_event AS other ON other.id = {table}.id WHEN MATCHED THEN"
ON_BOTH = {
    "UPDATE": "UPDATE {table} SET tag = 'forged'",
    "INSERT with ON CONFLICT UPDATE": "INSERT INTO {table} SELECT * FROM registry_activity_event WHERE true"
    " ON CONFLICT (id) DO UPDATE SET tag = 'forged'",
    "DELETE": "DELETE FROM {table}",
}
ON_POSTGRESQL = {
    "UPDATE of no rows": "UPDATE {table} SET tag = '' WHERE false",
    "DELETE with USING": "DELETE FROM {table} USING registry_activity_event AS o WHERE o.id = {table}.id",
    "DELETE in a WITH clause": "WITH deleted AS (DELETE FROM {table} RETURNING id) SELECT * FROM deleted",
    "DELETE in a block": "DO $$ BEGIN DELETE FROM {table}; END $$",
    "MERGE with UPDATE": f"{MERGE} UPDATE SET tag = 'forged'",
    "MERGE with DELETE": f"{MERGE} DELETE",
    "TRUNCATE": "TRUNCATE {table}",
    "TRUNCATE with CASCADE": "TRUNCATE {table} CASCADE",
}
ON_SQLITE = {
    "REPLACE": f"REPLACE INTO {{table}} ({COLUMNS}) SELECT {FORGED} FROM {{table}}",
    "INSERT OR REPLACE": f"INSERT OR REPLACE INTO {{table}} ({COLUMNS}) SELECT {FORGED} FROM {{table}}",
    "UPDATE OR REPLACE": "UPDATE OR REPLACE {table} SET tag = 'forged'",
}
STATEMENTS = {**ON_BOTH, **(ON_SQLITE if connection.vendor == "sqlite" else ON_POSTGRESQL)}
PARTITIONS = [
    f"registry_activity_event_{name}"
    for name in ("other", "pull", "other_default", "other_2021_01", "pull_2021_01")
]
TABLES = ["registry_activity_event", *(PARTITIONS if connection.vendor == "postgresql" else [])]


def rejected() -> Any:
    """Return a context that expects a statement to be rejected.

    On PostgreSQL, only the groups of partitions have a key for ON CONFLICT, so it fails on the whole table.
    """
    return pytest.raises((IntegrityError, ProgrammingError), match=r"append-only|no unique or exclusion")


def execute(sql: str) -> None:
    """Execute SQL. If it fails, the transaction of the test can continue."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
