"""Helper functions for the auto-deletion tests. The fixtures are in `deletion_fixtures.py`."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from activity.deletion import archives, runs
from activity.models import AutoDeletion, Event, Run
from activity.storage.events import insert
from tests import factories

# The months are long past, because the migrations create partitions for the current month and the months
# after it.
DECEMBER, JANUARY, FEBRUARY, MARCH = (
    datetime(year, month, 15, 12, tzinfo=UTC) for year, month in ((2020, 12), (2021, 1), (2021, 2), (2021, 3))
)
NOW = datetime(2021, 3, 31, 12, tzinfo=UTC)

on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has partitions")


class HookedStorage(FileSystemStorage):
    """A file storage that calls `on_save` after storing each file."""

    on_save: Callable[[], object]

    def _save(self, *args: Any) -> str:
        name = super()._save(*args)  # type: ignore[misc]
        type(self).on_save()
        return name


def use_storage(settings: Any, folder: Path, storage: type[FileSystemStorage] = FileSystemStorage) -> None:
    """Configure the application to store archives in a folder, using the given storage class."""
    backend = f"{storage.__module__}.{storage.__qualname__}"
    options = {"BACKEND": backend, "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "archives": options}


def turn_on(*, archive: bool = False, **conditions: Any) -> None:
    """Turn on auto-deletion, and set these conditions in the global setting."""
    AutoDeletion.get_solo()
    AutoDeletion.objects.update(enabled=True, archive=archive, **conditions)


def add_events(count: int, start: datetime = JANUARY, **values: Any) -> list[Event]:
    """Store events that occurred one second apart, and return them."""
    moments = [start + timedelta(seconds=number) for number in range(count)]
    return insert([factories.event_row(occurred_at=moment, **values) for moment in moments])


def remaining_events() -> set[Event]:
    """Return all events except the events that record a run."""
    return set(Event.objects.exclude(kind__in=["delete_events", "delete_events_failed"]))


def execute_run(
    progress: Callable[[Run], None] = lambda run: None, *, cutoff: datetime = NOW, **options: Any
) -> Run:
    """Execute a run, call `progress` after each batch, and return the run."""
    run = runs.start("a test", cutoff=cutoff, **options)
    runs.execute(run, progress)
    run.refresh_from_db()
    return run


def expire_leases() -> None:
    """Make the leases of all runs expire."""
    Run.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def after_batches(number: int, action: Callable[[], object]) -> Callable[[Run], None]:
    """Return a progress function that calls `action` as soon as the run has deleted `number` batches."""
    calls: Counter[int] = Counter()

    def progress(run: Run) -> None:
        calls[bool(run.deleted)] += 1
        if calls[True] == number:
            action()

    return progress


@contextmanager
def after_first_archive(action: Callable[[], object]) -> Iterator[None]:
    """Call `action` once: after the first archive is written, but before its events are deleted."""
    write, done = archives.write, list[object]()

    def write_and_act(*args: Any) -> Any:
        written = write(*args)
        if written and not done:
            done.append(action())
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "write", write_and_act)
        yield


def count_archived(folder: Path) -> Counter[str]:
    """Return how many times each event id occurs in the archives in a folder."""
    counts: Counter[str] = Counter()
    for path in folder.rglob("*.jsonl.gz"):
        counts.update(row["id"] for row in read_archive(path))
    return counts


def read_archive(path: Path) -> list[dict[str, Any]]:
    """Return the events in an archive file."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def write_archive(path: Path, rows: list[dict[str, Any]], *, ending: bytes = b"") -> None:
    """Write an archive and a manifest that matches it."""
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    write_manifest(path, gzip.compress(lines + ending))


def write_manifest(path: Path, content: bytes | None = None) -> None:
    """Write a manifest that matches an archive file, after replacing the content of the file, if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    manifest = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_name(f"{path.name}.manifest.json").write_text(json.dumps(manifest))


def each_once(events: list[Event]) -> Counter[str]:
    """Return the expected result of `count_archived` if each of these events is archived exactly once."""
    return Counter(str(event.pk) for event in events)


def manage(name: str, *arguments: str) -> str:
    """Run a management command, and return its output."""
    output = StringIO()
    call_command(name, *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


def list_tables() -> set[str]:
    """Return the names of attached and detached partitions for 2020 and 2021, without the common prefix."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class"
            " WHERE relkind = 'r' AND relname ~ '^registry_activity_event_.*_202[01]_'"
        )
        return {name.removeprefix("registry_activity_event_") for (name,) in cursor.fetchall()}
