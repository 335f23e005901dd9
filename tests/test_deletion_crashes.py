"""If a run is killed, the next run completes its work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import connection

from activity.models import Archive, DeletionRule, Hold, Run
from activity.storage import partitions
from repositories.models import Repository
from tests import factories
from tests.deletion import (
    DECEMBER,
    FEBRUARY,
    JANUARY,
    MARCH,
    NOW,
    add_events,
    after_first_archive,
    count_archived,
    each_once,
    execute_run,
    expire_leases,
    manage,
    on_postgresql,
    remaining_events,
    turn_on,
    use_storage,
    write_archive,
)
from tests.worlds import rolled_back

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_batches", "archive_folder")]


class Killed(BaseException):
    """Simulates SIGKILL. Like SIGKILL, a BaseException is never handled by the application."""


class KillSwitch:
    """Raises Killed at the given step. Every change to the database or to the storage counts as a step."""

    def __init__(self, step: int) -> None:
        self.steps_left = step

    def tick(self) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            raise Killed

    def __call__(self, execute: Callable, sql: str, *args: Any) -> Any:
        # COMMIT isn't a step, because a process that dies just before COMMIT leaves no changes behind.
        if sql.startswith(("INSERT", "UPDATE", "DELETE", "WITH", "ALTER", "DROP")):
            self.tick()
        return execute(sql, *args)


class KillableStorage(FileSystemStorage):
    """A storage backend that simulates being killed before it writes a file, or halfway through it."""

    kill_switch: KillSwitch

    def _save(self, name: str, content: Any) -> str:
        data = content.read()
        self.kill_switch.tick()
        Path(self.path(name)).parent.mkdir(parents=True, exist_ok=True)
        Path(self.path(name)).write_bytes(data[: len(data) // 2])
        self.kill_switch.tick()
        Path(self.path(name)).write_bytes(data)
        return name


@pytest.mark.long
@pytest.mark.parametrize("in_partitions", [False, pytest.param(True, marks=on_postgresql)])
def test_run_killed_at_any_step_is_completed_by_the_next_run(
    in_partitions: bool, archive_folder: Path, settings: Any, web: Repository
) -> None:
    turn_on(age=1, age_unit="months", archive=True)
    if in_partitions:
        partitions.create_ahead(JANUARY)
    held_repository = factories.repository("acme/held")
    Hold.objects.create(repository=held_repository, reason="An inquiry")
    kept = add_events(1, FEBRUARY, repository=held_repository) + add_events(1, MARCH)
    expired = add_events(5, repository=web) + add_events(3, FEBRUARY, repository=web)
    expired += add_events(2, category="pull")
    use_storage(settings, archive_folder, KillableStorage)

    for step in range(1, 1000):
        with rolled_back():
            KillableStorage.kill_switch = KillSwitch(step)
            try:
                with connection.execute_wrapper(KillableStorage.kill_switch):
                    execute_run()
            except Killed:
                survived = False
            else:
                survived = True
            expire_leases()
            KillableStorage.kill_switch = KillSwitch(0)

            second = execute_run()

            assert (second.state, second.error) == ("finished", ""), step
            assert remaining_events() == set(kept), step
            assert count_archived(archive_folder) == each_once(expired), step
            assert not Archive.objects.filter(deleted_at=None).exists(), step
            assert sum(run.deleted for run in Run.objects.all()) == len(expired), step
        shutil.rmtree(archive_folder)
        if survived:
            break
    assert step > 20


def killed_after_first_batch(run: Run) -> None:
    if run.deleted:
        raise Killed


def test_replaced_archive_of_a_killed_run_deletes_nothing(archive_folder: Path, web: Repository) -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    kept = add_events(5, NOW, repository=web)
    with pytest.raises(Killed):
        execute_run(killed_after_first_batch)
    expire_leases()
    archive = Archive.objects.get()
    path = archive_folder / archive.name
    genuine = path.read_bytes()
    write_archive(path, [{"id": str(event.pk)} for event in kept])

    run = execute_run()

    assert (run.state, run.deleted) == ("failed", 0)
    assert "damaged or was replaced" in run.error
    assert len(remaining_events()) == 2 + len(kept)

    path.write_bytes(genuine)
    assert (execute_run().deleted, remaining_events()) == (2, set(kept))


@pytest.mark.parametrize("damage", ["replaced", "missing"])
def test_damaged_archive_of_a_killed_run_is_discarded_if_all_its_events_exist(
    archive_folder: Path, damage: str
) -> None:
    turn_on(age=1, archive=True)
    events = add_events(4)

    def damage_and_die(run: Run) -> None:
        if archive := Archive.objects.first():
            path = archive_folder / archive.name
            path.unlink() if damage == "missing" else write_archive(path, [])

    with after_first_archive(lambda: damage_and_die(Run.objects.get())):
        first = execute_run()
    assert (first.state, first.deleted) == ("failed", 0)
    assert remaining_events() == set(events)

    assert (execute_run().state, remaining_events()) == ("finished", set())
    assert count_archived(archive_folder) == each_once(events)


def test_rules_decide_about_the_events_that_a_killed_run_left_over(
    archive_folder: Path, web: Repository
) -> None:
    turn_on(age=1, archive=True)
    events = add_events(4, repository=web)
    with pytest.raises(Killed):
        execute_run(killed_after_first_batch)
    expire_leases()
    DeletionRule.objects.create(repository=web)  # keeps its events forever

    run = execute_run()

    assert (run.state, run.deleted) == ("finished", 0)
    assert remaining_events() == set(events[2:])
    assert count_archived(archive_folder) == each_once(events[:2])
    for archive in Archive.objects.all():
        manage("import_events", archive.name)
    assert remaining_events() == set(events)


def test_run_overwrites_no_file_in_the_archive_storage(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    add_events(8)
    first, second = execute_run().archives.order_by("pk")
    archive = archive_folder / first.name
    genuine = archive.read_bytes()
    add_events(4)
    next_run = f"run-{(first.run_id or 0) + 1}-"  # stored before a backup of the database was restored
    path = archive.rename(archive.with_name(archive.name.replace(f"run-{first.run_id}-", next_run)))

    run = execute_run()

    assert path.read_bytes() == genuine
    assert (run.state, run.archives.get().name) == (
        "finished",
        second.name.replace(f"run-{first.run_id}-", next_run),
    )


@on_postgresql
def test_run_killed_while_stopping_leaves_no_archive_behind(
    archive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    events = add_events(6)
    delete = FileSystemStorage.delete

    def delete_and_die(storage: FileSystemStorage, name: str) -> None:
        delete(storage, name)
        if name.endswith(".manifest.json") and Run.objects.filter(stop_requested=True).exists():
            raise Killed

    with (
        after_first_archive(lambda: Run.objects.update(stop_requested=True)),
        monkeypatch.context() as patch,
    ):
        patch.setattr(FileSystemStorage, "delete", delete_and_die)
        with pytest.raises(Killed):
            execute_run()
    Run.objects.update(stop_requested=False)
    expire_leases()

    run = execute_run()

    assert (run.state, run.error, run.deleted) == ("finished", "", 6)
    assert count_archived(archive_folder) == each_once(events)
