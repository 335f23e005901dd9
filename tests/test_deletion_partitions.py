"""On PostgreSQL, runs delete events by dropping, recreating or emptying monthly partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client

from activity.deletion import execution, imports
from activity.models import Archive, DeletionRule, DroppedTallies, Event, Hold, Import, Run, Tally
from activity.storage import partitions, tallies
from activity.storage.partitions import Partition
from repositories.models import Repository
from tests import factories, tally_checks
from tests.deletion import (
    DECEMBER,
    FEBRUARY,
    JANUARY,
    MARCH,
    NOW,
    HookedStorage,
    add_events,
    after_first_archive,
    count_archived,
    each_once,
    execute_run,
    list_tables,
    on_postgresql,
    remaining_events,
    turn_on,
    use_storage,
)

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [
    on_postgresql,
    pytest.mark.django_db,
    pytest.mark.usefixtures("small_batches", "archive_folder"),
]

MONTHS = ["2020_12", "2021_01", "2021_02", "2021_03"]


def table_of(event: Event) -> str:
    """Return the name of the table in which an event is stored, without the common prefix."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM registry_activity_event WHERE id = %s", [event.pk]
        )
        (name,) = cursor.fetchone()
        return name.removeprefix("registry_activity_event_")


def oid_of(table: str) -> int:
    """Return a table's OID, which changes when the table is recreated."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::regclass::oid", [f"registry_activity_event_{table}"])
        return cursor.fetchone()[0]


def call_before_freezing(table: str, action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call `action` just before a partition is frozen. A frozen partition no longer accepts events."""
    freeze = partitions.freeze

    def act_and_freeze(partition: Partition) -> None:
        if partition.name == f"registry_activity_event_{table}":
            action()
        freeze(partition)

    monkeypatch.setattr(partitions, "freeze", act_and_freeze)


def assert_tallies_match() -> None:
    tally_checks.assert_tallies_match_events(DECEMBER - timedelta(days=60), NOW + timedelta(days=60))


# --- Creating partitions ------------------------------------------------------------------------


def test_partitions_are_created_three_months_ahead() -> None:
    created = partitions.create_ahead(DECEMBER)

    assert {p.name.removeprefix("registry_activity_event_") for p in created} == list_tables()
    assert list_tables() == {f"{group}_{month}" for group in ("pull", "other") for month in MONTHS}

    assert partitions.create_ahead(DECEMBER) == []
    assert [p.name for p in partitions.create_ahead(JANUARY)] == [
        "registry_activity_event_pull_2021_04",
        "registry_activity_event_other_2021_04",
    ]


def test_pulls_and_other_events_have_separate_partitions() -> None:
    partitions.create_ahead(DECEMBER)
    (push,), (pull,) = add_events(1), add_events(1, category="pull")

    assert (table_of(push), table_of(pull)) == ("other_2021_01", "pull_2021_01")


def test_partition_bounds_are_months_in_utc_to_the_microsecond() -> None:
    partitions.create_ahead(DECEMBER)
    first = datetime(2021, 2, 1, tzinfo=UTC)
    (before,), (at,) = add_events(1, first - timedelta(microseconds=1)), add_events(1, first)

    assert (table_of(before), table_of(at)) == ("other_2021_01", "other_2021_02")


def test_event_is_recorded_without_a_partition_for_its_month() -> None:
    event = factories.record(occurred_at=JANUARY)

    assert table_of(event) == "other_default"


def test_new_partition_takes_its_events_from_the_default_partition() -> None:
    events = add_events(3, JANUARY) + add_events(2, category="pull")
    (other,) = add_events(1, DECEMBER - timedelta(days=31))

    partitions.create_ahead(DECEMBER)

    assert {table_of(event) for event in events} == {"other_2021_01", "pull_2021_01"}
    assert table_of(other) == "other_default"
    assert remaining_events() == {*events, other}


def test_lock_timeout_ends_with_the_creation_of_partitions() -> None:
    """The caller's transaction, which may go on, must be able to wait for others."""
    partitions.create_ahead(DECEMBER)

    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


# --- Dropping partitions ------------------------------------------------------------------------


def test_partitions_are_dropped_if_all_their_events_expire() -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    add_events(3, JANUARY)
    add_events(3, category="pull")
    kept = add_events(1, FEBRUARY + timedelta(days=14))

    run = execute_run()

    assert list_tables() == {"other_2021_02", "pull_2021_02", "other_2021_03", "pull_2021_03"}
    assert remaining_events() == set(kept)
    assert run.report == {
        "Registry-wide setting": {"events": 6, "categories": {"push": 3, "pull": 3}},
    }
    assert (run.expected, run.deleted) == (6, 6)


@pytest.mark.parametrize(
    "reason", ["held", "imported", "exempted by a rule", "counted by repository", "too young"]
)
def test_partition_with_one_remaining_event_loses_only_the_others(reason: str, web: Repository) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    add_events(3, JANUARY)
    if reason == "held":
        Hold.objects.create(namespace=web.namespace, reason="An inquiry")
        kept = add_events(1, JANUARY, repository=web)
    elif reason == "imported":
        kept = add_events(1, JANUARY, imported=Import.objects.create(archive_name="x"))
    elif reason == "exempted by a rule":
        DeletionRule.objects.create(namespace=web.namespace)
        kept = add_events(1, JANUARY, repository=web)
    elif reason == "counted by repository":
        DeletionRule.objects.create(repository=web, max_events=1)
        kept = add_events(3, JANUARY, repository=web)[-1:]
    else:
        kept = add_events(1, NOW - timedelta(days=31))

    run = execute_run()

    assert remaining_events() == set(kept)
    assert table_of(kept[0]) in list_tables()
    assert run.deleted == run.expected == (5 if reason == "counted by repository" else 3)


def test_pull_partition_is_dropped_independently_of_the_other_partition() -> None:
    partitions.create_ahead(DECEMBER)
    turn_on()
    DeletionRule.objects.create(category="pull", age=1)
    add_events(3, category="pull")
    kept = add_events(3)

    run = execute_run()

    assert remaining_events() == set(kept)
    assert "pull_2021_01" not in list_tables()
    assert "other_2021_01" in list_tables()
    assert run.report == {"everywhere, Pull": {"events": 3, "categories": {"pull": 3}}}


def test_partition_is_dropped_if_several_rules_together_delete_all_its_events(web: Repository) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    DeletionRule.objects.create(repository=web, age=2, age_unit="weeks")
    DeletionRule.objects.create(category="delete", max_events=1, max_per="rule")
    add_events(3)
    add_events(2, repository=web)
    add_events(1, category="delete")
    add_events(1, MARCH, category="delete")

    run = execute_run()

    assert "other_2021_01" not in list_tables()
    assert {name: entry["events"] for name, entry in run.report.items()} == {
        "acme/web, repository events": 2,
        "everywhere, Delete": 1,
        "Registry-wide setting": 3,
    }


def test_partition_of_the_current_month_is_emptied_but_not_dropped() -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="hours")
    add_events(3, MARCH)

    execute_run()

    assert not remaining_events()
    assert {"other_2021_03", "pull_2021_03"} == list_tables()


def test_dropped_events_are_counted_once_if_the_drop_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "RETRY_DELAY", 0)
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    add_events(3)
    save, failures = execution.DeletionExecution.save, list[OperationalError]()

    def fail_once(deletion: execution.DeletionExecution) -> None:
        if deletion.run.deleted and not failures:
            failures.append(OperationalError("The connection was lost."))
            raise failures[0]
        save(deletion)

    monkeypatch.setattr(execution.DeletionExecution, "save", fail_once)

    run = execute_run()

    assert failures
    assert "other_2021_01" not in list_tables()
    assert run.deleted == 3
    assert run.report == {"Registry-wide setting": {"events": 3, "categories": {"push": 3}}}


def test_preview_shows_what_a_run_does_with_each_old_partition(admin: Client, web: Repository) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    Hold.objects.create(repository=web, reason="An inquiry")
    add_events(3, DECEMBER)
    add_events(1, JANUARY, repository=web)
    add_events(3, JANUARY)
    add_events(2, JANUARY, category="pull", repository=web)
    add_events(2, JANUARY, category="pull")
    add_events(3, MARCH)
    oids = {table: oid_of(table) for table in list_tables()}

    preview = execute_run(preview=True)

    assert preview.partitions == {
        "registry_activity_event_other_2020_12": "dropped",
        "registry_activity_event_pull_2020_12": "dropped",
        "registry_activity_event_other_2021_01": "replaced, events kept: 1",
        "registry_activity_event_pull_2021_01": "events are deleted in batches",
    }
    page = admin.get(f"/admin/registry_activity/run/{preview.pk}/change/").content.decode()
    assert "registry_activity_event_other_2020_12: dropped" in page
    assert {table: oid_of(table) for table in list_tables()} == oids

    execute_run()

    assert {"other_2020_12", "pull_2020_12"}.isdisjoint(list_tables())
    assert oid_of("other_2021_01") != oids["other_2021_01"]
    assert oid_of("pull_2021_01") == oids["pull_2021_01"]


# --- Recreating partitions ----------------------------------------------------------------------


@pytest.mark.parametrize("archive", [False, True], ids=["deleting", "archiving"])
@pytest.mark.parametrize("number_kept", [1, 2, 3])
def test_partition_is_recreated_if_few_events_remain(
    web: Repository,
    number_kept: int,
    archive: bool,
    archive_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "MAX_MOVED", 2)
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=archive)
    Hold.objects.create(repository=web, reason="An inquiry")
    DeletionRule.objects.create(category="delete")  # a rule without conditions never deletes anything
    kept = add_events(number_kept - 1, repository=web)
    kept += add_events(1, category="delete")
    expired = add_events(7)
    oid = oid_of("other_2021_01")
    tallies.fold()

    run = execute_run()

    assert remaining_events() == set(kept)
    assert (run.deleted, run.expected) == (7, 7)
    assert run.report == {"Registry-wide setting": {"events": 7, "categories": {"push": 7}}}
    assert (oid_of("other_2021_01") == oid) == (number_kept == 3)
    assert {table_of(event) for event in kept} == {"other_2021_01"}
    assert count_archived(archive_folder) == (each_once(expired) if archive else Counter())
    assert_tallies_match()
    late = add_events(1)
    assert table_of(late[0]) == "other_2021_01"
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        connection.cursor().execute("DELETE FROM registry_activity_event_other_2021_01")
    assert not execute_run().error
    assert remaining_events() == set(kept)


def test_partition_is_not_recreated_if_half_of_its_events_remain(web: Repository) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    Hold.objects.create(repository=web, reason="An inquiry")
    add_events(2, repository=web)
    add_events(2)
    oid = oid_of("other_2021_01")

    assert execute_run().deleted == 2

    assert oid_of("other_2021_01") == oid


@pytest.mark.parametrize("reason", ["held", "exempted by a rule"])
def test_exempt_event_recorded_just_before_the_drop_is_moved_to_the_new_partition(
    web: Repository, reason: str, archive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    expired = add_events(3)
    if reason == "held":
        Hold.objects.create(repository=web, reason="An inquiry")
    else:
        DeletionRule.objects.create(repository=web)
    late = list[Event]()
    call_before_freezing("other_2021_01", lambda: late.extend(add_events(1, repository=web)), monkeypatch)

    run = execute_run()

    assert run.deleted == 3
    assert remaining_events() == set(late)
    assert count_archived(archive_folder) == each_once(expired)
    assert table_of(late[0]) == "other_2021_01"


# --- Archiving partitions -----------------------------------------------------------------------


def test_partition_is_archived_in_several_archives(archive_folder: Path) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    events = add_events(6)

    run = execute_run()

    assert count_archived(archive_folder) == each_once(events)
    assert sorted(run.archives.values_list("events", flat=True)) == [2, 4]
    assert "other_2021_01" not in list_tables()
    for archive in run.archives.all():
        imports.import_archive(archive.name)
    assert remaining_events() == set(events)


def test_expired_event_recorded_just_before_the_drop_is_archived(
    archive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    expired = add_events(3)
    call_before_freezing("other_2021_01", lambda: expired.extend(add_events(1)), monkeypatch)

    assert execute_run().deleted == len(expired) > 3

    assert not remaining_events()
    assert count_archived(archive_folder) == each_once(expired)


def test_event_held_while_its_partition_is_archived_is_not_deleted(
    web: Repository, archive_folder: Path, settings: Any
) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    held = add_events(1, repository=web)
    add_events(9)
    use_storage(settings, archive_folder, HookedStorage)
    HookedStorage.on_save = lambda: Hold.objects.update_or_create(
        repository=web, defaults={"reason": "An inquiry"}
    )

    run = execute_run()

    assert (run.state, run.deleted) == ("finished", 9)
    assert remaining_events() == set(held)
    assert table_of(held[0]) == "other_2021_01"


def test_archives_are_correct_if_one_event_is_held_and_another_recorded_while_archiving(
    web: Repository, archive_folder: Path
) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    held = add_events(1, repository=web)
    expired = add_events(3)

    def hold_one_and_add_one() -> None:
        Hold.objects.create(repository=web, reason="An inquiry")
        expired.extend(add_events(1, JANUARY - timedelta(days=1)))

    with after_first_archive(hold_one_and_add_one):
        run = execute_run()

    assert (run.state, run.deleted) == ("finished", 4)
    assert remaining_events() == set(held)
    assert count_archived(archive_folder) == each_once(expired)


def test_events_are_visible_while_their_partition_is_archived() -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    events = add_events(6)
    seen = []

    with after_first_archive(lambda: seen.append(remaining_events())):
        execute_run()

    assert seen == [set(events)]


def test_stop_request_while_a_partition_is_archived_deletes_neither_events_nor_partition(
    archive_folder: Path,
) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months", archive=True)
    events = add_events(6)

    with after_first_archive(lambda: Run.objects.update(stop_requested=True)):
        run = execute_run()

    assert (run.state, run.deleted) == ("stopped", 0)
    assert remaining_events() == set(events)
    assert not count_archived(archive_folder)
    assert not Archive.objects.exists()


# --- Tallies ------------------------------------------------------------------------------------


def test_tallies_of_a_dropped_partition_are_deleted(web: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    DeletionRule.objects.create(namespace=web.namespace, age=2, age_unit="weeks")
    add_events(3)
    add_events(2, repository=web, category="scan")
    tallies.fold()
    add_events(2, repository=web)
    add_events(4, category="pull", repository=web)
    assert_tallies_match()
    late = list[Event]()
    call_before_freezing("other_2021_01", lambda: late.extend(add_events(1, repository=web)), monkeypatch)

    run = execute_run()

    assert {"other_2021_01", "pull_2021_01"}.isdisjoint(list_tables())
    assert run.deleted == 11 + len(late)
    assert run.report == {
        "acme, repository events": {"events": 9, "categories": {"scan": 2, "push": 3, "pull": 4}},
        "Registry-wide setting": {"events": 3, "categories": {"push": 3}},
    }
    assert_tallies_match()
    tallies.fold()
    assert_tallies_match()
    assert not DroppedTallies.objects.exists()
    assert not Tally.objects.filter(start__lt=NOW).exists()


def test_tallies_of_remaining_events_survive_several_runs(
    web: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "MAX_EVENTS_OF_DAYS", 10)
    monkeypatch.setattr(execution, "MAX_MOVED", 0)
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    Hold.objects.create(repository=web, reason="An inquiry")
    add_events(4, DECEMBER, repository=web)
    add_events(5, JANUARY)
    add_events(2, JANUARY, repository=web)
    tallies.fold()
    before = Tally.objects.in_bulk()

    assert execute_run().deleted == 5

    assert DroppedTallies.objects.get(is_pull=False).start == JANUARY.replace(hour=0)
    assert_tallies_match()
    tallies.fold()
    assert_tallies_match()
    add_events(1, JANUARY + timedelta(days=1))
    assert execute_run().deleted == 1
    assert DroppedTallies.objects.get(is_pull=False).start == JANUARY.replace(hour=0) + timedelta(days=1)
    assert Tally.objects.filter(pk__in=before, start__lt=JANUARY.replace(day=1), repository=web).exists()


def test_run_drops_the_tallies_of_whole_days_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "MAX_EVENTS_OF_DAYS", 10)
    partitions.create_ahead(DECEMBER)
    turn_on(age=1, age_unit="months")
    bound = NOW - timedelta(days=31)
    young = add_events(1, bound)
    add_events(1, bound - timedelta(days=3))
    add_events(1, bound - timedelta(hours=1))
    tallies.fold()

    assert execute_run().deleted == 2

    assert remaining_events() == set(young)
    assert DroppedTallies.objects.filter(is_pull=False).latest("end").end == bound.replace(hour=0)
    assert_tallies_match()
    tallies.fold()
    assert_tallies_match()
