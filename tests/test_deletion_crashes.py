"""If a run is killed, the next run completes its work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import connection

from activity.models import Archive, Hold, Run
from activity.storage import partitions
from repositories.models import Repository
from tests import factories
from tests.deletion import (
    DECEMBER,
    FEBRUARY,
    JANUARY,
    MARCH,
    add_events,
    after_first_archive,
    count_archived,
    each_once,
    execute_run,
    expire_leases,
    on_postgresql,
    remaining_events,
    turn_on,
    use_storage,
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
    expired += add_events(2, kind="get_blob", category="pull")
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
