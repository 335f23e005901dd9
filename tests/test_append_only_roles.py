"""On PostgreSQL, only the owner of the event table can delete events. The web server needs no such role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import Client

from activity.deletion import runs
from activity.models import Archive, Event, Hold, Run
from activity.storage import partitions
from tests import factories
from tests.database_roles import WEB_ROLE, web_role_sql
from tests.deletion import JANUARY, turn_on
from tests.event_statements import STATEMENTS, TABLES, execute, on_postgresql, rejected

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, on_postgresql]

FLAG = "SET registry_activity.deleting = 'on'"
STRANGER = """
    CREATE ROLE stranger;
    GRANT USAGE, CREATE ON SCHEMA public TO stranger;
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES ON ALL TABLES IN SCHEMA public TO stranger;
    GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO stranger;
"""
ATTEMPTS = {
    "flag": FLAG,
    "flag in the transaction": "SELECT set_config('registry_activity.deleting', 'on', true)",
    "functions of the same names": f"""
        CREATE FUNCTION public.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE FUNCTION public.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$SELECT 'on'$$;
        SET search_path = public, pg_catalog;
        {FLAG}
    """,
    "table of the same name": f"""
        CREATE TEMPORARY TABLE pg_class AS SELECT oid, 'stranger'::regrole AS relowner FROM pg_class;
        SET search_path = pg_temp, pg_catalog, public;
        {FLAG}
    """,
}
OWNERS_STATEMENTS = [
    "DROP TABLE {table}",
    "DROP TABLE {table} CASCADE",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} OWNER TO stranger",
    "DROP TRIGGER append_only ON {table}",
    "CREATE OR REPLACE TRIGGER append_only BEFORE INSERT ON {table}"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE no_events AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "ALTER TABLE registry_activity_event_other DETACH PARTITION registry_activity_event_other_2021_01",
    "DROP FUNCTION registry_activity_append_only() CASCADE",
    "CREATE OR REPLACE FUNCTION registry_activity_append_only() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NULL; END'",
    "SET session_replication_role = replica",
]
PAGES = [
    "/activity/",
    "/repositories/",
    "/repositories/acme/web/activity/",
    "/settings/",
    "/api/v0/events/",
    "/admin/",
    "/admin/registry_activity/event/",
    "/admin/registry_activity/run/",
    "/admin/registry_activity/archive/",
    "/admin/registry_activity/autodeletion/",
]


@contextmanager
def acting_as(role: str) -> Iterator[None]:
    """Execute the statements of the block with the permissions of a role."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {role}")
        yield
        cursor.execute("RESET ROLE; RESET search_path; RESET registry_activity.deleting")


@pytest.fixture
def web_role() -> str:
    """The role for the web server, as `docs/operating.md` defines it."""
    execute(web_role_sql())
    return WEB_ROLE


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_role_with_all_privileges_on_the_events_cannot_change_or_delete_them(attempt: str) -> None:
    partitions.create_ahead(JANUARY)
    event = factories.record(occurred_at=JANUARY)
    execute(STRANGER)

    with acting_as("stranger"):
        with connection.cursor() as cursor:
            cursor.execute(attempt)
        for table in TABLES:
            for sql in STATEMENTS.values():
                with rejected():
                    execute(sql.format(table=table))

    assert Event.objects.get(pk=event.pk).tag == event.tag


@pytest.mark.parametrize("sql", OWNERS_STATEMENTS)
def test_other_roles_can_neither_drop_nor_alter_the_tables_and_triggers(sql: str) -> None:
    partitions.create_ahead(JANUARY)
    execute(STRANGER)

    with acting_as("stranger"):
        for table in TABLES:
            with pytest.raises(ProgrammingError, match=r"must be owner|permission denied"):
                execute(sql.format(table=table))


def test_web_role_cannot_change_or_delete_events(web_role: str) -> None:
    event = factories.record()

    with acting_as(web_role):
        with connection.cursor() as cursor:
            cursor.execute(FLAG)
        for sql in STATEMENTS.values():
            with pytest.raises(
                (IntegrityError, ProgrammingError),
                match=r"append-only|permission denied|no unique or exclusion",
            ):
                execute(sql.format(table="registry_activity_event"))
        for sql in OWNERS_STATEMENTS:
            with pytest.raises(ProgrammingError, match=r"must be owner|permission denied"):
                execute(sql.format(table="registry_activity_event"))

    assert Event.objects.get(pk=event.pk).tag == event.tag


@pytest.mark.audited
def test_site_works_with_the_web_role_and_the_owner_deletes(
    web_role: str, admin: Client, registry: Callable[..., Any], archive_folder: Path, monkeypatch: Any
) -> None:
    event = factories.record(occurred_at=JANUARY)
    turn_on(age=1, archive=True)
    monkeypatch.setattr(runs, "KEPT_RUNS", 1)
    archive = Archive.objects.create(run=runs.start("a test"), name="x", sha256="1")
    Run.objects.update(state=Run.State.FINISHED)

    with acting_as(web_role):
        assert registry(factories.notification()).status_code == 200
        for page in PAGES:
            assert admin.get(page).status_code == 200, page
        hold = {"repository": event.repository_id, "reason": "An inquiry."}
        assert admin.post("/admin/registry_activity/hold/add/", hold).status_code == 302
        admin.post(f"/admin/registry_activity/hold/{Hold.objects.get().pk}/delete/", {"post": "yes"})
        admin.post("/admin/registry_activity/autodeletion/start/", {"confirmed": ""})
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            Archive.objects.update(sha256="0")
        run = Run.objects.latest("pk")
    archive.delete()
    runs.execute(run)

    run.refresh_from_db()
    assert (run.state, run.error) == ("finished", "")
    assert not Event.objects.filter(pk=event.pk).exists()


def test_run_with_the_web_role_fails_and_deletes_nothing(web_role: str, archive_folder: Path) -> None:
    event = factories.record(occurred_at=JANUARY)
    turn_on(age=1)
    run = runs.start("a test")

    with acting_as(web_role), transaction.atomic():
        runs.execute(run)

    run.refresh_from_db()
    assert run.state == "failed"
    assert "permission denied" in run.error
    assert Event.objects.filter(pk=event.pk).exists()
