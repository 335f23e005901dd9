"""Leases ensure that only one run is active at a time, and that a new run can replace a run that died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from activity import tasks
from activity.deletion import runs
from activity.models import Archive, Run
from tests.deletion import (
    HookedStorage,
    add_events,
    after_batches,
    count_archived,
    each_once,
    execute_run,
    expire_leases,
    manage,
    remaining_events,
    turn_on,
    use_storage,
)

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_batches", "archive_folder")]


def test_lease_prevents_a_second_run() -> None:
    turn_on(age=1)
    add_events(3)
    rejected = []

    def start_another() -> None:
        with pytest.raises(runs.AlreadyRunning, match="started by a test, has not finished yet") as error:
            runs.start("another")
        rejected.append(error)
        tasks.delete_events()

    first = execute_run(after_batches(1, start_another))

    assert rejected
    assert list(Run.objects.all()) == [first]


def test_lease_prevents_a_second_run_before_the_worker_starts_the_first() -> None:
    queued = runs.start("a test")

    with pytest.raises(runs.AlreadyRunning, match="has not finished yet"):
        runs.start("another", preview=True)
    with pytest.raises(CommandError, match=r"has not finished yet\. Wait for it to finish, or stop it"):
        manage("delete_events", "--dry-run")
    assert list(Run.objects.all()) == [queued]


def test_deletion_does_not_wait_for_a_preview() -> None:
    turn_on(age=1)
    add_events(1)
    runs.start("a test", preview=True)

    tasks.delete_events()

    assert Run.objects.get(preview=False).deleted == 1


def test_lease_is_renewed_when_the_worker_starts_the_run() -> None:
    turn_on(age=1)
    add_events(1)
    queued = runs.start("a test")
    expire_leases()

    def start_another(run: Run) -> None:
        with pytest.raises(runs.AlreadyRunning):
            runs.start("another")

    runs.execute(queued, start_another)

    queued.refresh_from_db()
    assert queued.state == "finished"


@pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
def test_expired_lease_lets_another_run_take_over(archive: bool, archive_folder: Path) -> None:
    turn_on(age=1, archive=archive)
    events = add_events(11)
    others = []

    def take_over() -> None:
        expire_leases()
        others.append(runs.start("another"))

    first = execute_run(after_batches(1, take_over))

    # The next batch of the first run was rolled back. The run was still marked as abandoned.
    assert (first.state, first.deleted) == ("abandoned", 2)
    assert len(remaining_events()) == 9

    (other,) = others
    runs.execute(other)

    other.refresh_from_db()
    assert (other.state, other.deleted) == ("finished", 9)
    assert not remaining_events()
    if archive:
        assert count_archived(archive_folder) == each_once(events)


def test_run_that_loses_its_lease_while_writing_an_archive_discards_it(
    archive_folder: Path, settings: Any
) -> None:
    turn_on(age=1, archive=True)
    events = add_events(6)
    use_storage(settings, archive_folder, HookedStorage)

    def take_over() -> None:
        HookedStorage.on_save = lambda: None
        expire_leases()
        execute_run()

    HookedStorage.on_save = take_over
    first = execute_run()

    assert (first.state, first.deleted) == ("abandoned", 0)
    assert Run.objects.latest("pk").deleted == 6
    assert count_archived(archive_folder) == each_once(events)
    assert not Archive.objects.filter(deleted_at=None)
    assert not remaining_events()


def test_finished_run_does_not_prevent_another_run() -> None:
    execute_run()

    assert execute_run().state == "finished"


def test_abandoned_run_deletes_nothing() -> None:
    turn_on(age=1)
    events = add_events(1)
    queued = runs.start("a test")
    expire_leases()
    runs.start("another")

    runs.execute(queued)

    queued.refresh_from_db()
    assert queued.state == "abandoned"
    assert remaining_events() == set(events)
