"""Archives are found by date, event, repository and rule, and restored from the admin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from activity import tasks
from activity.models import Archive, Event, Import
from repositories.models import Repository
from tests.deletion import FEBRUARY, JANUARY, MARCH, add_events, execute_run, turn_on

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.long]
ARCHIVES = "/admin/registry_activity/archive/"


@pytest.fixture
def archived(web: Repository, archive_folder: Path) -> list[Event]:
    """Three deleted events, one in each of three archives."""
    events = []
    for month in (JANUARY, FEBRUARY, MARCH):
        events += add_events(1, month, repository=web, repository_name="acme/web")
        turn_on(archive=True, age=1, age_unit="hours")
        execute_run()
    return events


def found(client: Client, query: str) -> list[str]:
    """Return the months of the archives that a search finds."""
    response = client.get(ARCHIVES, {"q": query})
    return sorted(f"{archive.first_at:%Y-%m}" for archive in response.context["cl"].result_list)


def test_archives_are_found(auditor: Client, archived: list[Event]) -> None:
    everything = ["2021-01", "2021-02", "2021-03"]
    assert found(auditor, "2021-02") == ["2021-02"]
    assert found(auditor, "2021-03-15") == ["2021-03"]
    assert found(auditor, "2021-03-16") == []
    assert found(auditor, str(archived[0].pk)) == ["2021-01"]
    assert found(auditor, archived[1].pk.hex) == ["2021-02"]
    assert found(auditor, "acme/web") == everything
    assert found(auditor, "acme/web 2021-01") == ["2021-01"]
    assert found(auditor, "registry-wide") == everything
    assert found(auditor, "acme/api") == []


def test_long_search_finds_nothing(auditor: Client, archived: list[Event]) -> None:
    assert found(auditor, "acme/web " * 10) != []
    assert found(auditor, "acme/web " * 11) == []


@pytest.mark.parametrize("query", ["2021-13", "0000-00", "9999-12", "9999-12-31", "\0", "'", "%"])
def test_any_search_has_an_answer(auditor: Client, archived: list[Event], query: str) -> None:
    assert auditor.get(ARCHIVES, {"q": query}).status_code == (400 if query == "\0" else 200)


def test_archive_shows_its_time_range_rule_and_repositories(auditor: Client, archived: list[Event]) -> None:
    archive = Archive.objects.get(first_id=archived[0].pk)
    html = auditor.get(f"{ARCHIVES}{archive.pk}/change/").content.decode()

    for text in ("2021-01-15 12:00", "acme/web", "Registry-wide setting", f"Run {archive.run_id}"):
        assert text in html


def bring_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Select the archive of January, and have it restored. The task is executed at once."""
    monkeypatch.setattr(tasks.import_archives, "delay", tasks.import_archives)
    selected = Archive.objects.order_by("first_id")[0].pk
    return client.post(ARCHIVES, {"action": "bring_back", "_selected_action": selected}, follow=True)


@pytest.mark.audited
def test_msr_admin_brings_an_archive_back(
    admin: Client, archived: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    response = bring_back(admin, monkeypatch)

    assert "The worker is restoring the events." in response.content.decode()
    assert Event.objects.get(kind="create_manifest").pk == archived[0].pk
    assert Import.objects.get().released_at is None
    assert Event.objects.get(kind="import_events").actor_name == "admin"


def test_auditor_cannot_bring_an_archive_back(
    auditor: Client, archived: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_back(auditor, monkeypatch)

    assert not Import.objects.exists()


@pytest.mark.audited
def test_archive_that_cannot_be_brought_back_is_an_event(
    admin: Client, archived: list[Event], archive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in archive_folder.rglob("*.gz"):
        path.write_bytes(b"damaged")

    bring_back(admin, monkeypatch)

    assert "is damaged or was replaced" in Event.objects.get(kind="import_events_failed").details["error"]
