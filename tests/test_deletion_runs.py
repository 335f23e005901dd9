"""A run of auto-deletion: its record, its lease, its archives, and what is left if it dies."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from threading import Event as Signal
from typing import Any

import psycopg
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone

from activity import tasks
from activity.deletion import archives, jobs, runs
from activity.models import (
    Archive,
    AutoDeletion,
    DeletionRule,
    DroppedTallies,
    Event,
    Hold,
    Import,
    Run,
    Tally,
)
from activity.storage import partitions, tallies
from activity.storage.events import insert, remove_days
from activity.storage.partitions import Partition
from repositories.models import Repository
from tests import factories, tally_checks
from tests.running import poll

pytestmark = pytest.mark.django_db

# Long past, so that the months that migrations make, by the real clock, are others.
DECEMBER, JANUARY, FEBRUARY, MARCH = (
    datetime(year, month, 15, 12, tzinfo=UTC) for year, month in ((2020, 12), (2021, 1), (2021, 2), (2021, 3))
)
NOW = datetime(2021, 3, 31, 12, tzinfo=UTC)

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL's tables are partitioned"
)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAUSE", 0)
    monkeypatch.setattr(jobs, "BATCH", 2)
    monkeypatch.setattr(jobs, "DAY_BATCH", 1)
    monkeypatch.setattr(archives, "MAX_EVENTS", 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    """The folder of the archives."""
    use_storage(settings, tmp_path / "archives")
    return tmp_path / "archives"


@pytest.fixture
def web() -> Repository:
    return factories.repository("acme/web")


def use_storage(
    settings: Any, folder: Path, storage: str = "django.core.files.storage.FileSystemStorage"
) -> None:
    archives = {"BACKEND": storage, "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "archives": archives}


def turn_on(*, archive: bool = False, **conditions: Any) -> None:
    AutoDeletion.get_solo()
    AutoDeletion.objects.update(enabled=True, archive=archive, **conditions)


def add(count: int, moment: datetime = JANUARY, **values: Any) -> list[Event]:
    """Store events, a second apart."""
    moments = [moment + timedelta(seconds=number) for number in range(count)]
    return insert([factories.event_row(occurred_at=at, **values) for at in moments])


def run(progress: Callable[[Run], None] = lambda run: None, *, cutoff: datetime = NOW, **options: Any) -> Run:
    """Start a run and carry it out, calling `progress` after each batch."""
    job = runs.start("a test", cutoff=cutoff, **options)
    runs.execute(job, progress)
    job.refresh_from_db()
    return job


def after(batches: int, action: Callable[[], object]) -> Callable[[Run], None]:
    """Return a progress function that does something after a number of batches."""
    calls: Counter[int] = Counter()

    def progress(job: Run) -> None:
        calls[bool(job.deleted)] += 1
        if calls[True] == batches:
            action()

    return progress


def left() -> set[Event]:
    """Return the events, but for those of runs."""
    return set(Event.objects.exclude(kind="delete_events"))


def lapse() -> None:
    """Let all leases lapse."""
    Run.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def archived(folder: Path) -> Counter[str]:
    """Return how often each event is in an archive."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*.jsonl.gz"):
        found.update(row["id"] for row in lines(path))
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the events of an archive."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def once(events: list[Event]) -> Counter[str]:
    return Counter(str(event.pk) for event in events)


def command(name: str, *arguments: str) -> str:
    output = StringIO()
    call_command(name, *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


class TestRecord:
    def test_says_what_the_run_did(self, web: Repository) -> None:
        turn_on(age=1, age_unit="months")
        DeletionRule.objects.create(category="pull", max_events=1, max_per="rule")
        add(3, repository=web)
        add(3, category="pull", kind="get_manifest", repository=web)
        young = add(1, MARCH)

        job = run()

        assert (job.state, job.error, job.started_by, job.cutoff) == ("finished", "", "a test", NOW)
        assert (job.preview, job.expected, job.deleted) == (False, 5, 5)
        assert job.finished_at
        assert job.started_at < job.finished_at < job.lease_until
        assert job.report == {
            "everywhere, Pull": {"events": 2, "categories": {"pull": 2}},
            "The global setting": {"events": 3, "categories": {"push": 3}},
        }
        assert [rule["name"] for rule in job.settings["rules"]] == ["everywhere, Pull", "The global setting"]
        assert left() > set(young)

    def test_counts_while_the_run_is_under_way(self) -> None:
        turn_on(max_events=1)
        add(6)
        seen = []

        run(lambda job: seen.append(Run.objects.values_list("expected", "deleted").get(pk=job.pk)))

        assert seen[-3:] == [(5, 2), (5, 4), (5, 5)]

    def test_of_a_preview_says_what_would_go(self, web: Repository) -> None:
        turn_on(age=1, age_unit="months")
        events = add(3, JANUARY, repository=web, repository_name="acme/web") + add(
            2, repository_name="acme/api"
        )

        job = run(preview=True)

        assert left() == set(events)
        assert (job.state, job.expected, job.deleted) == ("finished", 5, 0)
        assert job.report == {
            "The global setting": {
                "events": 5,
                "categories": {"push": 5},
                "from": "2021-01-15T12:00:00+00:00",
                "to": "2021-01-15T12:00:02+00:00",
                "largest": [["acme/web", 3], ["acme/api", 2]],
            }
        }

    def test_of_a_preview_names_the_largest_repositories(self) -> None:
        turn_on(age=1, age_unit="months")
        for number in range(jobs.LARGEST + 1):
            add(3, repository_name=f"acme/r{number}")
        for category in ("push", "pull", "delete"):  # larger than any, but not in any category
            add(2, repository_name="acme/web", category=category)

        job = run(preview=True)

        largest = job.report["The global setting"]["largest"]
        assert (len(largest), largest[0]) == (jobs.LARGEST, ["acme/web", 6])

    def test_is_kept_as_long_as_there_are_few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runs, "KEPT_RUNS", 3)
        turn_on(age=1, archive=True)
        add(1)

        made = [run() for _ in range(5)]

        assert list(Run.objects.order_by("pk")) == made[2:]
        assert Archive.objects.count() == 1  # what was archived can be found for ever

    def test_is_an_event_if_anything_was_deleted(self, web: Repository) -> None:
        turn_on(age=1, age_unit="months")
        add(2, repository=web)
        reader = factories.person_with("level_admin", web)

        job = run()
        run()

        (event,) = Event.objects.all()
        assert (event.kind, event.actor_name, event.repository) == ("delete_events", "a test", None)
        assert event.details == {
            "run": job.pk,
            "deleted": 2,
            "by_rule": {"The global setting": 2},
            "state": "finished",
        }
        assert shown_to(factories.msr_admin()) == [str(event.pk)]
        assert shown_to(reader) == []


def shown_to(viewer: Any) -> list[str]:
    response = Client().get("/api/v0/events/", headers=factories.bearer(viewer))
    return [event["id"] for event in response.json()["results"]]


class TestOff:
    def test_nothing_is_deleted(self) -> None:
        events = add(3)
        AutoDeletion.get_solo()
        AutoDeletion.objects.update(enabled=False, age=1)
        DeletionRule.objects.create(age=1)

        tasks.delete_events()
        with pytest.raises(CommandError, match="Auto-deletion is off"):
            command("delete_events")
        assert not Run.objects.exists()
        run()

        assert left() == set(events)

    def test_a_preview_says_what_would_be(self) -> None:
        events = add(3)
        AutoDeletion.get_solo()
        AutoDeletion.objects.update(enabled=False, age=1)

        assert "3 would go" in command("delete_events", "--dry-run")

        assert left() == set(events)


class TestLease:
    def test_forbids_a_second_run(self) -> None:
        turn_on(age=1)
        add(3)
        refused = []

        def second() -> None:
            with pytest.raises(runs.UnderWay, match="started by a test, is under way") as refusal:
                runs.start("another")
            refused.append(refusal)
            tasks.delete_events()

        first = run(after(1, second))

        assert refused
        assert list(Run.objects.all()) == [first]

    def test_forbids_a_second_run_before_the_worker_has_begun(self) -> None:
        queued = runs.start("a test")

        with pytest.raises(runs.UnderWay, match="is under way"):
            runs.start("another", preview=True)
        with pytest.raises(CommandError, match=r"is under way\. Wait for it, or stop it"):
            command("delete_events", "--dry-run")
        assert list(Run.objects.all()) == [queued]

    def test_begins_anew_when_the_worker_begins(self) -> None:
        turn_on(age=1)
        add(1)
        queued = runs.start("a test")
        lapse()

        def begun(job: Run) -> None:
            with pytest.raises(runs.UnderWay):
                runs.start("another")

        runs.execute(queued, begun)

        queued.refresh_from_db()
        assert queued.state == "finished"

    @pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
    def test_that_lapsed_is_taken_over(self, archive: bool, folder: Path) -> None:
        turn_on(age=1, archive=archive)
        events = add(11)
        others = []

        def take_over() -> None:
            lapse()
            others.append(runs.start("another"))

        first = run(after(1, take_over))

        # The old holder's next batch changed nothing, and it is silent about its end.
        assert (first.state, first.deleted) == ("abandoned", 2)
        assert len(left()) == 9

        (other,) = others
        runs.execute(other)

        other.refresh_from_db()
        assert (other.state, other.deleted) == ("finished", 9)
        assert not left()
        if archive:
            assert archived(folder) == once(events)

    def test_that_is_lost_while_an_archive_is_written_leaves_that_to_whoever_took_over(
        self, folder: Path, settings: Any
    ) -> None:
        turn_on(age=1, archive=True)
        events = add(6)
        use_storage(settings, folder, f"{__name__}.Slow")

        def take_over() -> None:
            Slow.meanwhile = lambda: None
            lapse()
            run()

        Slow.meanwhile = take_over
        first = run()

        assert (first.state, first.deleted) == ("abandoned", 0)
        assert Run.objects.latest("pk").deleted == 6
        assert archived(folder) == once(events)
        assert not Archive.objects.filter(deleted_at=None)
        assert not left()

    def test_is_not_needed_by_what_ended(self) -> None:
        run()

        assert run().state == "finished"

    def test_of_a_run_that_was_abandoned_is_not_renewed(self) -> None:
        turn_on(age=1)
        events = add(1)
        queued = runs.start("a test")
        lapse()
        runs.start("another")

        runs.execute(queued)

        queued.refresh_from_db()
        assert queued.state == "abandoned"
        assert left() == set(events)


@contextmanager
def when_written(folder: Path, action: Callable[[], object]) -> Iterator[None]:
    """Do something once, between the writing of the first archive and the deletion of what it holds."""
    write, done = archives.write, list[object]()

    def write_and_act(*args: Any) -> Archive | None:
        archive = write(*args)
        if archive and not done:
            done.append(action())
        return archive

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "write", write_and_act)
        yield


class Slow(FileSystemStorage):
    """A storage in which something happens while it stores a file."""

    meanwhile: Callable[[], object]

    def _save(self, *args: Any) -> str:
        name = super()._save(*args)  # type: ignore[misc]
        type(self).meanwhile()
        return name


class TestRunUnderWay:
    def test_is_stopped_between_batches(self) -> None:
        turn_on(age=1)
        add(6)

        job = run(after(2, lambda: Run.objects.update(stop_requested=True)))

        assert (job.state, job.deleted) == ("stopped", 4)
        assert len(left()) == 2
        assert Event.objects.get(kind="delete_events").details["state"] == "stopped"

    def test_that_archives_is_stopped_with_nothing_archived_but_not_deleted(self, folder: Path) -> None:
        turn_on(age=1, archive=True)
        events = add(10)

        job = run(after(1, lambda: Run.objects.update(stop_requested=True)))

        assert (job.state, job.deleted) == ("stopped", 4)
        assert archived(folder) == once(events[:4])
        assert left() == set(events[4:])

    def test_keeps_its_settings_whatever_is_changed(self, web: Repository) -> None:
        turn_on(age=1, age_unit="months")
        add(6, repository=web)
        young = add(1, MARCH)

        def change() -> None:
            AutoDeletion.objects.update(enabled=False, age=1, age_unit="hours", archive=True)
            DeletionRule.objects.create(repository=web)

        job = run(after(1, change))

        assert (job.state, job.deleted) == ("finished", 6)
        assert left() == set(young)
        assert job.settings["rules"][0]["age_unit"] == "months"
        assert not Archive.objects.exists()

    @pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
    @pytest.mark.parametrize("scope", ["repository", "namespace"])
    def test_heeds_a_hold_from_the_next_batch(self, web: Repository, archive: bool, scope: str) -> None:
        turn_on(age=1, archive=archive)
        events = add(6, repository=web)
        target = {"repository": web} if scope == "repository" else {"namespace": web.namespace}

        job = run(after(1, lambda: Hold.objects.create(reason="An inquiry", **target)))

        assert (job.state, job.deleted) == ("finished", 2)
        assert left() == set(events[2:])

    def test_heeds_a_hold_that_is_lifted_meanwhile(self, web: Repository) -> None:
        turn_on(age=1)
        held = add(3, repository=web)
        add(4)
        Hold.objects.create(repository=web, reason="An inquiry")

        run(after(1, lambda: Hold.objects.all().delete()))

        assert left() == set(held)

    def test_leaves_what_comes_after_the_cutoff(self) -> None:
        turn_on(max_events=2)
        add(6)
        late: list[Event] = []

        run(after(1, lambda: late.extend(add(5, NOW))))

        assert len(left()) == 2 + 5
        assert set(late) < left()

    def test_that_fails_says_why_and_what_it_did(self, folder: Path) -> None:
        turn_on(age=1, archive=True)
        events = add(10)

        def break_storage() -> None:
            shutil.rmtree(folder)
            folder.write_text("where the folder was")

        job = run(after(2, break_storage))

        assert (job.state, job.deleted) == ("failed", 4)
        assert job.error.startswith(("FileExistsError", "NotADirectoryError"))
        assert job.finished_at
        assert left() == set(events[4:])
        assert Event.objects.get(kind="delete_events").details["state"] == "failed"

        folder.unlink()
        assert run().deleted == 6

    def test_fails_on_the_command_line_with_its_reason(self, folder: Path) -> None:
        turn_on(age=1, archive=True)
        add(1)
        folder.write_text("where the folder should be")

        with pytest.raises(CommandError, match="Error"):
            command("delete_events")

    def test_says_on_the_command_line_what_went(self) -> None:
        turn_on(age=1)
        add(3)

        output = command("delete_events")

        assert "The global setting: 3 ({'push': 3})" in output
        assert "3 are gone" in output

    def test_that_is_held_before_its_deletion_is_archived_when_it_goes(
        self, web: Repository, folder: Path
    ) -> None:
        turn_on(age=1, archive=True)
        held, others = add(3, repository=web), add(4, JANUARY + timedelta(seconds=3))

        def hold() -> None:
            Hold.objects.create(repository=web, reason="An inquiry")

        with when_written(folder, hold):
            first = run()
        assert left() == set(held)
        assert archived(folder) == once(others)
        assert not Archive.objects.filter(deleted_at=None).exists()
        for archive in first.archives.all():
            assert archive.events == len(list(archives.read(archive.name)))

        Hold.objects.all().delete()
        run()
        assert not left()
        assert archived(folder) == once(held + others)


class TestArchive:
    def test_holds_exactly_the_rows_before_they_are_deleted(self, folder: Path, web: Repository) -> None:
        turn_on(age=1, archive=True)
        events = add(
            6, repository=web, repository_name="acme/web", tag="v1", details={"size": [1.5, None, "ü"]}
        )
        counts = []

        def look(job: Run) -> None:
            counts.append((archived(folder).total(), len(left())))

        job = run(look)

        assert all(written + kept >= 6 for written, kept in counts)
        first, second = job.archives.order_by("pk")
        assert [first.events, second.events] == [4, 2]
        path = folder / first.name
        assert first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert json.loads((folder / f"{first.name}.manifest.json").read_text()) == {
            "name": first.name,
            "events": 4,
            "first_id": str(events[0].pk),
            "last_id": str(events[3].pk),
            "sha256": first.sha256,
        }
        rows = lines(path)
        assert [row["id"] for row in rows] == [str(event.pk) for event in events[:4]]
        assert (rows[0]["occurred_at"], rows[0]["tag"]) == ("2021-01-15T12:00:00+00:00", "v1")
        assert archived(folder) == once(events)

    def test_comes_back_as_the_very_same_rows(self, web: Repository) -> None:
        turn_on(age=1, archive=True)
        user = factories.UserFactory()
        policy = factories.PolicyFactory(repository=web)
        strange = {"half a character": "\ud83d", "": [1.5, 2**70, True, None, {"ü": "\u2028\n"}]}
        add(
            4,
            JANUARY + timedelta(microseconds=123_457),
            repository=web,
            repository_name="acme/wéb\u2028",
            tag="v1\n",
            digest=factories.DIGEST,
            actor_user_id=user.pk,
            policy_id=policy.pk,
            details=strange if connection.vendor == "sqlite" else {"": strange[""]},
        )
        add(1, received_at=JANUARY + timedelta(days=400, microseconds=1))
        before = rows()

        job = run()
        assert not left()
        for archive in job.archives.all():
            command("import_events", archive.name)

        assert rows() == before
        assert {event.imported.archive_name for event in left() if event.imported} == {
            archive.name for archive in job.archives.all()
        }

    def test_that_came_back_is_held_until_released(self) -> None:
        turn_on(age=1, archive=True)
        add(6)
        for archive in run().archives.all():
            archives.bring_back(archive.name)

        assert run().deleted == 0
        assert len(left()) == 6

        Import.objects.filter(events=4).update(released_at=timezone.now())
        assert run().deleted == 4

    def test_comes_back_once(self) -> None:
        turn_on(age=1, archive=True)
        add(4)
        (archive,) = run().archives.all()

        for _ in range(2):
            assert archives.bring_back(archive.name).events == 4

        assert len(left()) == 4
        assert Import.objects.count() == 1

    def test_leaves_events_that_are_there_as_they_are(self) -> None:
        turn_on(age=1, archive=True)
        events = add(4)
        (archive,) = run().archives.all()
        insert(events[:1])

        archives.bring_back(archive.name)

        assert [event.imported_id is None for event in sorted(left(), key=lambda event: event.pk)] == [
            True,
            False,
            False,
            False,
        ]

    @pytest.mark.parametrize("damage", ["flipped", "cut", "no file", "no manifest", "another"])
    def test_that_is_damaged_is_refused(self, folder: Path, damage: str) -> None:
        turn_on(age=1, archive=True)
        add(8)
        second, first = run().archives.all()
        path = folder / first.name
        if damage == "flipped":
            content = path.read_bytes()
            path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
        elif damage == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        elif damage == "no file":
            path.unlink()
        elif damage == "no manifest":
            (folder / f"{first.name}.manifest.json").unlink()
        else:
            shutil.copy(folder / second.name, path)

        with pytest.raises(CommandError, match="can't be imported"):
            command("import_events", first.name)

        assert not left()
        assert not Import.objects.exists()

    def test_whose_events_are_not_all_deleted_yet_is_refused(self) -> None:
        turn_on(age=1, archive=True)
        add(4)

        def import_now() -> None:
            (archive,) = Archive.objects.all()
            with pytest.raises(CommandError, match="not deleted yet"):
                command("import_events", archive.name)

        run(after(1, import_now))

        assert not left()

    def test_must_be_in_the_storage_under_its_own_name(self, folder: Path, settings: Any) -> None:
        turn_on(age=1, archive=True)
        events = add(1)
        use_storage(settings, folder, f"{__name__}.Renaming")

        assert run().state == "failed"
        assert left() == set(events)

    def test_must_be_in_the_storage_unchanged(self, folder: Path, settings: Any) -> None:
        turn_on(age=1, archive=True)
        events = add(1)
        use_storage(settings, folder, f"{__name__}.Losing")

        assert run().state == "failed"
        assert left() == set(events)


class Renaming(FileSystemStorage):
    """A storage that doesn't give a file the name that it was asked for."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return f"{name}.1"


class Losing(FileSystemStorage):
    """A storage that loses the end of a file."""

    def _save(self, name: str, content: Any) -> str:
        return super()._save(name, ContentFile(content.read()[:-1]))  # type: ignore[misc]


def rows() -> list[dict[str, Any]]:
    """Return all events with every field, but for the import that brought them back."""
    events = Event.objects.exclude(kind="delete_events").order_by("pk").values()
    return [{name: value for name, value in row.items() if name != "imported_id"} for row in events]


# --- Runs that die ------------------------------------------------------------------------------


class Killed(BaseException):
    """What SIGKILL is to a process: nothing of the application hears of it."""


class Mortal(FileSystemStorage):
    """A storage whose program may be killed before a file, or in the middle of it."""

    clock: Clock

    def _save(self, name: str, content: Any) -> str:
        whole = content.read()
        self.clock.tick()
        Path(self.path(name)).parent.mkdir(parents=True, exist_ok=True)
        Path(self.path(name)).write_bytes(whole[: len(whole) // 2])
        self.clock.tick()
        Path(self.path(name)).write_bytes(whole)
        return name


class Clock:
    """Kills the program at a moment, where each change to the database or the storage is one."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def __call__(self, execute: Callable, sql: str, *args: Any) -> Any:
        # A transaction that is killed is rolled back, so its end needs no moment of its own.
        if sql.startswith(("INSERT", "UPDATE", "DELETE", "WITH", "ALTER", "DROP")):
            self.tick()
        return execute(sql, *args)


@pytest.mark.parametrize("in_partitions", [False, pytest.param(True, marks=on_postgresql)])
def test_run_that_is_killed_at_any_moment_is_finished_by_the_next(
    in_partitions: bool, folder: Path, settings: Any, web: Repository
) -> None:
    turn_on(age=1, age_unit="months", archive=True)
    if in_partitions:
        partitions.create_ahead(JANUARY)
    held = factories.repository("acme/held")
    Hold.objects.create(repository=held, reason="An inquiry")
    staying = add(1, FEBRUARY, repository=held) + add(1, MARCH)
    going = (
        add(5, repository=web) + add(3, FEBRUARY, repository=web) + add(2, kind="get_blob", category="pull")
    )
    use_storage(settings, folder, f"{__name__}.Mortal")

    for moment in range(1, 1000):
        with undone():
            Mortal.clock = Clock(moment)
            try:
                with connection.execute_wrapper(Mortal.clock):
                    run()
            except Killed:
                survived = False
            else:
                survived = True
            lapse()
            Mortal.clock = Clock(0)

            second = run()

            assert (second.state, second.error) == ("finished", ""), moment
            assert left() == set(staying), moment
            assert archived(folder) == once(going), moment
            assert not Archive.objects.filter(deleted_at=None).exists(), moment
            assert sum(job.deleted for job in Run.objects.all()) == len(going), moment
        shutil.rmtree(folder)
        if survived:
            break
    assert moment > 20


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# --- Memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
def test_memory_stays_flat(archive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "BATCH", 500)
    monkeypatch.setattr(archives, "MAX_EVENTS", 1000)
    turn_on(age=1, archive=archive)

    def peak(batches: int) -> int:
        for _ in range(batches):
            add(jobs.BATCH)
        tracemalloc.start()
        try:
            assert run().deleted >= batches * jobs.BATCH
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # what is loaded once
    assert peak(16) < peak(4) + 500_000


# --- Partitions ---------------------------------------------------------------------------------


def tables() -> set[str]:
    """Return the tables of these months that there are, attached or not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^registry_activity_event_.*_202[01]_'"
        )
        return {name.removeprefix("registry_activity_event_") for (name,) in cursor.fetchall()}


def number_of(table: str) -> int:
    """Return PostgreSQL's own number of a partition, another one if it was made anew."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::regclass::oid", [f"registry_activity_event_{table}"])
        return cursor.fetchone()[0]


def table_of(event: Event) -> str:
    """Return the table that an event is in."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM registry_activity_event WHERE id = %s", [event.pk]
        )
        (name,) = cursor.fetchone()
        return name.removeprefix("registry_activity_event_")


def assert_tallies_are_right() -> None:
    tally_checks.assert_right(DECEMBER - timedelta(days=60), NOW + timedelta(days=60))


MONTHS = ["2020_12", "2021_01", "2021_02", "2021_03"]


def before_freezing(month: str, action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something at the last moment before no more events come into a partition."""
    freeze = partitions.freeze

    def act_and_freeze(partition: Partition) -> None:
        if partition.name == f"registry_activity_event_{month}":
            action()
        freeze(partition)

    monkeypatch.setattr(partitions, "freeze", act_and_freeze)


@on_postgresql
class TestPartitions:
    def test_are_made_ahead(self) -> None:
        made = partitions.create_ahead(DECEMBER)

        assert {p.name.removeprefix("registry_activity_event_") for p in made} == tables()
        assert tables() == {f"{lane}_{month}" for lane in ("pull", "other") for month in MONTHS}

        assert partitions.create_ahead(DECEMBER) == []
        assert [p.name for p in partitions.create_ahead(JANUARY)] == [
            "registry_activity_event_pull_2021_04",
            "registry_activity_event_other_2021_04",
        ]

    def test_hold_pulls_apart_from_the_rest(self) -> None:
        partitions.create_ahead(DECEMBER)
        (push,), (pull,) = add(1), add(1, category="pull", kind="get_blob")

        assert (table_of(push), table_of(pull)) == ("other_2021_01", "pull_2021_01")

    def test_hold_months_in_utc_to_the_microsecond(self) -> None:
        partitions.create_ahead(DECEMBER)
        first = datetime(2021, 2, 1, tzinfo=UTC)
        (before,), (at,) = add(1, first - timedelta(microseconds=1)), add(1, first)

        assert (table_of(before), table_of(at)) == ("other_2021_01", "other_2021_02")

    def test_are_not_needed_to_record(self) -> None:
        event = factories.record(occurred_at=JANUARY)

        assert table_of(event) == "other_default"

    def test_take_what_was_recorded_before_they_were_made(self) -> None:
        strays = add(3, JANUARY) + add(2, category="pull", kind="get_blob")
        (other,) = add(1, DECEMBER - timedelta(days=31))

        partitions.create_ahead(DECEMBER)

        assert {table_of(event) for event in strays} == {"other_2021_01", "pull_2021_01"}
        assert table_of(other) == "other_default"
        assert left() == {*strays, other}

    def test_are_dropped_where_all_goes(self) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        add(3, JANUARY)
        add(3, category="pull", kind="get_blob")
        staying = add(1, FEBRUARY + timedelta(days=14))

        job = run()

        assert tables() == {"other_2021_02", "pull_2021_02", "other_2021_03", "pull_2021_03"}
        assert left() == set(staying)
        assert job.report == {
            "The global setting": {"events": 6, "categories": {"push": 3, "pull": 3}},
        }
        assert (job.expected, job.deleted) == (6, 6)

    @pytest.mark.parametrize(
        "why", ["held", "imported", "kept by a rule", "counted by repository", "too young"]
    )
    def test_lose_just_what_goes_where_one_event_stays(self, why: str, web: Repository) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        add(3, JANUARY)
        if why == "held":
            Hold.objects.create(namespace=web.namespace, reason="An inquiry")
            staying = add(1, JANUARY, repository=web)
        elif why == "imported":
            staying = add(1, JANUARY, imported=Import.objects.create(archive_name="x"))
        elif why == "kept by a rule":
            DeletionRule.objects.create(namespace=web.namespace)
            staying = add(1, JANUARY, repository=web)
        elif why == "counted by repository":
            DeletionRule.objects.create(repository=web, max_events=1)
            staying = add(3, JANUARY, repository=web)[-1:]
        else:
            staying = add(1, NOW - timedelta(days=31))

        job = run()

        assert left() == set(staying)
        assert table_of(staying[0]) in tables()
        assert job.deleted == job.expected == (5 if why == "counted by repository" else 3)

    def test_of_pulls_are_dropped_while_the_rest_stays(self) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on()
        DeletionRule.objects.create(category="pull", age=1)
        add(3, category="pull", kind="get_blob")
        staying = add(3)

        job = run()

        assert left() == set(staying)
        assert "pull_2021_01" not in tables()
        assert "other_2021_01" in tables()
        assert job.report == {"everywhere, Pull": {"events": 3, "categories": {"pull": 3}}}

    def test_are_dropped_by_several_rules_together(self, web: Repository) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        DeletionRule.objects.create(repository=web, age=2, age_unit="weeks")
        DeletionRule.objects.create(category="delete", max_events=1, max_per="rule")
        add(3)
        add(2, repository=web)
        add(1, category="delete", kind="delete_manifest")
        add(1, MARCH, category="delete", kind="delete_manifest")

        job = run()

        assert "other_2021_01" not in tables()
        assert {name: entry["events"] for name, entry in job.report.items()} == {
            "acme/web, all categories": 2,
            "everywhere, Delete": 1,
            "The global setting": 3,
        }

    def test_of_this_month_stay_even_if_all_goes(self) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="hours")
        add(3, MARCH)

        run()

        assert not left()
        assert {"other_2021_03", "pull_2021_03"} == tables()

    @pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
    @pytest.mark.parametrize("staying", [1, 2, 3])
    def test_are_replaced_where_little_stays(
        self, web: Repository, staying: int, archive: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jobs, "MOVED", 2)
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=archive)
        Hold.objects.create(repository=web, reason="An inquiry")
        DeletionRule.objects.create(category="delete")  # never
        kept = add(staying - 1, repository=web) + add(1, category="delete", kind="delete_manifest")
        going = add(7)
        before = number_of("other_2021_01")
        tallies.fold()

        job = run()

        assert left() == set(kept)
        assert (job.deleted, job.expected) == (7, 7)
        assert job.report == {"The global setting": {"events": 7, "categories": {"push": 7}}}
        assert (number_of("other_2021_01") == before) == (staying == 3)
        assert {table_of(event) for event in kept} == {"other_2021_01"}
        assert archived(folder) == (once(going) if archive else Counter())
        assert_tallies_are_right()
        late = add(1)
        assert table_of(late[0]) == "other_2021_01"
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            connection.cursor().execute("DELETE FROM registry_activity_event_other_2021_01")
        assert not run().error
        assert left() == set(kept)

    def test_are_left_alone_where_as_much_stays_as_goes(self, web: Repository) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        Hold.objects.create(repository=web, reason="An inquiry")
        add(2, repository=web)
        add(2)
        before = number_of("other_2021_01")

        assert run().deleted == 2

        assert number_of("other_2021_01") == before

    @pytest.mark.parametrize("late", ["held", "kept by a rule"])
    def test_give_back_what_came_while_they_were_dropped(
        self, web: Repository, late: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        going = add(3)
        if late == "held":
            Hold.objects.create(repository=web, reason="An inquiry")
        else:
            DeletionRule.objects.create(repository=web)
        came = list[Event]()
        before_freezing("other_2021_01", lambda: came.extend(add(1, repository=web)), monkeypatch)

        job = run()

        assert job.deleted == 3
        assert left() == set(came)
        assert archived(folder) == once(going)
        assert table_of(came[0]) == "other_2021_01"

    def test_lose_nothing_that_came_before_they_were_dropped_unarchived(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        going = add(3)
        before_freezing("other_2021_01", lambda: going.extend(add(1)), monkeypatch)

        assert run().deleted == len(going) > 3

        assert not left()
        assert archived(folder) == once(going)

    def test_give_back_what_is_held_while_they_are_archived(
        self, web: Repository, folder: Path, settings: Any
    ) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        held = add(1, repository=web)
        add(9)
        use_storage(settings, folder, f"{__name__}.Slow")
        Slow.meanwhile = lambda: Hold.objects.update_or_create(
            repository=web, defaults={"reason": "An inquiry"}
        )

        job = run()

        assert (job.state, job.deleted) == ("finished", 9)
        assert left() == set(held)
        assert table_of(held[0]) == "other_2021_01"

    def test_are_all_there_if_the_run_is_stopped_while_they_are_archived(self, folder: Path) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        events = add(6)

        with when_written(folder, lambda: Run.objects.update(stop_requested=True)):
            job = run()

        assert (job.state, job.deleted) == ("stopped", 0)
        assert left() == set(events)
        assert not archived(folder)
        assert not Archive.objects.exists()

    def test_leave_nothing_behind_if_it_dies_while_it_is_stopped(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        events = add(6)
        delete = FileSystemStorage.delete

        def die(storage: FileSystemStorage, name: str) -> None:
            delete(storage, name)
            if name.endswith(".manifest.json") and Run.objects.filter(stop_requested=True).exists():
                raise Killed

        with (
            when_written(folder, lambda: Run.objects.update(stop_requested=True)),
            monkeypatch.context() as m,
        ):
            m.setattr(FileSystemStorage, "delete", die)
            with pytest.raises(Killed):
                run()
        Run.objects.update(stop_requested=False)
        lapse()

        job = run()

        assert (job.state, job.error, job.deleted) == ("finished", "", 6)
        assert archived(folder) == once(events)

    def test_are_archived_whole_whatever_comes_and_is_held_meanwhile(
        self, web: Repository, folder: Path
    ) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        held = add(1, repository=web)
        going = add(3)

        def hold_one_and_add_one() -> None:
            Hold.objects.create(repository=web, reason="An inquiry")
            going.extend(add(1, JANUARY - timedelta(days=1)))

        with when_written(folder, hold_one_and_add_one):
            job = run()

        assert (job.state, job.deleted) == ("finished", 4)
        assert left() == set(held)
        assert archived(folder) == once(going)

    def test_are_seen_while_they_are_archived(self, folder: Path) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        events = add(6)
        seen = []

        with when_written(folder, lambda: seen.append(left())):
            run()

        assert seen == [set(events)]

    def test_are_dropped_with_their_tallies(self, web: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        DeletionRule.objects.create(namespace=web.namespace, age=2, age_unit="weeks")
        add(3)
        add(2, repository=web, category="scan", kind="scan")
        tallies.fold()
        add(2, repository=web)
        add(4, category="pull", kind="get_blob", repository=web)
        assert_tallies_are_right()
        late = list[Event]()
        before_freezing("other_2021_01", lambda: late.extend(add(1, repository=web)), monkeypatch)

        job = run()

        assert {"other_2021_01", "pull_2021_01"}.isdisjoint(tables())
        assert job.deleted == 11 + len(late)
        assert job.report == {
            "acme, all categories": {"events": 9, "categories": {"scan": 2, "push": 3, "pull": 4}},
            "The global setting": {"events": 3, "categories": {"push": 3}},
        }
        assert_tallies_are_right()
        tallies.fold()
        assert_tallies_are_right()
        assert not DroppedTallies.objects.exists()
        assert not Tally.objects.filter(start__lt=NOW).exists()

    def test_are_counted_once_if_it_takes_a_second_try(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(partitions, "REST", 0)
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        add(3)
        save, failures = jobs.Deletion.save, list[OperationalError]()

        def fail_once(job: jobs.Deletion) -> None:
            if job.run.deleted and not failures:
                failures.append(OperationalError("The connection was lost."))
                raise failures[0]
            save(job)

        monkeypatch.setattr(jobs.Deletion, "save", fail_once)

        job = run()

        assert failures
        assert "other_2021_01" not in tables()
        assert job.deleted == 3
        assert job.report == {"The global setting": {"events": 3, "categories": {"push": 3}}}

    def test_keep_the_counts_of_what_stays_from_run_to_run(
        self, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jobs, "DAY_BATCH", 10)
        monkeypatch.setattr(jobs, "MOVED", 0)
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        Hold.objects.create(repository=web, reason="An inquiry")
        add(4, DECEMBER, repository=web)
        add(5, JANUARY)
        add(2, JANUARY, repository=web)
        tallies.fold()
        before = Tally.objects.in_bulk()

        assert run().deleted == 5

        assert DroppedTallies.objects.get(is_pull=False).start == JANUARY.replace(hour=0)
        assert_tallies_are_right()
        tallies.fold()
        assert_tallies_are_right()
        add(1, JANUARY + timedelta(days=1))
        assert run().deleted == 1
        assert DroppedTallies.objects.get(is_pull=False).start == JANUARY.replace(hour=0) + timedelta(days=1)
        assert Tally.objects.filter(pk__in=before, start__lt=JANUARY.replace(day=1), repository=web).exists()

    def test_lose_whole_days_and_what_goes_of_the_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "DAY_BATCH", 10)
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months")
        bound = NOW - timedelta(days=31)
        young = add(1, bound)
        add(1, bound - timedelta(days=3))
        add(1, bound - timedelta(hours=1))
        tallies.fold()

        assert run().deleted == 2

        assert left() == set(young)
        assert DroppedTallies.objects.filter(is_pull=False).latest("end").end == bound.replace(hour=0)
        assert_tallies_are_right()
        tallies.fold()
        assert_tallies_are_right()

    def test_are_archived_in_parts(self, folder: Path) -> None:
        partitions.create_ahead(DECEMBER)
        turn_on(age=1, age_unit="months", archive=True)
        events = add(6)

        job = run()

        assert archived(folder) == once(events)
        assert sorted(job.archives.values_list("events", flat=True)) == [2, 4]
        assert "other_2021_01" not in tables()
        for archive in job.archives.all():
            archives.bring_back(archive.name)
        assert left() == set(events)


# --- Partitions beside readers and recording ----------------------------------------------------

READ = "SELECT * FROM registry_activity_event WHERE id > %s ORDER BY id LIMIT 50"
RECORD = """
    INSERT INTO registry_activity_event (id, occurred_at, received_at, kind, category, is_pull, repository_name, tag,
        digest, actor_type, actor_name, details)
    SELECT gen_random_uuid(), now(), now(), kind, category, is_pull, repository_name, tag,
        digest, actor_type, actor_name, details FROM registry_activity_event WHERE id = %s
"""


@on_postgresql
@pytest.mark.django_db(transaction=True)
class TestPartitionsInUse:
    """What a reader's open transaction does to the rest: no more than a wait for one lock timeout."""

    @pytest.fixture(autouse=True)
    def months(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "200ms")
        monkeypatch.setattr(partitions, "REST", 0.2)
        partitions.create_ahead(DECEMBER)
        yield
        for partition in partitions.attached():
            if partition.start.year < 2022:
                with transaction.atomic():
                    partitions.drop(partition, Event.objects.none(), by_repository=False)

    def test_are_dropped_once_the_reader_is_done(self) -> None:
        turn_on(age=1, age_unit="months")
        add(3)
        with self.connect() as reader, ThreadPoolExecutor() as threads:
            reader.execute("SELECT count(*) FROM registry_activity_event")
            job = threads.submit(in_a_thread, run)
            with self.connect() as observer:
                self.wait_for_a_lock(observer)
            reader.commit()

            assert job.result().deleted == 3
        assert "other_2021_01" not in tables()

    def test_are_emptied_if_the_reader_stays(self) -> None:
        turn_on(age=1, age_unit="months")
        add(3)
        with self.connect() as reader:
            reader.execute("SELECT count(*) FROM registry_activity_event")

            job = run()

        assert (job.state, job.deleted) == ("finished", 3)
        assert "other_2021_01" in tables()
        run()
        assert "other_2021_01" not in tables()

    def test_stall_nobody_for_longer_than_the_lock_timeout(self) -> None:
        turn_on(age=1, age_unit="months")
        add(3)
        (young,) = add(1, MARCH)
        ended = Signal()

        def others(sql: str) -> float:
            """Do something again and again, and return the longest time that it took."""
            longest = 0.0
            with self.connect() as other:
                while not ended.is_set():
                    begin = time.monotonic()
                    other.execute(sql, [young.pk])
                    other.commit()
                    longest = max(longest, time.monotonic() - begin)
            return longest

        with self.connect() as reader, ThreadPoolExecutor() as threads:
            reader.execute("SELECT count(*) FROM registry_activity_event")
            reading = threads.submit(
                others, "SELECT * FROM registry_activity_event WHERE id > %s ORDER BY id LIMIT 50"
            )
            recording = threads.submit(others, RECORD)
            begin = time.monotonic()
            run()
            took = time.monotonic() - begin
            ended.set()

            assert took > partitions.TRIES * 0.2
            assert 0.1 < reading.result() < 0.2 + 0.5
            assert 0.1 < recording.result() < 0.2 + 0.5

    @pytest.mark.parametrize("vacuumed", ["other_2021_01", "other_default"])
    def test_wait_for_a_vacuum_in_nobodys_way(self, vacuumed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """For PostgreSQL cancels an autovacuum only for who waits longer than others may be stalled."""
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "50ms")
        monkeypatch.setattr(partitions, "REST", 0)
        turn_on(age=1, age_unit="months")
        add(3)
        with self.connect() as vacuum, self.connect() as observer, ThreadPoolExecutor() as threads:
            vacuum.execute(f"LOCK TABLE registry_activity_event_{vacuumed} IN SHARE UPDATE EXCLUSIVE MODE")
            job = threads.submit(in_a_thread, run)
            self.wait_for_a_lock(observer)
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = 1")  # a millisecond
                late = [*add(1, JANUARY + timedelta(days=1)), *add(1, datetime(2020, 1, 1, tzinfo=UTC))]
            self.wait_for_a_lock(observer, 1.1)
            vacuum.commit()

            assert job.result().deleted == 3 + len(late)
        assert "other_2021_01" not in tables()

    def test_are_made_after_a_vacuum_in_nobodys_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "50ms")
        monkeypatch.setattr(partitions, "REST", 0)
        may = datetime(2021, 5, 15, tzinfo=UTC)
        with self.connect() as vacuum, self.connect() as observer, ThreadPoolExecutor() as threads:
            vacuum.execute("LOCK TABLE registry_activity_event_other_default IN SHARE UPDATE EXCLUSIVE MODE")
            made = threads.submit(in_a_thread, lambda: partitions.create_ahead(may))
            self.wait_for_a_lock(observer)
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = 1")  # a millisecond
                add(1, may)
            self.wait_for_a_lock(observer, 1.1)
            vacuum.commit()

            made.result()
        assert "other_2021_05" in tables()
        assert len(left()) == 1

    def test_fail_no_recording_that_waits_for_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """PostgreSQL looks for deadlocks after a second: the drop must not wait for the recording then."""
        turn_on(age=1, age_unit="months")
        add(3)
        drop, recordings = tallies.drop, list[Future]()

        def drop_slowly(lanes: Any, start: datetime, *args: Any, **values: Any) -> Any:
            if not recordings and False in lanes and start.month == JANUARY.month:
                recordings.append(threads.submit(in_a_thread, record))
                with self.connect() as observer:
                    self.wait_for_a_lock(observer, 0.9)
            return drop(lanes, start, *args, **values)

        @transaction.atomic
        def record() -> None:
            add(1, JANUARY + timedelta(days=1))

        monkeypatch.setattr(tallies, "drop", drop_slowly)
        with ThreadPoolExecutor() as threads:
            job = run()

        recordings[0].result()
        assert (job.state, job.deleted) == ("finished", 4)
        assert "other_2021_01" not in tables()

    def test_are_dropped_while_somebody_asks_the_run_to_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        turn_on(age=1, age_unit="months")
        add(3)
        drop, stops = partitions.drop, list[Future]()

        def drop_and_be_stopped(partition: Partition, *args: Any, **values: Any) -> Any:
            gone = drop(partition, *args, **values)
            if not stops and partition.name == "registry_activity_event_other_2021_01":
                stops.append(threads.submit(in_a_thread, stop))
                with self.connect() as observer:
                    self.wait_for_a_lock(observer)
            return gone

        @transaction.atomic
        def stop() -> None:  # as the admin does
            Run.objects.update(stop_requested=True)
            add(1, NOW, kind="stop_deletion")

        monkeypatch.setattr(partitions, "drop", drop_and_be_stopped)
        with ThreadPoolExecutor() as threads:
            job = run()

        stops[0].result()
        assert (job.state, job.deleted) == ("stopped", 3)
        assert job.report == {"The global setting": {"events": 3, "categories": {"push": 3}}}

    def test_lose_no_days_while_tallies_are_folded(self) -> None:
        events = add(3)

        @transaction.atomic
        def remove() -> int:
            days = JANUARY.replace(hour=0), JANUARY.replace(hour=0) + tallies.DAY
            return remove_days(Event.objects.all(), [False], *days).total()

        with self.connect() as folding, ThreadPoolExecutor() as threads:
            folding.execute("SELECT pg_advisory_xact_lock(%s)", [tallies.LOCK])
            removed = threads.submit(in_a_thread, remove)
            with self.connect() as observer:
                self.wait_for_a_lock(observer)
            assert left() == set(events)
            folding.commit()

            assert removed.result() == 3
        assert not left()

    def test_are_made_while_events_of_their_month_are_recorded(self) -> None:
        may = datetime(2021, 5, 15, tzinfo=UTC)
        made, recorded = Signal(), list[int]()

        def record() -> None:
            try:
                while not made.is_set():
                    with transaction.atomic():
                        recorded.append(len(add(1, may + timedelta(hours=len(recorded)))))
            finally:
                connection.close()

        with ThreadPoolExecutor() as threads:
            recording = [threads.submit(record) for _ in range(4)]
            try:
                for month in range(5, 12):
                    partitions.create_ahead(datetime(2021, month - 3, 1, tzinfo=UTC))
            finally:
                made.set()
            for done in recording:
                done.result()

        assert len(left()) == sum(recorded) > 20

    def connect(self) -> psycopg.Connection:
        settings = connection.settings_dict
        names = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
        return psycopg.connect(**{name: settings[key] for key, name in names.items()})

    def wait_for_a_lock(self, observer: psycopg.Connection, seconds: float = 0) -> None:
        """Wait until somebody has waited for a lock for so long, by PostgreSQL's own account."""
        waiting = """
            SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE NOT granted AND clock_timestamp() >= waitstart + make_interval(secs => %s)
                AND datname = current_database()  -- other tests have their own
        """

        def read() -> int:
            observer.rollback()
            return len(observer.execute(waiting, [seconds]).fetchall())

        assert poll(read, 1) == 1


def in_a_thread(action: Callable[[], Any]) -> Any:
    try:
        return action()
    finally:
        connection.close()
