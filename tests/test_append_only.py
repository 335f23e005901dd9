"""The database rejects every statement that changes or deletes events."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from psycopg.errors import UniqueViolation

from activity.models import Event
from activity.storage import append_only, partitions
from activity.storage.events import insert
from tests import factories
from tests.event_statements import STATEMENTS, TABLES, execute, on_postgresql, on_sqlite, rejected

pytestmark = pytest.mark.django_db

JANUARY = datetime(2021, 1, 15, tzinfo=UTC)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("sql", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_statement_that_changes_events_is_rejected(sql: str, table: str) -> None:
    # These partitions are newer than the migration that creates the triggers, but must be protected as well.
    partitions.create_ahead(JANUARY)
    event = factories.record(occurred_at=JANUARY)

    with rejected():
        execute(sql.format(table=table))

    assert Event.objects.get(pk=event.pk).tag == event.tag


def test_auto_deletion_may_delete_but_not_update() -> None:
    event = factories.record()

    with (
        pytest.raises(IntegrityError, match="append-only"),
        transaction.atomic(),
        append_only.deletion_allowed(),
    ):
        execute("UPDATE registry_activity_event SET tag = 'forged'")
    with transaction.atomic():
        with append_only.deletion_allowed():
            execute("DELETE FROM registry_activity_event WHERE 1 = 0")
        with pytest.raises(IntegrityError, match="append-only"):
            execute("DELETE FROM registry_activity_event")

    assert Event.objects.filter(pk=event.pk).exists()


@on_postgresql
def test_permission_to_delete_ends_with_its_transaction() -> None:
    factories.record()

    with pytest.raises(ZeroDivisionError), transaction.atomic(), append_only.deletion_allowed():
        1 / 0  # noqa: B018

    with pytest.raises(IntegrityError, match="append-only"):
        execute("DELETE FROM registry_activity_event")


@on_sqlite
def test_other_programs_cannot_delete_events_from_the_sqlite_file() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'registry_activity_event' AND sql IS NOT NULL"
        )
        schema = [sql for (sql,) in cursor.fetchall()]
    other = sqlite3.connect(":memory:")
    for sql in schema:
        other.execute(sql)

    with pytest.raises(sqlite3.OperationalError, match="no such function: registry_activity_deleting"):
        other.execute("DELETE FROM registry_activity_event")


@on_postgresql
@pytest.mark.parametrize("table", ["registry_activity_event", "registry_activity_event_other_2021_01"])
def test_copy_cannot_replace_events(table: str) -> None:
    partitions.create_ahead(JANUARY)
    event = factories.record(occurred_at=JANUARY, tag="v1")
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copy:
            rows = b"".join(copy)
        with (
            pytest.raises(UniqueViolation),
            transaction.atomic(),
            cursor.copy(f"COPY {table} FROM STDIN") as copy,
        ):
            copy.write(rows.replace(b"v1", b"v2"))

    assert Event.objects.get(pk=event.pk).tag == "v1"


@on_sqlite
def test_recording_an_event_again_is_still_ignored() -> None:
    event = factories.record()

    assert insert([event]) == []


@on_postgresql
def test_partition_created_manually_is_protected_by_the_next_migrate() -> None:
    execute(
        "CREATE TABLE registry_activity_event_pull_2020_01 PARTITION OF registry_activity_event_pull"
        " FOR VALUES FROM ('016f5e66-e800-0000-0000-000000000000')"
        " TO ('016ffe0c-4400-0000-0000-000000000000')"
    )
    execute("DELETE FROM registry_activity_event_pull_2020_01")

    call_command("migrate", verbosity=0)

    with pytest.raises(IntegrityError, match="append-only"):
        execute("DELETE FROM registry_activity_event_pull_2020_01")
