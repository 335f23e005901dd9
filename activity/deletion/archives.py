"""Writes events to files before they are deleted, and brings them back.

An archive is a file of gzipped JSON, a line an event, in the storage `archives`, with a manifest beside
it: `<name>.manifest.json`, with the number of events, their first and last id, and the file's SHA-256.
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
"""Events in one archive: at a few hundred bytes each, some MB in memory while it is written."""
LEVEL = 2
"""Of the compression: 6 takes twice as long, and makes an eighth less."""
FIELDS = [field.attname for field in Event._meta.concrete_fields if field.name != "imported"]


class Damaged(Exception):
    """An archive that isn't what its manifest says."""


class NotDeleted(Exception):
    """An archive whose events are still being deleted, and what is brought back would be, too."""


def write(run: Run, events: QuerySet[Event]) -> Archive | None:
    """Write the first events by their ids to a new archive; return nothing if there are none.

    It is safely stored then, but counts as broken off until its `written_at` is saved.
    """
    rows = events.order_by("id").values(*FIELDS)[:MAX_EVENTS].iterator(chunk_size=2000)
    ids, content = _compress(rows)
    if not ids:
        return None
    names = (f"{run.started_at:%Y/%m/%d}/run-{run.pk}-{number}.jsonl.gz" for number in count(1))
    taken = set(run.archives.values_list("name", flat=True))
    return _add(run, next(name for name in names if name not in taken), ids, content)


def leave_out(archive: Archive, kept: set[UUID]) -> None:
    """Replace an archive, the rest of whose events are deleted, by one without those that are kept."""
    ids, content = _compress(row for row in read(archive.name) if UUID(row["id"]) not in kept)
    with_rest = None
    if ids:
        with_rest = _add(archive.run, archive.name.replace(".jsonl", "-rest.jsonl"), ids, content)
    with transaction.atomic():
        if with_rest:
            with_rest.written_at = with_rest.deleted_at = timezone.now()
            with_rest.save(update_fields=["written_at", "deleted_at"])
        _break_off(archive)
    discard(archive)


def _add(run: Run | None, name: str, ids: list[UUID], content: bytes) -> Archive:
    archive = Archive.objects.create(
        run=run,
        name=name,
        events=len(ids),
        first_id=ids[0],
        last_id=ids[-1],
        sha256=hashlib.sha256(content).hexdigest(),
    )
    _store(archive.name, content)
    _store(manifest_name(archive.name), json.dumps(_manifest(archive), indent=1).encode())
    return archive


def read(name: str) -> Iterator[dict[str, Any]]:
    """Yield the events of an archive, one by one. Raises Damaged where file and manifest differ."""
    with archive_storage().open(name) as file:
        content = file.read()
    with archive_storage().open(manifest_name(name)) as file:
        manifest = json.load(file)
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise Damaged(f"{name} is damaged: its checksum is not that of its manifest.")
    with gzip.open(io.BytesIO(content)) as lines:
        for line in lines:
            yield json.loads(line)


def ids_of(archive: Archive) -> list[UUID]:
    """Return the ids of the events in an archive, at most `MAX_EVENTS`."""
    return [UUID(row["id"]) for row in read(archive.name)]


def discard(*unwanted: Archive) -> None:
    """Remove archives."""
    _break_off(*unwanted)
    for archive in unwanted:
        for name in (archive.name, manifest_name(archive.name)):
            archive_storage().delete(name)
        archive.delete()


def _break_off(*unwanted: Archive) -> None:
    """Have the next run remove archives if this process dies before it has."""
    Archive.objects.filter(pk__in=[archive.pk for archive in unwanted]).update(written_at=None)


@transaction.atomic
def bring_back(name: str) -> Import:
    """Store an archive's events again, and hold them until they are released. Idempotent.

    Events that are there already are left as they are. Raises Damaged, OSError without the file, or
    NotDeleted.
    """
    if Archive.objects.filter(name=name, deleted_at=None).exists():
        raise NotDeleted(
            f"The events of {name} are not deleted yet: the run, or the next one, does that first."
        )
    imported, _ = Import.objects.get_or_create(archive_name=name)
    events = [_event(row, imported) for row in read(name)]
    insert(events)
    imported.events = len(events)
    imported.save(update_fields=["events"])
    return imported


def manifest_name(name: str) -> str:
    return f"{name}.manifest.json"


def _compress(rows: Iterable[dict[str, Any]]) -> tuple[list[UUID], bytes]:
    ids = []
    buffer = io.BytesIO()
    encode = ExactEncoder().encode  # to ASCII, since JSON may hold half a character, which UTF-8 can't
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=LEVEL, mtime=0) as file:
        for row in rows:
            ids.append(UUID(str(row["id"])))
            file.write(encode(row).encode("ascii") + b"\n")
    return ids, buffer.getvalue()


class ExactEncoder(DjangoJSONEncoder):
    """Keeps times to the microsecond, where Django's encoder keeps milliseconds."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, datetime) else super().default(o)


def _event(row: dict[str, Any], imported: Import) -> Event:
    times = {name: datetime.fromisoformat(row[name]) for name in ("occurred_at", "received_at")}
    return Event(**{**row, **times, "id": UUID(row["id"]), "imported": imported})


def _manifest(archive: Archive) -> dict[str, Any]:
    return {
        "name": archive.name,
        "events": archive.events,
        "first_id": str(archive.first_id),
        "last_id": str(archive.last_id),
        "sha256": archive.sha256,
    }


def _store(name: str, content: bytes) -> None:
    """Store a file so that it is safe there, or raise OSError."""
    archive_storage().delete(name)  # what a run that died left under this name
    if archive_storage().save(name, ContentFile(content)) != name:
        raise OSError(f"{name} is taken in the archive storage.")
    if isinstance(archive_storage(), FileSystemStorage):
        _flush(archive_storage().path(name))
    with archive_storage().open(name) as file:
        if file.read() != content:
            raise OSError(f"{name} was not stored as it is.")


def _flush(path: str) -> None:
    """Have a file, and its name, survive a power failure."""
    for place in (path, os.path.dirname(path)):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
