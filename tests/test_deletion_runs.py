"""Runs of auto-deletion: reports, previews, settings, stop requests, failures and memory use."""

from __future__ import annotations

import shutil
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client

from activity import tasks
from activity.deletion import archive_files, execution, runs
from activity.models import Archive, AutoDeletion, DeletionRule, Event, Run
from repositories.models import Repository
from tests import factories
from tests.deletion import (
    JANUARY,
    MARCH,
    NOW,
    add_events,
    after_batches,
    count_archived,
    each_once,
    execute_run,
    manage,
    remaining_events,
    turn_on,
)

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_batches", "archive_folder")]


def visible_event_ids(viewer: Any) -> list[str]:
    """Return the ids of the events that the API shows to a viewer."""
    response = Client().get("/api/v0/events/", headers=factories.bearer(viewer))
    return [event["id"] for event in response.json()["results"]]


# --- Reports ------------------------------------------------------------------------------------


def test_run_stores_its_counts_by_rule_and_category(web: Repository) -> None:
    turn_on(age=1, age_unit="months")
    DeletionRule.objects.create(category="pull", max_events=1, max_per="rule")
    add_events(3, repository=web)
    add_events(3, category="pull", repository=web)
    young = add_events(1, MARCH)

    run = execute_run()

    assert (run.state, run.error, run.started_by, run.cutoff) == ("finished", "", "a test", NOW)
    assert (run.preview, run.expected, run.deleted) == (False, 5, 5)
    assert run.finished_at
    assert run.started_at < run.finished_at < run.lease_until
    assert run.report == {
        "everywhere, Pull": {"events": 2, "categories": {"pull": 2}},
        "Registry-wide setting": {"events": 3, "categories": {"push": 3}},
    }
    assert [rule["name"] for rule in run.settings["rules"]] == ["everywhere, Pull", "Registry-wide setting"]
    assert remaining_events() > set(young)


def test_rule_without_a_category_deletes_only_repository_events(web: Repository) -> None:
    turn_on(age=1, age_unit="hours")
    DeletionRule.objects.create(repository=web, age=1, age_unit="hours")
    kept = [add_events(1, category=category, repository=web) for category in ("access", "account", "system")]
    for category in ("push", "pull"):
        add_events(1, category=category, repository=web)

    execute_run()

    assert remaining_events() == {event for (event,) in kept}


@pytest.mark.parametrize("category", ["access", "account", "system"])
def test_events_that_are_not_of_repositories_are_kept_for_a_year(web: Repository, category: str) -> None:
    turn_on()
    DeletionRule.objects.create(category=category, age=1, age_unit="hours")
    _old, young = (
        add_events(1, NOW - timedelta(days=days), category=category, repository=web) for days in (366, 364)
    )

    execute_run()

    assert remaining_events() == set(young)


def test_run_updates_its_counts_after_each_batch() -> None:
    turn_on(max_events=1)
    add_events(6)
    seen = []

    execute_run(lambda run: seen.append(Run.objects.values_list("expected", "deleted").get(pk=run.pk)))

    assert seen[-3:] == [(5, 2), (5, 4), (5, 5)]


def test_preview_reports_what_a_run_would_delete(web: Repository) -> None:
    turn_on(age=1, age_unit="months")
    events = add_events(3, JANUARY, repository=web, repository_name="acme/web")
    events += add_events(2, repository_name="acme/api")

    run = execute_run(preview=True)

    assert remaining_events() == set(events)
    assert (run.state, run.expected, run.deleted) == ("finished", 5, 0)
    assert run.report == {
        "Registry-wide setting": {
            "events": 5,
            "categories": {"push": 5},
            "from": "2021-01-15T12:00:00+00:00",
            "to": "2021-01-15T12:00:02+00:00",
            "largest": [["acme/web", 3], ["acme/api", 2]],
        }
    }


def test_preview_reports_the_largest_repositories_across_categories() -> None:
    turn_on(age=1, age_unit="months")
    for number in range(execution.REPOSITORIES_SHOWN + 1):
        add_events(3, repository_name=f"acme/r{number}")
    # All other repositories have three events each, in one category. The acme/web repository has only two
    # events in each of three categories, but six events in total.
    for category in ("push", "pull", "delete"):
        add_events(2, repository_name="acme/web", category=category)

    run = execute_run(preview=True)

    largest = run.report["Registry-wide setting"]["largest"]
    assert (len(largest), largest[0]) == (execution.REPOSITORIES_SHOWN, ["acme/web", 6])


def test_old_runs_are_deleted_unless_they_have_deleted_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "KEPT_RUNS", 3)
    turn_on(age=1, archive=True)
    add_events(1)

    created = [execute_run() for _ in range(5)]

    assert list(Run.objects.order_by("pk")) == [created[0], *created[2:]]
    assert Archive.objects.count() == 1


def test_run_is_recorded_as_an_event_if_it_deleted_anything(web: Repository) -> None:
    turn_on(age=1, age_unit="months")
    add_events(2, repository=web)
    repository_admin = factories.user_with("level_admin", web)

    run = execute_run()
    execute_run()

    (event,) = Event.objects.all()
    assert (event.kind, event.actor_name, event.repository) == ("delete_events", "a test", None)
    assert event.details == {
        "run": run.pk,
        "deleted": 2,
        "by_rule": {"Registry-wide setting": 2},
        "state": "finished",
    }
    assert visible_event_ids(factories.msr_admin()) == [str(event.pk)]
    assert visible_event_ids(repository_admin) == []


# --- Settings -----------------------------------------------------------------------------------


def test_nothing_is_deleted_while_auto_deletion_is_off() -> None:
    events = add_events(3)
    AutoDeletion.get_solo()
    AutoDeletion.objects.update(enabled=False, age=1)
    DeletionRule.objects.create(age=1)

    tasks.delete_events()
    with pytest.raises(CommandError, match="Auto-deletion is off"):
        manage("delete_events")
    assert not Run.objects.exists()
    execute_run()

    assert remaining_events() == set(events)


def test_preview_works_while_auto_deletion_is_off() -> None:
    events = add_events(3)
    AutoDeletion.get_solo()
    AutoDeletion.objects.update(enabled=False, age=1)

    assert "3 events would be deleted" in manage("delete_events", "--dry-run")

    assert remaining_events() == set(events)


def test_run_ignores_settings_changed_after_it_started(web: Repository) -> None:
    turn_on(age=1, age_unit="months")
    add_events(6, repository=web)
    young = add_events(1, MARCH)

    def change_settings() -> None:
        AutoDeletion.objects.update(enabled=False, age=1, age_unit="hours", archive=True)
        DeletionRule.objects.create(repository=web)

    run = execute_run(after_batches(1, change_settings))

    assert (run.state, run.deleted) == ("finished", 6)
    assert remaining_events() == set(young)
    assert run.settings["rules"][0]["age_unit"] == "months"
    assert not Archive.objects.exists()


def test_run_ignores_events_after_its_cutoff() -> None:
    turn_on(max_events=2)
    add_events(6)
    late: list[Event] = []

    execute_run(after_batches(1, lambda: late.extend(add_events(5, NOW))))

    assert len(remaining_events()) == 2 + 5
    assert set(late) < remaining_events()


# --- Stop requests and failures -----------------------------------------------------------------


def test_stop_request_stops_the_run_between_batches() -> None:
    turn_on(age=1)
    add_events(6)

    run = execute_run(after_batches(2, lambda: Run.objects.update(stop_requested=True)))

    assert (run.state, run.deleted) == ("stopped", 4)
    assert len(remaining_events()) == 2
    assert Event.objects.get(kind="delete_events").details["state"] == "stopped"


def test_stopped_run_has_archived_exactly_the_events_it_deleted(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    events = add_events(10)

    run = execute_run(after_batches(1, lambda: Run.objects.update(stop_requested=True)))

    assert (run.state, run.deleted) == ("stopped", 4)
    assert count_archived(archive_folder) == each_once(events[:4])
    assert remaining_events() == set(events[4:])


def test_failed_run_stores_its_error_and_its_counts(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    events = add_events(10)

    def break_storage() -> None:
        shutil.rmtree(archive_folder)
        archive_folder.write_text("a file in place of the folder")

    run = execute_run(after_batches(2, break_storage))

    assert (run.state, run.deleted) == ("failed", 4)
    assert run.error.startswith(("FileExistsError", "NotADirectoryError"))
    assert run.finished_at
    assert remaining_events() == set(events[4:])
    assert Event.objects.get(kind="delete_events").details["state"] == "failed"

    archive_folder.unlink()
    assert execute_run().deleted == 6


def test_command_fails_with_the_error_of_the_run(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    add_events(1)
    archive_folder.write_text("a file in place of the folder")

    with pytest.raises(CommandError, match="Error"):
        manage("delete_events")


def test_command_prints_the_counts_of_the_run() -> None:
    turn_on(age=1)
    add_events(3)

    output = manage("delete_events")

    assert "Registry-wide setting: 3 (push: 3)" in output
    assert "3 events deleted" in output


# --- Memory -------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
def test_memory_use_does_not_grow_with_the_number_of_events(
    archive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "BATCH_SIZE", 500)
    monkeypatch.setattr(archive_files, "MAX_EVENTS", 1000)
    turn_on(age=1, archive=archive)

    def measure_peak(batches: int) -> int:
        for _ in range(batches):
            add_events(execution.BATCH_SIZE)
        tracemalloc.start()
        try:
            assert execute_run().deleted >= batches * execution.BATCH_SIZE
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measure_peak(2)  # fills caches, so that they don't count as memory use below
    assert measure_peak(16) < measure_peak(4) + 500_000
