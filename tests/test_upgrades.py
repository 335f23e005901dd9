"""Databases of earlier versions can be upgraded, and keep everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests import dumps
from tests.running import Application, application, poll

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=dumps.versions())
def version(request: Any) -> str:
    return request.param


@pytest.fixture(scope="module")
def app(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("upgraded")
    with application(folder, version=version, variables={"RECORD_IN_REQUEST": "false"}) as app:
        yield app


def test_there_is_a_dump() -> None:
    assert dumps.versions()


def test_viewers_see_the_same_events_as_before(app: Application, version: str) -> None:
    for viewer, events in dumps.read_events(version, connection.vendor).items():
        exported = app.export(viewer)

        assert [event["id"] for event in exported] == [event["id"] for event in events]
        for before, after in zip(events, exported, strict=True):
            assert before.items() <= after.items()


def test_verification_finds_nothing_missing(app: Application) -> None:
    app.manage("verify")  # its exit status would be 1


def test_archives_can_be_brought_back(app: Application) -> None:
    folder = app.folder / "data" / "archives"
    for path in folder.rglob("*.gz"):
        assert app.manage("import_events", str(path.relative_to(folder))).startswith("Imported")


def test_messages_in_the_journal_are_recorded(app: Application) -> None:
    with app.program("recorder"):
        assert poll(app.waiting, 0) == 0
    assert app.events("admin", tag="waiting")


def test_tallies_of_four_weeks_are_those_of_their_weeks(app: Application) -> None:
    count = "Tally.objects.filter(unit={unit}).aggregate(n=models.Sum('events'))['n']"
    imports = "from django.db import models; from activity.models import Tally"
    weeks, four_weeks = (
        app.manage("shell", "-v", "0", "-c", f"{imports}; print({count.format(unit=unit)})").strip()
        for unit in (3, 4)
    )
    assert weeks == four_weeks
    assert int(weeks) > 0
