"""Writes events to files before they are deleted, and brings them back.

An archive is a file of gzipped JSON, a line an event, in the storage `archives`, with a manifest beside
it: `<name>.manifest.json`, with the number of events, their first and last id, and the file's SHA-256.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils import timezone

from activity.deletion.models import Archive, Import, Run
from activity.models import Event

MAX_EVENTS = 20_000
"""Events in one archive: at a few hundred bytes each, some MB in memory while it is written."""
FIELDS = [field.attname for field in Event._meta.concrete_fields if field.name != "imported"]


class Damaged(Exception):
    """An archive that isn't what its manifest says."""


def storage() -> Storage:
    return storages["archives"]


def write(run: Run, events: Iterable[Event], partition: str = "") -> Archive:
    """Write events, in the order of their ids, to a new archive, and return it once it is safely stored."""
    number = run.archives.count() + 1
    name = f"{run.started_at:%Y/%m/%d}/run-{run.pk}-{number}.jsonl.gz"
    archive = Archive.objects.create(run=run, name=name, partition=partition)
    ids, content = _compress(events)
    archive.events, archive.first_id, archive.last_id = len(ids), ids[0], ids[-1]
    archive.sha256 = hashlib.sha256(content).hexdigest()
    _store(archive.name, content)
    _store(manifest_name(archive.name), json.dumps(_manifest(archive), indent=1).encode())
    archive.written_at = timezone.now()
    archive.save()
    return archive


def read(name: str) -> Iterator[dict[str, Any]]:
    """Yield the events of an archive, one by one. Raises Damaged where file and manifest differ."""
    with storage().open(name) as file:
        content = file.read()
    with storage().open(manifest_name(name)) as file:
        manifest = json.load(file)
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise Damaged(f"{name} is damaged: its checksum is not that of its manifest.")
    with gzip.open(io.BytesIO(content), "rt") as lines:
        for line in lines:
            yield json.loads(line)


def ids_of(archive: Archive) -> list[UUID]:
    """Return the ids of the events in an archive, at most `MAX_EVENTS`."""
    return [UUID(row["id"]) for row in read(archive.name)]


def discard(archive: Archive) -> None:
    """Remove an archive whose writing was broken off."""
    for name in (archive.name, manifest_name(archive.name)):
        storage().delete(name)
    archive.delete()


@transaction.atomic
def bring_back(name: str) -> Import:
    """Store an archive's events again, and hold them until they are released. Idempotent.

    Events that are there already are left as they are. Raises Damaged, or OSError without the file.
    """
    imported, _ = Import.objects.get_or_create(archive_name=name)
    events = [_event(row, imported) for row in read(name)]
    Event.objects.bulk_create(events, batch_size=1000, ignore_conflicts=True)
    imported.events = len(events)
    imported.save(update_fields=["events"])
    return imported


def manifest_name(name: str) -> str:
    return f"{name}.manifest.json"


def _compress(events: Iterable[Event]) -> tuple[list[UUID], bytes]:
    ids = []
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for event in events:
            ids.append(event.pk)
            row = {name: getattr(event, name) for name in FIELDS}
            file.write(json.dumps(row, cls=ExactEncoder, ensure_ascii=False).encode() + b"\n")
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
    storage().delete(name)  # what a run that died left under this name
    storage().save(name, ContentFile(content))
