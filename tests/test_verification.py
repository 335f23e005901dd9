"""`manage.py verify` proves that no events were removed, except by auto-deletion."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test import Client

from activity.deletion import imports, verification
from activity.models import Archive, Event, LedgerEntry, Run
from activity.storage import append_only, partitions, positions, tallies
from repositories.models import Repository
from tests import factories
from tests.deletion import (
    DECEMBER,
    FEBRUARY,
    JANUARY,
    add_events,
    execute_run,
    manage,
    on_postgresql,
    turn_on,
)

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = pytest.mark.django_db


def remove(events: Any) -> None:
    """Delete events as somebody with direct access to the database would."""
    with append_only.deletion_allowed(), connection.cursor() as cursor:
        for event in events:
            id = event.pk if connection.vendor == "postgresql" else event.pk.hex
            cursor.execute("DELETE FROM registry_activity_event WHERE id = %s", [id])


def problems() -> list[str]:
    return verification.verify("a test").problems


def day(moment: datetime) -> dict[str, Any]:
    """Return the numbers of a day in a new verification."""
    days = {row["day"]: row for row in verification.verify("a test").days}
    return days.get(f"{moment:%Y-%m-%d}", {})


@pytest.mark.parametrize("folded", [False, True])
def test_recorded_events_are_all_there(web: Repository, folded: bool) -> None:
    for kind in ("update_tag", "get_tag"):
        factories.record(kind, web, tag="v1", occurred_at=JANUARY)
    if folded:
        tallies.fold()

    assert "Nothing is missing: 2 events in 1 days." in manage("verify")
    assert day(JANUARY) == {
        "day": "2021-01-15",
        "recorded": 2,
        "imported": 0,
        "deleted": {},
        "archived": 0,
        "present": 2,
    }


@pytest.mark.parametrize("folded", [False, True])
def test_removed_event_is_named(folded: bool, auditor: Client) -> None:
    events = add_events(5, JANUARY)
    if folded:
        tallies.fold()
    remove(events[:2])

    with pytest.raises(CommandError, match=r"1 problems in 1 days\."):
        manage("verify")

    words = "2021-01-15: 2 events are missing. 5 must be there, and 3 are."
    assert problems() == [words]
    front = auditor.get("/admin/").content.decode()
    assert words in front
    (link,) = re.findall(r'href="(/admin/registry_activity/verification/\d+/change/)"', front)
    page = auditor.get(link).content.decode()
    assert words in page
    assert "<tr><th>2021-01-15</th><td>5</td><td>0</td><td>0</td><td>0</td><td>3</td></tr>" in page


def test_event_that_was_added_past_the_application_is_named() -> None:
    add_events(1, JANUARY)
    added = factories.event_row(occurred_at=JANUARY + timedelta(hours=1))
    positions.assign([added])
    added.save(force_insert=True)

    assert problems() == ["2021-01-15: 1 events are unaccounted for. 1 must be there, and 2 are."]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("archive", [False, True])
def test_what_runs_deleted_is_accounted_for_by_day_and_run(archive: bool, archive_folder: Path) -> None:
    for start in (DECEMBER, JANUARY, FEBRUARY):
        add_events(7, start)
        add_events(2, start, category="pull", kind="get_tag")
    turn_on(archive=archive, age=60, age_unit="days")
    first = execute_run()
    tallies.fold()
    add_events(3, JANUARY + timedelta(hours=1))
    second = execute_run()

    assert problems() == []
    assert day(JANUARY) == {
        "day": "2021-01-15",
        "recorded": 12,
        "imported": 0,
        "deleted": {f"run {first.pk}": 9, f"run {second.pk}": 3},
        "archived": 12 if archive else 0,
        "present": 0,
    }


@on_postgresql
@pytest.mark.parametrize("folded", [False, True])
def test_dropped_and_replaced_partitions_are_accounted_for(archive_folder: Path, folded: bool) -> None:
    for month in (JANUARY, FEBRUARY):
        partitions.create_ahead(month)
    add_events(40, JANUARY)
    add_events(1, JANUARY, kind="create_hold", category="access")
    add_events(5, JANUARY, category="pull", kind="get_tag")
    if folded:
        tallies.fold()
    add_events(2, JANUARY + timedelta(days=1))
    turn_on(archive=True, age=1)
    run = execute_run()

    assert run.deleted == 47
    assert problems() == []
    assert day(JANUARY)["deleted"] == {f"run {run.pk}": 45}
    tallies.fold()
    assert problems() == []


def test_imported_events_are_accounted_for(archive_folder: Path) -> None:
    add_events(4, JANUARY)
    turn_on(archive=True, age=1)
    execute_run()
    imports.import_archive(Archive.objects.get().name)
    imports.import_archive(Archive.objects.get().name)

    assert problems() == []
    found = day(JANUARY)
    assert (found["recorded"], found["imported"], found["present"]) == (4, 4, 4)


def test_lost_or_damaged_archive_is_named(archive_folder: Path) -> None:
    add_events(4, JANUARY)
    turn_on(archive=True, age=1)
    execute_run()
    archive = Archive.objects.get()
    (archive_folder / archive.name).write_bytes(b"damaged")
    assert problems()[0].startswith(f"Archive {archive}: {archive} is damaged")

    (archive_folder / archive.name).unlink()
    assert problems()[0].startswith(f"Archive {archive}: ")

    archive.delete()
    assert problems() == [
        f"2021-01-15: run {Run.objects.get().pk} deleted 4 events, but its archives have only 0."
    ]


def test_deletion_without_a_run_is_named() -> None:
    add_events(4, JANUARY)
    tallies.fold()
    remove(Event.objects.all())
    LedgerEntry.objects.create(day=JANUARY.date(), cause="run 99", events=-4)

    assert problems() == ["2021-01-15: run 99 deleted 4 events, but is not listed."]
