"""Compare auto-deletion to one DELETE on PostgreSQL, and measure how much it slows down other processes.

Each run gets a new copy of the database, so all runs start with the same table.

Each run is executed in a separate process, just as a worker would execute it. Before and during the run, a
second process reads the first page of events in the busiest repository, and a third process records events
one at a time.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar
from uuid import uuid4

import django
import psycopg
from dateutil.relativedelta import relativedelta
from tqdm import tqdm

from tests.benchmarks.report import Cell, Findings, Table

BASELINE_SECONDS = 5.0
"""How long reading and recording are measured before the run starts, in seconds."""
WARM_UP_SECONDS = 1.0
INTERVAL = 0.005
"""How many seconds the reader and the recorder pause between requests, to avoid overloading the machine."""
AGE = timedelta(hours=1)
COPY = "bench_copy"

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Times = list[tuple[float, float]]
"""The start time and the duration of each request, in seconds."""


@dataclass(frozen=True)
class Case:
    """A run that deletes the events before `bound`, by age or by a maximum number of events."""

    label: str
    bound: datetime
    by_max_events: bool = False
    archive: bool = False
    held: str = ""
    """The held repository, if any. It has events in every partition, so no partition can be dropped."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    deleted: int
    started: float
    ended: float
    megabytes: float
    """The peak memory use minus the memory use of the idle process."""


@dataclass(frozen=True)
class DeleteStatement:
    """How many events one DELETE statement deleted, and how many seconds it took."""

    deleted: int
    delete: float
    vacuum: float
    """How many seconds the subsequent VACUUM took."""


@dataclass(frozen=True)
class Latencies:
    """How many seconds requests of one kind took before and during a run."""

    before: list[float]
    during: list[float]


@dataclass(frozen=True)
class Measurement:
    """The results of a run, the DELETE statement it is compared to, and the requests before and during it."""

    case: Case
    outcome: Outcome
    statement: DeleteStatement
    pages: Latencies
    recording: Latencies

    @property
    def ratio(self) -> float:
        """The time of the run, divided by the time that the statement would take for as many events."""
        expected = (
            (self.statement.delete + self.statement.vacuum) * self.outcome.deleted / self.statement.deleted
        )
        return (self.outcome.ended - self.outcome.started) / expected


def measure_all(names: list[str]) -> Findings:
    """Measure all runs. `names` are the names of the repositories, busiest first."""
    cases = all_cases(held=names[20])
    with tqdm(total=len(cases), desc="Deletion", unit="run") as progress:
        statement = measure_statement(max(case.bound for case in cases))
        measurements = []
        for case in cases:
            measurements.append(measure(case, statement))
            progress.update()
    return findings(measurements)


def all_cases(held: str) -> list[Case]:
    """Return the runs to measure, each of which deletes about half of the events.

    Returns an empty list if all events are from the same month.
    """
    from activity.identity import moment_of
    from activity.models import Event

    ids = Event.objects.order_by("id").values_list("id", flat=True)
    first, last = moment_of(ids[0]), moment_of(ids.reverse()[0])
    month = (first + (last - first) / 2).astimezone(UTC)
    month = month.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if month <= first:
        month += relativedelta(months=1)
    if month >= last:
        return []
    middle = month + (min(last, month + relativedelta(months=1)) - month) / 2
    return [
        Case("whole partitions", month),
        Case("by age within partitions", middle, held=held),
        Case("by maximum number", middle, held=held, by_max_events=True),
        Case("whole partitions, archived", month, archive=True),
        Case("by age within partitions, archived", middle, held=held, archive=True),
    ]


# --- The DELETE statement -----------------------------------------------------------------------


def measure_statement(bound: datetime) -> DeleteStatement:
    """Measure one DELETE statement for the events before a bound, while the reader and the recorder run."""
    with copied_database():
        return measure_latencies(delete_in_one_statement, bound)[0]


def delete_in_one_statement(bound: datetime) -> DeleteStatement:
    """Copy the events into a table without partitions, with the indexes of pulls, and delete the old ones."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        database.execute("CREATE TABLE plain (LIKE registry_activity_event)")
        database.execute("INSERT INTO plain SELECT * FROM registry_activity_event ORDER BY id")
        indexes = database.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'registry_activity_event_pull'"
        )
        for (definition,) in indexes.fetchall():
            database.execute(re.sub(r"INDEX \S+ ON ONLY \S+", "INDEX ON plain", definition))
        database.execute("VACUUM ANALYZE plain")
        database.execute("CHECKPOINT")
        started = time.monotonic()
        deleted = database.execute("DELETE FROM plain WHERE occurred_at < %s", [bound]).rowcount
        deleted_at = time.monotonic()
        database.execute("VACUUM plain")
        return DeleteStatement(deleted, deleted_at - started, time.monotonic() - deleted_at)


@contextmanager
def copied_database() -> Iterator[str]:
    """Copy the database, and yield the URL of the copy. Processes started during the block use the copy."""
    from django.db import connections

    connections.close_all()  # PostgreSQL can't copy a database that is in use
    original = os.environ["DATABASE_URL"]
    server, _, name = original.rpartition("/")
    with psycopg.connect(f"{server}/template1", autocommit=True) as database:
        database.execute(f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)")  # from benchmarks that were killed
        database.execute(f"CREATE DATABASE {COPY} TEMPLATE {name} STRATEGY FILE_COPY")
        try:
            os.environ["DATABASE_URL"] = f"{server}/{COPY}"
            yield f"{server}/{COPY}"
        finally:
            os.environ["DATABASE_URL"] = original
            database.execute(f"DROP DATABASE {COPY} WITH (FORCE)")


# --- The run, the reader and the recorder -------------------------------------------------------


def measure(case: Case, statement: DeleteStatement) -> Measurement:
    """Measure a run in a copy of the database."""
    with copied_database():
        outcome, *others = measure_latencies(execute_run, case)
    pages, recording = (_split_latencies(times, outcome) for times in others)
    return Measurement(case, outcome, statement, pages, recording)


def measure_latencies(work: Callable[[Argument], Result], argument: Argument) -> tuple[Result, Times, Times]:
    """Call `work` in a separate process. Return its result and the times of the reader and the recorder."""
    spawn = multiprocessing.get_context("spawn")  # database connections don't survive a fork
    with spawn.Manager() as manager, spawn.Pool(3, django.setup) as pool:
        over = manager.Event()
        reading, recording = (
            pool.apply_async(repeat_request, (factory, over)) for factory in (create_reader, create_recorder)
        )
        result = pool.apply(work, (argument,))
        over.set()
        return result, reading.get(), recording.get()


def execute_run(case: Case) -> Outcome:
    """Execute a run in this process, and return its outcome."""
    from activity.deletion import runs
    from activity.models import Run
    from activity.storage import heartbeats

    heartbeats.trust_clock()  # the newest event may be old
    run = runs.start("bench", cutoff=_configure(case))
    time.sleep(WARM_UP_SECONDS + BASELINE_SECONDS)  # the readers measure their latency at rest
    idle = _megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak memory use
    started = time.monotonic()
    runs.execute(run)
    ended = time.monotonic()
    run.refresh_from_db()
    assert run.state == Run.State.FINISHED, run.error
    return Outcome(run.deleted, started, ended, _megabytes("VmHWM") - idle)


def _configure(case: Case) -> datetime:
    """Configure auto-deletion for a run, and return the cutoff."""
    from activity.identity import first_id
    from activity.models import AutoDeletion, Event, Hold
    from repositories.models import Repository

    setting = AutoDeletion.get_solo()
    setting.enabled, setting.archive = True, case.archive
    if case.by_max_events:
        setting.max_events = Event.objects.filter(id__gte=first_id(case.bound)).count()
    else:
        setting.age, setting.age_unit = AGE // timedelta(hours=1), "hours"
    setting.save()
    if case.held:
        Hold.objects.create(repository=Repository.objects.named(case.held).get(), reason="bench")
    return datetime.now(UTC) if case.by_max_events else case.bound + AGE


def _megabytes(field: str) -> float:
    """Return the current (`VmRSS`) or peak (`VmHWM`) memory use of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def repeat_request(create_request: Callable[[], Callable[[], object]], over: Any) -> Times:
    """Repeat a request until `over` is set, and return the times of all requests."""
    request = create_request()
    times: Times = []
    while not over.is_set():
        started = time.monotonic()
        request()
        times.append((started, time.monotonic() - started))
        time.sleep(INTERVAL)  # paces the requests, so that they do not saturate the server
    return times


def create_reader() -> Callable[[], object]:
    """Return a function that reads the first page of events in the busiest repository."""
    from django.urls import reverse

    from repositories.names import split_name
    from tests.benchmarks.pages import create_request
    from tests.benchmarks.world import BUSIEST

    url = reverse("registry_api:repository-events", args=split_name(BUSIEST))
    return create_request("repoadmin", url, {"page_size": "10"})


def create_recorder() -> Callable[[], object]:
    """Return a function that records one event."""
    from activity.models import ActorType
    from activity.recording.drafts import Delivery, Draft
    from activity.recording.record import record_events
    from activity.sources.registries import registry_account
    from tests.benchmarks.world import BUSIEST

    account = registry_account()

    def record() -> object:
        draft = Draft(
            kind="get_manifest",
            repository_name=BUSIEST,
            occurred_at=datetime.now(UTC),
            source_id=str(uuid4()),
            actor_type=ActorType.USER,
            actor_name="person-7",
            delivery=Delivery(account.pk),
        )
        return record_events([draft])

    return record


def _split_latencies(times: Times, run: Outcome) -> Latencies:
    """Separate the requests that ended before a run started from those that the run may have delayed."""
    return Latencies(
        before=[
            took for started, took in times if run.started - BASELINE_SECONDS <= started < run.started - took
        ],
        during=[took for started, took in times if started < run.ended and started + took >= run.started],
    )


# --- The tables ---------------------------------------------------------------------------------


def findings(measurements: list[Measurement]) -> Findings:
    """Return a table of the runs, and a table of what they did to first pages and to recording."""
    runs: list[list[Cell]] = []
    others: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for measurement in measurements:
        label, outcome, statement = measurement.case.label, measurement.outcome, measurement.statement
        seconds = outcome.ended - outcome.started
        runs.append(
            [
                label,
                outcome.deleted,
                seconds,
                statement.delete,
                statement.vacuum,
                measurement.ratio,
                outcome.megabytes,
            ]
        )
        figures[f"deletion, {label}"] = measurement.ratio
        for kind, latencies in (("first page", measurement.pages), ("recording", measurement.recording)):
            before, during = _percentiles(latencies.before), _percentiles(latencies.during)
            ratio = during[1] / before[1] if before[1] else None
            others.append(
                [f"{label}: {kind}", *before, *during, max(latencies.during, default=0) * 1000, ratio]
            )
            if ratio is not None:
                figures[f"{kind} beside deletion"] = max(ratio, figures.get(f"{kind} beside deletion", 0))
    return Findings(
        [
            Table(
                "Auto-deletion beside one DELETE and VACUUM on an unpartitioned copy of the table",
                ["deleted", "seconds", "DELETE", "VACUUM", "ratio", "memory, MB"],
                runs,
                "The statement deletes more events than some runs; the ratio takes this into account.",
            ),
            Table(
                "Others during a run, ms",
                ["median before", "p99", "median during", "p99", "longest", "p99 ratio"],
                others,
            ),
        ],
        figures,
    )


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    many = [*seconds, *seconds] or [0.0, 0.0]
    return median(many) * 1000, quantiles(many, n=100, method="inclusive")[-1] * 1000
