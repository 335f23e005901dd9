"""Writes events to archives before they are deleted. `archive_files` describes the files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, count, islice
from uuid import UUID

from django.db import models, transaction
from django.db.models import QuerySet
from django.db.models.functions import Cast
from django.utils import timezone

from activity.deletion import archive_files
from activity.deletion.archive_files import Row
from activity.gating import MESSAGE
from activity.identity import moment_of
from activity.models import Archive, Event, Run
from activity.models.details import COLUMNS, TEXTS, EventDetails, join_details
from activity.models.messages import find_texts

SUFFIX = ".jsonl.gz"
CHUNK = 1_000
MAX_REPOSITORIES = 100
"""The maximum number of repositories to list with an archive."""
DETAILS = models.JSONField(default=dict)
DETAILS.set_attributes_from_name("details")
NOT_ARCHIVED = {"imported", "position", *(field.name for field in EventDetails._meta.fields)}
FIELDS = {field.attname: field for field in Event._meta.fields if field.name not in NOT_ARCHIVED}
TIMES = [name for name, field in FIELDS.items() if isinstance(field, models.DateTimeField)]
STORED = [Cast(name, models.TextField()) if name in TIMES else name for name in FIELDS]
"""What to read from the database for the fields."""
FIELDS["details"] = DETAILS
"""The fields of events in archives."""
IN_COLUMNS = [f"{name}__value" if name in TEXTS else name for name in COLUMNS]
"""What to read from the database for the details that have columns."""


def write(run: Run, events: QuerySet[Event], rules: list[str]) -> tuple[Archive, list[UUID]] | None:
    """Write the events with the lowest ids, as many as fit, to a new archive. `rules` delete them.

    Returns the archive and the ids of its events, in order, or None if there are no events. When this
    function returns, the files are safely stored, but the archive counts as incomplete until the caller sets
    `written_at`.
    """
    first = events.order_by("id")[: archive_files.MAX_EVENTS]
    name = _unused_name(f"{run.started_at:%Y/%m/%d}/run-{run.pk}")
    return _create(run, name, rows(first), rules)


def rows(events: QuerySet[Event]) -> Iterator[Row]:
    """Yield events as rows of an archive. Instances of the model would take a multiple of the time."""
    found = events.values_list("position", "more_details", *IN_COLUMNS, *STORED).iterator(chunk_size=CHUNK)
    while chunk := list(islice(found, CHUNK)):
        messages = find_texts({position for position, *_ in chunk})
        for position, more, *values in chunk:
            details = join_details(values[: len(IN_COLUMNS)], more)
            if message := messages.get(position):
                details = {**details, MESSAGE: message}
            row = dict(zip(FIELDS, [*values[len(IN_COLUMNS) :], details], strict=True))
            for name in TIMES:
                row[name] = _time(row[name])
            yield row


def _time(text: str) -> datetime:
    """Return the time in a text of the database. Django's conversion takes ten times as long."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def verify(archive: Archive) -> None:
    """Raise DamagedArchive if the file of an archive isn't the one that was written."""
    archive_files.verify(archive.name, archive.sha256)


def event_ids(archive: Archive) -> list[UUID]:
    """Return the ids of the events in an archive. There are at most `MAX_EVENTS`."""
    batches = archive_files.read(archive.name, archive.sha256)
    return [UUID(row["id"]) for row in chain.from_iterable(batches)]


def rewrite_without(archive: Archive, kept: set[UUID]) -> None:
    """Replace an archive with a new archive that lacks the kept events.

    Call this after all other events in the archive have been deleted from the database. If all events were
    kept, the archive is discarded without a replacement.
    """
    rows = chain.from_iterable(archive_files.read(archive.name, archive.sha256))
    name = _unused_name(f"{archive.name.removesuffix(SUFFIX)}-rest")
    deleted = (row for row in rows if UUID(row["id"]) not in kept)
    replacement, _ = _create(archive.run, name, deleted, archive.rules) or (None, [])
    with transaction.atomic():
        if replacement:
            replacement.written_at = replacement.deleted_at = timezone.now()
            replacement.save(update_fields=["written_at", "deleted_at"])
        _mark_incomplete(archive)
    discard(archive)


def discard(*unwanted: Archive) -> None:
    """Delete archives and their files."""
    _mark_incomplete(*unwanted)
    for archive in unwanted:
        archive_files.delete(archive.name)
        archive.delete()


def _create(
    run: Run | None, name: str, rows: Iterable[Row], rules: list[str]
) -> tuple[Archive, list[UUID]] | None:
    """Create an archive of the first of the rows, as many as fit, or return None if there are none."""
    repositories: Counter[str] = Counter()

    def counted() -> Iterator[Row]:
        for row in rows:
            repositories[row["repository_name"]] += 1
            yield row

    ids, content = archive_files.compress(counted())
    if not ids:
        return None
    manifest = {
        "name": name,
        "events": len(ids),
        "first_id": str(ids[0]),
        "last_id": str(ids[-1]),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    archive = Archive.objects.create(
        run=run,
        days={str(day): number for day, number in Counter(moment_of(id).date() for id in ids).items()},
        rules=rules,
        repositories=[name for name, _ in repositories.most_common(MAX_REPOSITORIES) if name],
        **manifest,
    )
    archive_files.save(manifest, content)
    return archive, ids


def _unused_name(stem: str) -> str:
    """Return a name for a new archive. It overwrites no file, whoever stored it."""
    taken = set(Archive.objects.filter(name__startswith=stem).values_list("name", flat=True))
    names = (f"{stem}-{number}{SUFFIX}" for number in count(1))
    return next(name for name in names if name not in taken and not archive_files.exists(name))


def _mark_incomplete(*unwanted: Archive) -> None:
    """Mark archives as incomplete, so that the next run discards them if this process dies."""
    Archive.objects.filter(pk__in=[archive.pk for archive in unwanted]).update(written_at=None)
