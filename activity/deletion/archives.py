"""Writes events to archives before they are deleted, and imports events from archives.

An archive is a gzipped JSON Lines file in the `archives` storage, with one line per event. A manifest next
to it, `<name>.manifest.json`, contains the number of events, the first and last event ids, and the
SHA-256 hash of the file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from activity.config import archive_storage
from activity.models import Archive, Event, Import, Run
from activity.storage.events import insert

MAX_EVENTS = 20_000
"""The maximum number of events in an archive. At a few hundred bytes each, they use several MB of memory."""
COMPRESSION_LEVEL = 2
"""Level 6 would take twice as long, and the files would be only an eighth smaller."""
FIELDS = [field.attname for field in Event._meta.concrete_fields if field.name != "imported"]


class DamagedArchive(Exception):
    """The archive does not match its manifest."""


class DeletionPending(Exception):
    """The events of the archive are still being deleted, so events imported now would be deleted as well."""


def write(run: Run, events: QuerySet[Event]) -> tuple[Archive, list[UUID]] | None:
    """Write the events with the lowest ids, up to `MAX_EVENTS` of them, to a new archive.

    Returns the archive and the ids of its events, in order, or None if there are no events. When this
    function returns, the files are safely stored, but the archive counts as incomplete until the caller sets
    `written_at`.
    """
    rows = events.order_by("id").values(*FIELDS)[:MAX_EVENTS].iterator(chunk_size=2000)
    ids, content = _compress(rows)
    if not ids:
        return None
    names = (f"{run.started_at:%Y/%m/%d}/run-{run.pk}-{number}.jsonl.gz" for number in count(1))
    taken = set(run.archives.values_list("name", flat=True))
    return _create(run, next(name for name in names if name not in taken), ids, content), ids


def rewrite_without(archive: Archive, kept: set[UUID]) -> None:
    """Replace an archive with a new archive that lacks the kept events.

    Call this after all other events in the archive have been deleted from the database. If all events were
    kept, the archive is discarded without a replacement.
    """
    ids, content = _compress(row for row in read(archive.name) if UUID(row["id"]) not in kept)
    replacement = None
    if ids:
        replacement = _create(archive.run, archive.name.replace(".jsonl", "-rest.jsonl"), ids, content)
    with transaction.atomic():
        if replacement:
            replacement.written_at = replacement.deleted_at = timezone.now()
            replacement.save(update_fields=["written_at", "deleted_at"])
        _mark_incomplete(archive)
    discard(archive)


def _create(run: Run | None, name: str, ids: list[UUID], content: bytes) -> Archive:
    manifest = {
        "name": name,
        "events": len(ids),
        "first_id": str(ids[0]),
        "last_id": str(ids[-1]),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    archive = Archive.objects.create(run=run, **manifest)
    _save_file(name, content)
    _save_file(manifest_name(name), json.dumps(manifest, indent=1).encode())
    return archive


def read(name: str) -> Iterator[dict[str, Any]]:
    """Yield the events of an archive one by one. Raises DamagedArchive if it does not match its manifest."""
    with archive_storage().open(name) as file:
        content = file.read()
    with archive_storage().open(manifest_name(name)) as file:
        manifest = json.load(file)
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise DamagedArchive(f"{name} is damaged: its checksum does not match its manifest.")
    with gzip.open(io.BytesIO(content)) as lines:
        for line in lines:
            yield json.loads(line)


def event_ids(archive: Archive) -> list[UUID]:
    """Return the ids of the events in an archive. There are at most `MAX_EVENTS`."""
    return [UUID(row["id"]) for row in read(archive.name)]


def discard(*unwanted: Archive) -> None:
    """Delete archives and their files."""
    _mark_incomplete(*unwanted)
    for archive in unwanted:
        for name in (archive.name, manifest_name(archive.name)):
            archive_storage().delete(name)
        archive.delete()


def _mark_incomplete(*unwanted: Archive) -> None:
    """Mark archives as incomplete, so that the next run discards them if this process dies."""
    Archive.objects.filter(pk__in=[archive.pk for archive in unwanted]).update(written_at=None)


@transaction.atomic
def import_archive(name: str) -> Import:
    """Insert the events of an archive into the database, and hold them until the import is released.

    Events that still exist are left unchanged, so an archive can be imported repeatedly. Raises
    DamagedArchive if the archive does not match its manifest, DeletionPending if its events are still being
    deleted, and OSError if a file can't be read.
    """
    if Archive.objects.filter(name=name, deleted_at=None).exists():
        raise DeletionPending(
            f"The events of {name} have not been deleted yet. Try again after the current or next run."
        )
    imported, _ = Import.objects.get_or_create(archive_name=name)
    events = [_event_from_row(row, imported) for row in read(name)]
    if insert(events):
        imported.released_at = None  # an earlier import of this archive may have been released
    imported.events = len(events)
    imported.save(update_fields=["events", "released_at"])
    return imported


def manifest_name(name: str) -> str:
    return f"{name}.manifest.json"


def _compress(rows: Iterable[dict[str, Any]]) -> tuple[list[UUID], bytes]:
    """Return the ids of the given events, and the content of an archive file that contains them."""
    ids = []
    buffer = io.BytesIO()
    # ASCII, because the JSON can contain lone surrogates, which UTF-8 can't encode.
    encode = MicrosecondEncoder().encode
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as file:
        for row in rows:
            ids.append(UUID(str(row["id"])))
            file.write(encode(row).encode("ascii") + b"\n")
    return ids, buffer.getvalue()


class MicrosecondEncoder(DjangoJSONEncoder):
    """Encodes times to the microsecond. Django's encoder truncates them to milliseconds."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, datetime) else super().default(o)


def _event_from_row(row: dict[str, Any], imported: Import) -> Event:
    times = {name: datetime.fromisoformat(row[name]) for name in ("occurred_at", "received_at")}
    return Event(**{**row, **times, "id": UUID(row["id"]), "imported": imported})


def _save_file(name: str, content: bytes) -> None:
    """Save a file durably and verify its content. Raises OSError if either step fails."""
    archive_storage().delete(name)  # an interrupted run may have left a file with this name
    if archive_storage().save(name, ContentFile(content)) != name:
        raise OSError(f"{name} already exists in the archive storage.")
    if isinstance(archive_storage(), FileSystemStorage):
        _fsync(archive_storage().path(name))
    with archive_storage().open(name) as file:
        if file.read() != content:
            raise OSError(f"{name} was not stored correctly: reading it back returned different content.")


def _fsync(path: str) -> None:
    """Make sure that a file and its directory entry survive a power failure."""
    for synced in (path, os.path.dirname(path)):
        descriptor = os.open(synced, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
