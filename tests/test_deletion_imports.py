"""Imports of archives that can't be trusted: replaced, foreign, misnamed, malformed and huge archives."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.deletion import archive_files
from activity.models import Archive, Event, Import
from repositories.models import Repository
from tests import factories
from tests.deletion import (
    JANUARY,
    add_events,
    execute_run,
    manage,
    read_archive,
    remaining_events,
    turn_on,
    write_archive,
    write_manifest,
)
from tests.tally_checks import assert_tallies_match_events
from tests.worlds import rolled_back

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("archive_folder")]

NAME = "other/events.jsonl.gz"
MEMORY = 64 << 20


@pytest.fixture
def rows(archive_folder: Path) -> list[dict[str, Any]]:
    """The rows of four events that have been archived and deleted. Nothing else is left of them."""
    turn_on(age=1, archive=True)
    add_events(4, repository_name="acme/web", tag="v1", details={"size": "1"})
    (archive,) = execute_run().archives.all()
    rows = read_archive(archive_folder / archive.name)
    (archive_folder / archive.name).unlink()
    Archive.objects.all().delete()
    return rows


def import_foreign(name: str = NAME) -> str:
    return manage("import_events", "--foreign", name)


# --- Transactions -------------------------------------------------------------------------------


@pytest.fixture
def archive(archive_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive of this installation with seven events, which are imported two at a time."""
    turn_on(age=1, archive=True)
    add_events(7)
    monkeypatch.setattr(archive_files, "MAX_BATCH_EVENTS", 2)
    return execute_run().archives.get()


@pytest.mark.django_db(transaction=True)
def test_others_can_record_between_the_batches_of_an_import(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[int] = []

    def between_batches(seconds: float) -> None:
        assert not connection.in_atomic_block
        imported.append(len(remaining_events()))

    monkeypatch.setattr("activity.deletion.imports.time.sleep", between_batches)
    manage("import_events", archive.name)

    assert imported == [2, 4, 6, 7]


@pytest.mark.audited
def test_import_that_was_killed_is_named_and_held_and_can_be_completed(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(seconds: float) -> None:
        raise KeyboardInterrupt

    imported = Event.objects.filter(imported__isnull=False)
    with monkeypatch.context() as patch:
        patch.setattr("activity.deletion.imports.time.sleep", kill)
        with pytest.raises(KeyboardInterrupt):
            manage("import_events", archive.name)
    assert Event.objects.get(kind="import_events").details["events"] == 7
    execute_run()
    assert imported.count() == 2

    manage("import_events", archive.name)

    assert imported.count() == 7
    assert (Import.objects.get().events, Import.objects.get().released_at) == (7, None)
    assert_tallies_match_events(JANUARY, JANUARY + timedelta(days=1))


# --- Whose archive it is ------------------------------------------------------------------------


def test_foreign_archive_is_imported_only_with_a_flag(
    archive_folder: Path, rows: list[dict[str, Any]], web: Repository, admin: Client
) -> None:
    write_archive(archive_folder / NAME, rows)

    with pytest.raises(CommandError, match=r"This installation did not write it.*--foreign"):
        manage("import_events", NAME)
    assert not remaining_events()
    import_foreign()

    sha256 = Import.objects.get(archive_name=NAME, foreign=True).sha256
    assert [event.details for event in remaining_events()] == [
        {"size": "1", "foreign_archive": {"archive": NAME, "sha256": sha256}}
    ] * 4
    assert {event.repository for event in remaining_events()} == {web}
    for page in (
        "/repositories/acme/web/activity/?range=all",
        "/repositories/acme/web/activity/atom/?range=all",
        "/admin/registry_activity/event/",
    ):
        assert admin.get(page).text.count("from a foreign archive") == 4
    event = next(iter(remaining_events()))
    assert sha256 in admin.get(f"/admin/registry_activity/event/{event.pk}/change/").text
    assert admin.get(f"/api/v0/events/{event.pk}/").json()["details"]["foreign_archive"]["archive"] == NAME


@pytest.mark.audited
def test_import_is_recorded_with_the_origin_of_the_archive(
    archive_folder: Path, rows: list[dict[str, Any]]
) -> None:
    write_archive(archive_folder / NAME, rows)

    import_foreign(f"./{NAME}")

    details = Event.objects.get(kind="import_events").details
    assert (details["subject"], details["foreign"], details["events"]) == (NAME, True, 4)
    assert details["sha256"] == Import.objects.get().sha256


def test_events_of_a_foreign_archive_stay_marked_when_they_are_archived_again(
    archive_folder: Path, rows: list[dict[str, Any]]
) -> None:
    write_archive(archive_folder / NAME, rows)
    import_foreign()
    Import.objects.all().delete()
    (archive,) = execute_run().archives.all()
    assert not remaining_events()

    manage("import_events", archive.name)

    assert {event.foreign_archive for event in remaining_events()} == {NAME}


def test_foreign_archive_cannot_claim_the_objects_of_this_installation(
    archive_folder: Path, rows: list[dict[str, Any]], web: Repository
) -> None:
    secret = factories.repository("globex/secret")
    jane = factories.UserFactory(username="jane")
    policy = factories.PolicyFactory(repository=web)
    ids = {"repository_id": web.pk, "actor_user_id": jane.pk, "policy_id": policy.pk}
    names = ["globex/secret", "unknown/repository", "", "acme/web"]
    write_archive(
        archive_folder / NAME,
        [{**row, **ids, "repository_name": name} for row, name in zip(rows, names, strict=True)],
    )

    import_foreign()

    events = Event.objects.filter(actor_name="jane").order_by("pk")
    assert [event.repository for event in events] == [secret, None, None, web]
    assert {(event.actor_user_id, event.policy_id) for event in events} == {(None, None)}


def test_archive_of_this_installation_needs_no_flag_and_no_manifest(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    (archive,) = execute_run().archives.all()
    (archive_folder / f"{archive.name}.manifest.json").write_text("{}")

    import_foreign(archive.name)

    assert len(remaining_events()) == 4
    assert not any(event.foreign_archive for event in remaining_events())
    assert not Import.objects.get().foreign


def test_copy_under_another_name_is_foreign(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    (archive,) = execute_run().archives.all()
    (archive_folder / NAME).parent.mkdir()
    os.link(archive_folder / archive.name, archive_folder / NAME)

    with pytest.raises(CommandError, match="did not write it"):
        manage("import_events", NAME)


def test_replaced_archive_is_rejected_even_as_foreign(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    (archive,) = execute_run().archives.all()
    path = archive_folder / archive.name
    write_archive(path, [{**row, "tag": "forged"} for row in read_archive(path)])

    for options in [], ["--foreign"]:
        with pytest.raises(CommandError, match="damaged or was replaced"):
            manage("import_events", archive.name, *options)

    assert not remaining_events()


def test_two_foreign_archives_of_one_name_are_two_imports(
    archive_folder: Path, rows: list[dict[str, Any]]
) -> None:
    for part in rows[:2], rows[2:]:
        write_archive(archive_folder / NAME, part)
        import_foreign()

    assert [row.events for row in Import.objects.all()] == [2, 2]
    assert len({event.imported_id for event in remaining_events()}) == 2


# --- Names --------------------------------------------------------------------------------------


def test_spellings_of_a_name_are_one_archive(archive_folder: Path) -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    (archive,) = execute_run().archives.all()

    for name in f"./{archive.name}", archive.name.replace("/", "//"), archive.name.replace("/", "/./"):
        assert f"from {archive.name}" in manage("import_events", name)

    assert Import.objects.get().archive_name == archive.name


def test_name_of_an_archive_that_is_being_deleted_is_recognized_in_any_spelling() -> None:
    turn_on(age=1, archive=True)
    add_events(4)
    (archive,) = execute_run().archives.all()
    Archive.objects.update(deleted_at=None)

    with pytest.raises(CommandError, match="not been deleted yet"):
        import_foreign(f".//{archive.name}")


@pytest.mark.parametrize(
    "spelling", ["../archives/{}", "x/../{}", "{folder}/{}", "", ".", "/", "..", "x\\{}"]
)
def test_name_outside_the_storage_is_an_error(
    archive_folder: Path, rows: list[dict[str, Any]], spelling: str
) -> None:
    write_archive(archive_folder / NAME, rows)

    with pytest.raises(CommandError, match="path within the archive storage"):
        import_foreign(spelling.format(NAME, folder=archive_folder))


@pytest.mark.parametrize(
    "name", ["x" * 5000, "x\0y", "\ud800", "other", f"{NAME}/x", f"{NAME}.manifest.json"]
)
def test_name_without_an_archive_is_an_error(
    archive_folder: Path, rows: list[dict[str, Any]], name: str
) -> None:
    write_archive(archive_folder / NAME, rows)

    with pytest.raises(CommandError, match="can't be imported"):
        import_foreign(name)


# --- Contents -----------------------------------------------------------------------------------

DEEP = 100_000
INVALID_VALUES = {
    "id of another time": {"id": "017704f2-ba00-7000-8000-000000000001"},
    "id of a pull": {"is_pull": True, "category": "pull", "kind": "get_tag"},
    "id that is no UUID": {"id": "1"},
    "id that is a number": {"id": 1},
    "id that is missing": {"id": None},
    "wrong time": {"occurred_at": "2021-01-16T12:00:00+00:00"},
    "no time zone": {"occurred_at": "2021-01-15T12:00:00"},
    "time before 1970": {"received_at": "1969-01-15T12:00:00+00:00"},
    "time after 9000": {"received_at": "9999-12-31T23:59:59-14:00"},
    "time that is none": {"received_at": "yesterday"},
    "time that is a list": {"received_at": []},
    "text that is a number": {"tag": 1},
    "text that is an object": {"actor_name": {}},
    "text that is too long": {"tag": "x" * 10_000},
    "NUL in a name": {"repository_name": "acme/\0"},
    "half a character in a name": {"repository_name": "acme/\ud800"},
    "NUL in a text": {"actor_name": "\0"},
    "NUL in the details": {"details": {"": [{"": "\0"}]}},
    "NUL in a key": {"details": {"": [{"\0": ""}]}},
    "half a character in the details": {"details": {"": ["\ud800"]}},
    "unknown kind": {"kind": "unknown"},
    "kind of a newer version": {"kind": "unknown_300", "category": "unknown"},
    "number of a known kind": {"kind": "unknown_2"},
    "category of another kind": {"category": "push", "kind": "get_tag"},
    "category that contradicts is_pull": {"category": "pull", "kind": "get_tag"},
    "unknown type of actor": {"actor_type": "nobody"},
    "flag that is a number": {"is_pull": 0},
    "repository that is a text": {"repository_id": "1"},
    "repository that is a flag": {"repository_id": True},
    "details that are a list": {"details": []},
    "details that are null": {"details": None},
    "deep details": {"details": json.loads('{"": ' * 300 + "1" + "}" * 300)},
    "unknown field": {"password": "x"},
}
INVALID_LINES = {
    "not JSON": b"not JSON\n",
    "cut": b'{"id": "017704f2',
    "blank": b"\n",
    "list": b"[]\n",
    "null": b"null\n",
    "empty object": b"{}\n",
    "binary": bytes(range(256)),
    "deep list": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"details": ' + b'{"":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "not a number": b'{"details": {"": NaN}}',
    "infinity": b'{"details": {"": 1e999}}',
    "long integer": b'{"details": {"": ' + b"9" * 10_000 + b"}}",
}


@contextmanager
def rejected() -> Iterator[None]:
    """Expect an error with a reason, and no events."""
    with pytest.raises(CommandError, match=r"can't be imported: \S+"):
        yield
    assert not remaining_events()
    assert not Import.objects.exists()


@pytest.mark.parametrize("values", INVALID_VALUES.values(), ids=INVALID_VALUES.keys())
def test_archive_with_an_invalid_value_is_rejected(
    archive_folder: Path, rows: list[dict[str, Any]], values: dict[str, Any]
) -> None:
    write_archive(archive_folder / NAME, [*rows[:2], {**rows[2], **values}, rows[3]])

    with rejected():
        import_foreign()


@pytest.mark.parametrize("line", INVALID_LINES.values(), ids=INVALID_LINES.keys())
def test_archive_with_an_invalid_line_is_rejected(
    archive_folder: Path, rows: list[dict[str, Any]], line: bytes
) -> None:
    write_archive(archive_folder / NAME, rows, ending=line)

    with rejected():
        import_foreign()


@pytest.mark.parametrize("order", [[1, 0], [0, 0], [0, 1, 1]])
def test_archive_with_unordered_or_repeated_ids_is_rejected(
    archive_folder: Path, rows: list[dict[str, Any]], order: list[int]
) -> None:
    write_archive(archive_folder / NAME, [rows[number] for number in order])

    with rejected():
        import_foreign()


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"text\n", gzip.compress(b"{}\n" * 100, mtime=0)[:-9]])
def test_file_that_is_no_gzip_file_is_rejected(archive_folder: Path, content: bytes) -> None:
    write_manifest(archive_folder / NAME, content)

    with rejected():
        import_foreign()


@pytest.mark.parametrize(
    "manifest",
    [
        *("", "[]", "{}", "[" * 10**6, "1" * 10**6),
        *('{"sha256": 1}', '{"sha256": "\\u0000"}'),
        *(f'{{"sha256": "{"0" * length}"}}' for length in (64, 1000)),
    ],
    ids=lambda text: text[:20],
)
def test_foreign_archive_with_an_invalid_manifest_is_rejected(
    archive_folder: Path, rows: list[dict[str, Any]], manifest: str
) -> None:
    write_archive(archive_folder / NAME, rows)
    (archive_folder / f"{NAME}.manifest.json").write_text(manifest)

    with rejected():
        import_foreign()


def test_pipe_is_rejected_without_waiting_for_its_content(archive_folder: Path) -> None:
    write_manifest(archive_folder / NAME, b"")
    (archive_folder / NAME).unlink()
    os.mkfifo(archive_folder / NAME)

    with rejected():
        import_foreign()


def random_bytes(size: int) -> bytes:
    return random.Random(1).randbytes(size)


def long_line(rows: list[dict[str, Any]]) -> bytes:
    """Return 300 MB of text in one line, compressed to 300 kB."""
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as lines:
        lines.write(b'{"id": "')
        for _ in range(300):
            lines.write(b"x" * 1_000_000)
    return file.getvalue()


HOSTILE = {
    "one line of 300 MB": long_line,
    "zip bomb": lambda rows: gzip.compress(b"\0" * 50_000_000) * 200,  # 10 GB
    "long header": lambda rows: b"\x1f\x8b\x08\x08\0\0\0\0\0\0" + b"x" * 60_000_000,
    "many files": lambda rows: gzip.compress(b"") * 3_000_000,
    "blank lines": lambda rows: gzip.compress(b"\n" * 50_000_000),
    "too many events": lambda rows: gzip.compress(b'{"id": "1"}\n' * 20_001),
    "incompressible": lambda rows: random_bytes(65 << 20),
    "wide objects": lambda rows: gzip.compress(
        b"".join(b'{"details": [%s0]}\n' % (b"{}," * 340_000) for _ in range(50))
    ),
    "long values": lambda rows: gzip.compress(
        b"".join(json.dumps({**row, "details": {"": "x" * 1_000_000}}).encode() + b"\n" for row in rows * 30)
    ),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archive_is_rejected_in_flat_memory(
    archive_folder: Path, rows: list[dict[str, Any]], content: Callable[[list[dict[str, Any]]], bytes]
) -> None:
    write_manifest(archive_folder / NAME, content(rows))
    tracemalloc.start()
    try:
        with rejected():
            import_foreign()
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def test_archive_with_too_many_valid_events_is_rejected(
    archive_folder: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(archive_folder / NAME, rows)
    monkeypatch.setattr(archive_files, "MAX_EVENTS", 3)

    with rejected():
        import_foreign()


@pytest.mark.long
def test_full_archive_is_imported_in_flat_memory(archive_folder: Path, rows: list[dict[str, Any]]) -> None:
    turn_on(age=1, archive=True)
    for batch in range(8):
        add_events(500, JANUARY + timedelta(hours=batch), details={"size": "x" * 20_000})
    run = execute_run()
    assert run.archives.count() > 1  # the first one was full
    tracemalloc.start()
    try:
        for archive in run.archives.all():
            manage("import_events", archive.name)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()

    assert len(remaining_events()) == 4000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.long
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_change_of_a_row_is_an_error_or_imported_and_shown(
    archive_folder: Path, rows: list[dict[str, Any]], data: st.DataObject, admin: Client
) -> None:
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(rows[0])), JSON, min_size=1, max_size=2))
    with rolled_back():
        write_archive(archive_folder / NAME, [{**rows[0], **changes}])
        try:
            import_foreign()
        except CommandError as error:
            assert "can't be imported" in str(error)  # noqa: PT017
            return
        assert_tallies_match_events(JANUARY, JANUARY + timedelta(days=1))
        assert admin.get("/admin/registry_activity/event/").status_code == 200
        assert admin.get("/api/v0/events/").status_code == 200
