"""Partitions can be dropped and created even if other transactions hold locks on them.

Waiting for the locks delays readers and writers by at most one lock timeout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from activity.models import Event, Run
from activity.storage import partitions, tallies
from activity.storage.events import delete_days
from activity.storage.partitions import Partition
from tests.deletion import (
    DECEMBER,
    JANUARY,
    MARCH,
    NOW,
    add_events,
    execute_run,
    list_tables,
    on_postgresql,
    remaining_events,
    turn_on,
)
from tests.running import poll

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = [
    on_postgresql,
    pytest.mark.long,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("small_batches", "archive_folder"),
]

READ = "SELECT * FROM registry_activity_event WHERE id > %s ORDER BY id LIMIT 50"
RECORD = """
    INSERT INTO registry_activity_event (id, occurred_at, received_at, position, kind, is_pull,
        repository_name, tag, digest, actor_type, actor_name, delivered_with, more_details)
    SELECT gen_random_uuid(), now(), now(), position, kind, is_pull,
        repository_name, tag, digest, actor_type, actor_name, delivered_with, more_details
    FROM registry_activity_event WHERE id = %s
"""


@pytest.fixture(autouse=True)
def monthly_partitions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Create the partitions from December to March. After the test, drop all partitions before 2022."""
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "200ms")
    monkeypatch.setattr(partitions, "RETRY_DELAY", 0.2)
    partitions.create_ahead(DECEMBER)
    yield
    for partition in partitions.monthly_partitions():
        if partition.start.year < 2022:
            with transaction.atomic():
                partitions.drop(partition, None, by_repository=False, cause="run 1")


def connect() -> psycopg.Connection:
    """Open another connection to the test database."""
    settings = connection.settings_dict
    names = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
    return psycopg.connect(**{name: settings[key] for key, name in names.items()})


def wait_until_blocked(observer: psycopg.Connection, seconds: float = 0) -> None:
    """Wait until PostgreSQL reports that one session has waited for a lock for at least `seconds`."""
    waiting = """
        SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND clock_timestamp() >= waitstart + make_interval(secs => %s)
            AND datname = current_database()  -- parallel tests have their own databases
    """

    def read() -> int:
        observer.rollback()
        return len(observer.execute(waiting, [seconds]).fetchall())

    assert poll(read, 1) == 1


def call_and_disconnect(action: Callable[[], Any]) -> Any:
    """Call `action` in a pool thread, and then close the thread's database connection."""
    try:
        return action()
    finally:
        connection.close()


# --- Dropping -----------------------------------------------------------------------------------


def test_partition_is_dropped_when_the_reader_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MAX_ATTEMPTS", 1_000)
    turn_on(age=1, age_unit="months")
    add_events(3)
    with ThreadPoolExecutor() as threads, connect() as reader:
        reader.execute("SELECT count(*) FROM registry_activity_event")
        run = threads.submit(call_and_disconnect, execute_run)
        with connect() as observer:
            wait_until_blocked(observer)
        reader.commit()

        assert run.result().deleted == 3
    assert "other_2021_01" not in list_tables()


def test_partition_is_emptied_if_the_reader_does_not_finish() -> None:
    turn_on(age=1, age_unit="months")
    add_events(3)
    with connect() as reader:
        reader.execute("SELECT count(*) FROM registry_activity_event")

        run = execute_run()

    assert (run.state, run.deleted) == ("finished", 3)
    assert "other_2021_01" in list_tables()
    execute_run()
    assert "other_2021_01" not in list_tables()


def test_dropping_delays_readers_and_writers_by_at_most_the_lock_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partitions, "MAX_ATTEMPTS", 1_000)
    turn_on(age=1, age_unit="months")
    add_events(3)
    (young,) = add_events(1, MARCH)
    with ThreadPoolExecutor() as threads, connect() as reader, connect() as other, connect() as observer:
        reader.execute("SELECT count(*) FROM registry_activity_event")
        other.execute("SET lock_timeout = '30s'")
        run = threads.submit(call_and_disconnect, execute_run)
        for statement in (READ, RECORD):
            wait_until_blocked(observer)
            other.execute(statement, [young.pk])  # waits behind the drop, which waits for the reader
            other.commit()
        reader.commit()

        assert run.result().deleted == 3


@pytest.mark.parametrize("vacuumed", ["other_2021_01", "other_default"])
def test_dropping_waits_for_a_vacuum_without_blocking_others(
    vacuumed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL cancels an autovacuum only after it has blocked another session for one second.

    While a drop waits that long, it must not block other sessions.
    """
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(partitions, "RETRY_DELAY", 0)
    turn_on(age=1, age_unit="months")
    add_events(3)
    with ThreadPoolExecutor() as threads, connect() as vacuum, connect() as observer:
        vacuum.execute(f"LOCK TABLE registry_activity_event_{vacuumed} IN SHARE UPDATE EXCLUSIVE MODE")
        run = threads.submit(call_and_disconnect, execute_run)
        wait_until_blocked(observer)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = 1")  # in milliseconds
            late = add_events(1, JANUARY + timedelta(days=1))
            late += add_events(1, datetime(2020, 1, 1, tzinfo=UTC))
        wait_until_blocked(observer, 1.1)
        vacuum.commit()

        assert run.result().deleted == 3 + len(late)
    assert "other_2021_01" not in list_tables()


def test_dropping_does_not_fail_the_recording_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL checks for deadlocks once the recording transaction has waited for one second.

    At that time, the drop must not be waiting for this transaction.
    """
    turn_on(age=1, age_unit="months")
    add_events(3)
    drop, recordings = tallies.drop, list[Future]()

    def drop_slowly(pull_flags: Any, start: datetime, *args: Any, **values: Any) -> Any:
        if not recordings and False in pull_flags and start.month == JANUARY.month:
            recordings.append(threads.submit(call_and_disconnect, record))
            with connect() as observer:
                wait_until_blocked(observer, 0.9)
        return drop(pull_flags, start, *args, **values)

    @transaction.atomic
    def record() -> None:
        add_events(1, JANUARY + timedelta(days=1))

    monkeypatch.setattr(tallies, "drop", drop_slowly)
    with ThreadPoolExecutor() as threads:
        run = execute_run()

    recordings[0].result()
    assert (run.state, run.deleted) == ("finished", 4)
    assert "other_2021_01" not in list_tables()


def test_dropping_does_not_deadlock_with_a_stop_request(monkeypatch: pytest.MonkeyPatch) -> None:
    turn_on(age=1, age_unit="months")
    add_events(3)
    drop, stops = partitions.drop, list[Future]()

    def drop_while_stop_is_requested(partition: Partition, *args: Any, **values: Any) -> Any:
        deleted = drop(partition, *args, **values)
        if not stops and partition.name == "registry_activity_event_other_2021_01":
            stops.append(threads.submit(call_and_disconnect, request_stop))
            with connect() as observer:
                wait_until_blocked(observer)
        return deleted

    @transaction.atomic
    def request_stop() -> None:
        """Request a stop in the same way as the admin does."""
        Run.objects.update(stop_requested=True)
        add_events(1, NOW, kind="stop_deletion")

    monkeypatch.setattr(partitions, "drop", drop_while_stop_is_requested)
    with ThreadPoolExecutor() as threads:
        run = execute_run()

    stops[0].result()
    assert (run.state, run.deleted) == ("stopped", 3)
    assert run.report == {"Registry-wide setting": {"events": 3, "categories": {"push": 3}}}


def test_deletion_of_days_waits_until_tallies_are_folded() -> None:
    events = add_events(3)

    @transaction.atomic
    def delete() -> int:
        days = JANUARY.replace(hour=0), JANUARY.replace(hour=0) + tallies.DAY
        return delete_days(Event.objects.all(), ["other"], *days, "run 1").total()

    with ThreadPoolExecutor() as threads, connect() as folding:
        folding.execute("SELECT pg_advisory_xact_lock(%s)", [tallies.LOCK_KEY])
        deleted = threads.submit(call_and_disconnect, delete)
        with connect() as observer:
            wait_until_blocked(observer)
        assert remaining_events() == set(events)
        folding.commit()

        assert deleted.result() == 3
    assert not remaining_events()


# --- Creating -----------------------------------------------------------------------------------


def test_creating_waits_for_a_vacuum_without_blocking_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(partitions, "RETRY_DELAY", 0)
    may = datetime(2021, 5, 15, tzinfo=UTC)
    with ThreadPoolExecutor() as threads, connect() as vacuum, connect() as observer:
        vacuum.execute("LOCK TABLE registry_activity_event_other_default IN SHARE UPDATE EXCLUSIVE MODE")
        created = threads.submit(call_and_disconnect, lambda: partitions.create_ahead(may))
        wait_until_blocked(observer)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = 1")  # in milliseconds
            add_events(1, may)
        wait_until_blocked(observer, 1.1)
        vacuum.commit()

        created.result()
    assert "other_2021_05" in list_tables()
    assert len(remaining_events()) == 1


def test_partitions_are_created_while_events_of_their_months_are_recorded() -> None:
    may = datetime(2021, 5, 15, tzinfo=UTC)
    done, recorded = Signal(), list[int]()

    def record() -> None:
        try:
            while not done.is_set():
                with transaction.atomic():
                    recorded.append(len(add_events(1, may + timedelta(hours=len(recorded)))))
        finally:
            connection.close()

    with ThreadPoolExecutor() as threads:
        recordings = [threads.submit(record) for _ in range(4)]
        try:
            for month in range(5, 12):
                partitions.create_ahead(datetime(2021, month - 3, 1, tzinfo=UTC))
        finally:
            done.set()
        for recording in recordings:
            recording.result()

    assert len(remaining_events()) == sum(recorded) > 20
