"""Archives of deleted events: their contents, their import, and the protection against damaged archives."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from activity.deletion import archive_files, archives, imports
from activity.models import Archive, Event, Import, Run
from activity.storage.events import insert
from repositories.models import Repository
from tests import factories
from tests.deletion import (
    JANUARY,
    add_events,
    after_batches,
    count_archived,
    each_once,
    execute_run,
    manage,
    read_archive,
    remaining_events,
    turn_on,
    use_storage,
    write_manifest,
)

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_batches", "archive_folder")]


class RenamingStorage(FileSystemStorage):
    """A storage that stores each file under a name that differs from the requested name."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return f"{name}.1"


class TruncatingStorage(FileSystemStorage):
    """A storage that loses the last byte of each file."""

    def _save(self, name: str, content: Any) -> str:
        return super()._save(name, ContentFile(content.read()[:-1]))  # type: ignore[misc]


def all_rows() -> list[dict[str, Any]]:
    """Return all events except the events that record runs, with all fields that archives contain."""
    events = Event.objects.exclude(kind="delete_events").order_by("pk")
    return [{name: getattr(event, name) for name in archives.FIELDS} for event in events]


def test_archive_contains_the_exact_rows_before_they_are_deleted(
    archive_folder: Path, web: Repository
) -> None:
    turn_on(age=1, archive=True)
    events = add_events(
        6, repository=web, repository_name="acme/web", tag="v1", details={"size": [1.5, None, "ü"]}
    )
    counts = []

    def count(run: Run) -> None:
        counts.append((count_archived(archive_folder).total(), len(remaining_events())))

    run = execute_run(count)

    assert all(archived + remaining >= 6 for archived, remaining in counts)
    first, second = run.archives.order_by("pk")
    assert [first.events, second.events] == [4, 2]
    path = archive_folder / first.name
    assert first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads((archive_folder / f"{first.name}.manifest.json").read_text()) == {
        "name": first.name,
        "events": 4,
        "first_id": str(events[0].pk),
        "last_id": str(events[3].pk),
        "sha256": first.sha256,
    }
    rows = read_archive(path)
    assert [row["id"] for row in rows] == [str(event.pk) for event in events[:4]]
    assert (rows[0]["occurred_at"], rows[0]["tag"]) == ("2021-01-15T12:00:00+00:00", "v1")
    assert count_archived(archive_folder) == each_once(events)


def test_archive_contains_all_that_is_known_about_an_event(archive_folder: Path, web: Repository) -> None:
    turn_on(age=1, archive=True)
    details = {
        "client_address": "2001:db8::1",
        "client_port": 40_000,
        "user_agent": "containerd/2.0",
        "media_type": "application/vnd.oci.image.index.v1+json",
        "size": 2**40,
        "request_id": "5e1d9f0c-2c7e-4f5f-9d3f-0a6a0c1c5b11",
        "node": "registry-1:5000",
        "notification_id": "not a UUID",
        "further": {"ü": [1.5, None]},
        "message": {"events": [{"ü": "\n"}]},
    }
    (event,) = add_events(
        1,
        JANUARY + timedelta(microseconds=123_400),
        received_at=JANUARY + timedelta(seconds=1),
        repository=web,
        repository_name="acme/wéb",
        tag="v1",
        digest=factories.DIGEST,
        actor_name="mara",
        details=details,
    )

    (archive,) = execute_run().archives.all()

    (row,) = read_archive(archive_folder / archive.name)
    assert row == {
        "id": str(event.pk),
        "occurred_at": "2021-01-15T12:00:00.123400+00:00",
        "received_at": "2021-01-15T12:00:01+00:00",
        "kind": event.kind,
        "category": "push",
        "is_pull": False,
        "repository_id": web.pk,
        "repository_name": "acme/wéb",
        "tag": "v1",
        "digest": factories.DIGEST,
        "pull": None,
        "actor_type": event.actor_type,
        "actor_name": "mara",
        "actor_user_id": None,
        "subject_user_id": None,
        "delivered_by_id": None,
        "delivered_with": "",
        "policy_id": None,
        "details": details,
    }


def test_run_does_not_read_its_own_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    turn_on(age=1, archive=True)
    add_events(6)
    monkeypatch.delattr(archive_files, "read")

    assert (execute_run().state, len(remaining_events())) == ("finished", 0)


def test_import_restores_identical_rows(web: Repository) -> None:
    turn_on(age=1, archive=True)
    user = factories.UserFactory()
    policy = factories.PolicyFactory(repository=web)
    unusual = {
        "half a character": "\ud83d",
        "": [1.5, 2**70, True, None, {"ü": "\u2028\n"}],
        "message": {"ü": [1.5, 2**70, None]},
    }
    if connection.vendor == "postgresql":
        del unusual["half a character"]
    add_events(
        4,
        JANUARY + timedelta(microseconds=123_457),
        repository=web,
        repository_name="acme/wéb\u2028",
        tag="v1\n",
        digest=factories.DIGEST,
        actor_user_id=user.pk,
        policy_id=policy.pk,
        details=unusual,
    )
    add_events(1, received_at=JANUARY + timedelta(days=40, microseconds=1))
    before = all_rows()

    run = execute_run()
    assert not remaining_events()
    for archive in run.archives.all():
        manage("import_events", archive.name)

    assert all_rows() == before
    assert {event.imported.archive_name for event in remaining_events() if event.imported} == {
        archive.name for archive in run.archives.all()
    }


def test_importing_an_archive_twice_changes_nothing() -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    (archive,) = execute_run().archives.all()

    for _ in range(2):
        assert imports.import_archive(archive.name).events == 4

    assert len(remaining_events()) == 4
    assert Import.objects.count() == 1


def test_importing_a_released_archive_again_holds_its_events() -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    (archive,) = execute_run().archives.all()
    imports.import_archive(archive.name)
    Import.objects.update(released_at=timezone.now())
    assert execute_run().deleted == 4

    imports.import_archive(archive.name)

    assert execute_run().deleted == 0
    assert len(remaining_events()) == 4


def test_import_leaves_existing_events_unchanged() -> None:
    turn_on(age=1, archive=True)
    events = add_events(4)
    (archive,) = execute_run().archives.all()
    insert(events[:1])

    imports.import_archive(archive.name)

    by_id = sorted(remaining_events(), key=lambda event: event.pk)
    assert [event.imported_id is None for event in by_id] == [True, False, False, False]


@pytest.mark.parametrize(
    "damage", ["bit flipped", "truncated", "no file", "replaced", "replaced consistently"]
)
def test_import_of_a_damaged_archive_is_rejected(archive_folder: Path, damage: str) -> None:
    turn_on(age=1, archive=True)
    add_events(8)
    second, first = execute_run().archives.all()
    path = archive_folder / first.name
    if damage == "bit flipped":
        content = path.read_bytes()
        path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "no file":
        path.unlink()
    else:
        shutil.copy(archive_folder / second.name, path)
    if damage == "replaced consistently":
        write_manifest(path)

    with pytest.raises(CommandError, match="can't be imported"):
        manage("import_events", first.name)

    assert not remaining_events()
    assert not Import.objects.exists()


def test_import_is_rejected_before_all_events_of_the_archive_are_deleted() -> None:
    turn_on(age=1, archive=True)
    add_events(4)

    def import_now() -> None:
        (archive,) = Archive.objects.all()
        with pytest.raises(CommandError, match="not been deleted yet"):
            manage("import_events", archive.name)

    execute_run(after_batches(1, import_now))

    assert not remaining_events()


@pytest.mark.parametrize("storage", [RenamingStorage, TruncatingStorage])
def test_run_deletes_nothing_if_the_storage_changes_the_archive(
    archive_folder: Path, settings: Any, storage: type[FileSystemStorage]
) -> None:
    turn_on(age=1, archive=True)
    events = add_events(1)
    use_storage(settings, archive_folder, storage)

    assert execute_run().state == "failed"
    assert remaining_events() == set(events)
