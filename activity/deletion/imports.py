"""Imports the events of archives, both archives of this installation and those of other installations.

An archive is of this installation if the database lists it. Its file must have the hash in the database. Any
other archive is *foreign*: nothing proves that its events happened. Therefore, its events say so in their
details, for good, and they refer only to objects that have the same names in this installation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, models, transaction

from activity.catalogue import KINDS
from activity.deletion import archive_files, execution
from activity.deletion.archive_files import ArchiveError, DamagedArchive, Row
from activity.deletion.archives import FIELDS
from activity.identity import END, EPOCH, is_id_of
from activity.models import FOREIGN_ARCHIVE, Archive, Event, Import
from activity.recording.repositories import RepositoryFinder
from activity.sources import auditing
from activity.storage.events import insert
from repositories.access.levels import Category
from repositories.utils.text import is_storable

MAX_DEPTH = 100
"""How deeply the details can be nested. Those of recorded events have half as many levels."""
FOREIGN_KEYS = [field for field in FIELDS.values() if field.is_relation]
TYPES: list[tuple[tuple[type[models.Field], ...], type]] = [
    ((models.BooleanField,), bool),
    ((models.IntegerField, models.ForeignKey), int),
    ((models.JSONField,), dict),
]
"""The types of values in an archive, by type of field. All other values are strings."""


class ForeignArchive(ArchiveError):
    """This installation did not write the archive."""


class DeletionPending(ArchiveError):
    """The events of the archive are still being deleted, so events imported now would be deleted as well."""


def import_archive(name: str, *, foreign: bool = False) -> Import:
    """Insert the events of an archive into the database, and hold them until the import is released.

    Events that still exist are left unchanged, so an archive can be imported repeatedly, also to complete an
    import that was interrupted. An archive that this installation did not write is imported only if `foreign`
    is true. Raises ArchiveError if the archive can't be imported, and OSError if a file can't be read.

    The whole archive is checked before the first event is inserted. Then, each batch is a transaction of its
    own, because nothing else can be recorded while one inserts events. The first transaction also records
    that the current user imports the archive.
    """
    origin = _origin(archive_files.canonical_name(name), foreign)
    number = sum(len(events) for events in _read(origin))
    imported, inserted = None, 0
    for events in _read(origin):
        inserted += len(events)
        with (
            _damage_reported(f"{origin.archive_name}, events before line {inserted + 1}"),
            transaction.atomic(),
        ):
            imported = imported or _begin(origin, number)
            _insert(events, imported)
        time.sleep(execution.PAUSE)  # lets others record, who would starve on SQLite
    if not imported:
        raise DamagedArchive(f"{origin.archive_name} has no events.")
    return imported


def _origin(name: str, foreign: bool) -> Import:
    """Return an unsaved import of an archive. Raises ArchiveError if the archive can't be imported."""
    archive = Archive.objects.filter(name=name).first()
    if archive and not archive.deleted_at:
        raise DeletionPending(
            "Its events have not been deleted yet. Try again after the current or next run."
        )
    if not archive and not foreign:
        raise ForeignArchive("This installation did not write it. To import it nevertheless, use --foreign.")
    sha256 = archive.sha256 if archive else archive_files.read_manifest(name)
    return Import(archive_name=name, sha256=sha256, foreign=not archive)


def _begin(origin: Import, events: int) -> Import:
    """Save the import of an archive with this number of events, and record it as an event."""
    imported, _ = Import.objects.update_or_create(
        archive_name=origin.archive_name,
        sha256=origin.sha256,
        defaults={"events": events},
        create_defaults={"events": events, "foreign": origin.foreign},
    )
    auditing.record(
        "import_events",
        subject=imported.archive_name,
        events=events,
        sha256=imported.sha256,
        foreign=imported.foreign,
    )
    return imported


def _insert(events: list[Event], imported: Import) -> None:
    for event in events:
        event.imported = imported
    if insert(events, f"import {imported.pk}"):
        # An earlier import of this archive may have been released.
        Import.objects.filter(pk=imported.pk).update(released_at=None)


def _read(origin: Import) -> Iterator[list[Event]]:
    """Yield the events of an archive in batches. Raises DamagedArchive if an event isn't valid."""
    last_id, line = UUID(int=0), 0
    for rows in archive_files.read(origin.archive_name, origin.sha256):
        events = []
        for row in rows:
            line += 1
            with _damage_reported(f"{origin.archive_name}, line {line}"):
                events.append(_event(row, last_id))
            last_id = events[-1].id
        if origin.foreign:
            with _damage_reported(f"{origin.archive_name}, events before line {line + 1}"):
                _detach(events, origin)
        yield events


def count_restored(imported: Import) -> int:
    """Return how many events exist because of an import. The others existed before it."""
    return Event.objects.filter(imported=imported).count()


@contextmanager
def _damage_reported(place: str) -> Iterator[None]:
    """Turn the errors about invalid values into DamagedArchive."""
    try:
        yield
    except (ValueError, OverflowError, ValidationError, DataError, IntegrityError) as error:
        reason = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise DamagedArchive(f"{place}: {reason}") from error


def _event(row: Row, last_id: UUID) -> Event:
    """Return the event in a row of an archive, whose id must be higher than `last_id`.

    Raises ValueError or ValidationError if no event has such values.
    """
    values = {name: _value(FIELDS[name], value) for name, value in row.items() if name in FIELDS}
    missing = [name for name, field in FIELDS.items() if name not in values and not field.has_default()]
    if missing or len(values) != len(row):
        raise ValueError("The row does not have the fields of an event.")
    category = values.pop("category")
    event = Event(**values)
    if not EPOCH <= event.occurred_at < END or not EPOCH <= event.received_at < END:
        raise ValueError("The time is not between 1970 and 8999.")
    if event.category != category or event.is_pull != (category == Category.PULL):
        raise ValueError("The category contradicts the kind or is_pull.")
    if event.id <= last_id or not is_id_of(event.id, event.occurred_at, is_pull=event.is_pull):
        raise ValueError("The id is not one of an event at this time, or is out of order.")
    return event


def _value(field: models.Field, value: Any) -> Any:
    """Return a value of a row in its Python type, or raise ValueError or ValidationError."""
    if value is None and field.null:
        return None
    expected: Any = next((type for fields, type in TYPES if isinstance(field, fields)), str)
    if type(value) is not expected:  # a bool is also an int
        raise ValueError(f"{field.attname} has the wrong type.")
    if isinstance(field, models.DateTimeField) and not (value := datetime.fromisoformat(value)).tzinfo:
        raise ValueError(f"{field.attname} has no time zone.")
    if isinstance(field, models.CharField):
        if field.max_length and len(value) > field.max_length:
            raise ValueError(f"{field.attname} is too long.")
        if not is_storable(value):
            raise ValueError(f"{field.attname} has characters that can't be stored.")
    if field.choices and value not in dict(field.flatchoices):
        raise ValueError(f"{field.attname} is unknown.")
    if isinstance(value, dict) and _is_deeper_than(MAX_DEPTH, value):
        raise ValueError(f"{field.attname} is nested too deeply.")
    return field.to_python(value)


def _is_deeper_than(levels: int, value: Any) -> bool:
    nested = [value]
    for _ in range(levels):
        nested = [
            child
            for parent in nested
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(nested)


def _texts(value: Any) -> Iterator[str]:
    """Yield all keys and texts in a JSON value."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            values += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            values += value


def _detach(events: list[Event], imported: Import) -> None:
    """Mark events as foreign, and let them refer to nothing but the repositories of the same names.

    The ids of other objects mean something else in this installation. They could show the events to people
    who must not see them, or attribute the events to people who have nothing to do with them. Raises
    ValueError if the application can't have recorded an event.
    """
    finder = RepositoryFinder(event.repository_name for event in events if event.repository_name)
    for event in events:
        if event.kind not in KINDS:
            raise ValueError("The kind of an event is not known.")
        if not all(map(is_storable, _texts(event.details))):
            raise ValueError("The details of an event have characters that can't be stored.")
        for field in FOREIGN_KEYS:
            setattr(event, field.attname, None)
        event.delivered_with = ""
        event.repository = finder.find(event.repository_name, event.occurred_at)
        origin = {"archive": imported.archive_name, "sha256": imported.sha256}
        event.details = {**event.details, FOREIGN_ARCHIVE: origin}
