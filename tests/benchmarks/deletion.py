"""Measures auto-deletion on PostgreSQL, beside readers and recording, and against a plain statement.

Part of `make bench`, which fills the table; `python -m tests.bench_deletion` fills one by itself, with
any number of events spread over half a year. Each run is of its own copy of the database, made by
PostgreSQL from the files, so all begin with the same table.

A run is a process of its own, as in the worker. Beside it, one process reads the first page of the
busiest repository and another records single events, for a while before it, and while it runs.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

import django
import psycopg
from dateutil.relativedelta import relativedelta
from tqdm import tqdm

from tests import services
from tests.standalone import configure

REST = 5.0
"""Seconds that reading and recording are measured at rest."""
WARMING_UP = 1.0
INTERVAL = 0.005
"""Seconds between two requests of the reader, and of the recorder: they aren't to wear out the machine."""
AGE = timedelta(hours=1)
COPY = "bench_copy"

Given = TypeVar("Given")
Result = TypeVar("Result")
Times = list[tuple[float, float]]
"""When each request began, and the seconds it took."""


@dataclass(frozen=True)
class Case:
    """A run: what goes is before a bound, or beyond the number of events that are there from it on."""

    label: str
    bound: datetime
    by_number: bool = False
    archive: bool = False
    held: str = ""
    """A repository that has events in every partition, so that none goes as a whole."""


@dataclass(frozen=True)
class Outcome:
    """What a run did, when, and how much memory it took at most beyond that of an idle process."""

    deleted: int
    began: float
    ended: float
    megabytes: float


@dataclass(frozen=True)
class Plain:
    """How long the plain statement, and the vacuum after it, took for so many events."""

    deleted: int
    statement: float
    vacuum: float


@dataclass(frozen=True)
class Latencies:
    """How long one kind of request took, in seconds: at rest, and while a run went on."""

    rest: list[float]
    during: list[float]

    def __str__(self) -> str:
        rest, during = _percentiles(self.rest), _percentiles(self.during)
        ratios = " ".join(f"{now / before:>5.1f}x" for before, now in zip(rest, during, strict=True))
        cells = [f"{before:>8.1f} {now:>8.1f}" for before, now in zip(rest, during, strict=True)]
        return f"{' '.join(cells)} {max(self.during, default=0) * 1000:>8.1f} {ratios}"


@dataclass(frozen=True)
class Measure:
    """A run with what it is compared to, and what it did to others."""

    case: Case
    outcome: Outcome
    plain: Plain
    pages: Latencies
    recording: Latencies

    def __str__(self) -> str:
        seconds, deleted = self.outcome.ended - self.outcome.began, self.outcome.deleted
        plain = (self.plain.statement + self.plain.vacuum) * deleted / self.plain.deleted
        return (
            f"{deleted:>10,} {seconds:>8.2f} s {deleted / seconds:>10,.0f}"
            f" {self.plain.statement:>8.2f} s {self.plain.vacuum:>6.2f} s"
            f" {seconds / plain:>9.3f}x {self.outcome.megabytes:>6.1f} MB"
        )


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=int(os.environ.get("EVENTS", 1_000_000)))
    many = parser.parse_args().events
    with (
        TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name,
        services.postgresql(Path(name), durable=True) as database,
        services.redis(Path(name)) as cache,
    ):
        configure(DATABASE_URL=database, REDIS_URL=cache, DATA_DIR=name, SECRET_KEY="bench")
        print(table(measure_all(_fill(many))))


def _fill(many: int) -> list[str]:
    from django.core.management import call_command

    from tests.benchmarks import world as worlds

    call_command("migrate", verbosity=0)
    world = worlds.make(many)
    worlds.fill(world, many)
    return world.names


def measure_all(names: list[str]) -> list[Measure]:
    """Measure runs, given the names of repositories, the busiest first."""
    cases = all_cases(held=names[20])
    with tqdm(total=len(cases), desc="Deletion", unit="run") as progress:
        plain = measure_plain(max(case.bound for case in cases))
        measures = []
        for case in cases:
            measures.append(measure(case, plain))
            progress.update()
    return measures


def all_cases(held: str) -> list[Case]:
    """Return the runs: about half of the events go; none if all are of one month."""
    from activity.identity import moment_of
    from activity.models import Event

    ids = Event.objects.order_by("id").values_list("id", flat=True)
    first, last = moment_of(ids[0]), moment_of(ids.reverse()[0])
    month = (first + (last - first) / 2).astimezone(UTC)
    month = month.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if month <= first:
        month += relativedelta(months=1)
    if month >= last:  # all in one month
        return []
    middle = month + (min(last, month + relativedelta(months=1)) - month) / 2
    return [
        Case("whole partitions", month),
        Case("by age within partitions", middle, held=held),
        Case("by maximum number", middle, held=held, by_number=True),
        Case("whole partitions, archived", month, archive=True),
        Case("by age within partitions, archived", middle, held=held, archive=True),
    ]


# --- The plain statement ------------------------------------------------------------------------


def measure_plain(bound: datetime) -> Plain:
    """Let the plain statement delete what is before a bound, beside the same reader and recorder."""
    with copied_database():
        return beside(delete_plainly, bound)[0]


def delete_plainly(bound: datetime) -> Plain:
    """Delete from an unpartitioned copy of the table, with the same indexes, in one statement."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        database.execute("CREATE TABLE plain (LIKE registry_activity_event)")
        database.execute("INSERT INTO plain SELECT * FROM registry_activity_event ORDER BY id")
        indexes = database.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'registry_activity_event'"
        )
        for (definition,) in indexes.fetchall():
            database.execute(re.sub(r"INDEX \S+ ON ONLY \S+", "INDEX ON plain", definition))
        database.execute("VACUUM ANALYZE plain")
        database.execute("CHECKPOINT")
        began = time.monotonic()
        deleted = database.execute("DELETE FROM plain WHERE occurred_at < %s", [bound]).rowcount
        between = time.monotonic()
        database.execute("VACUUM plain")
        return Plain(deleted, between - began, time.monotonic() - between)


@contextmanager
def copied_database() -> Iterator[str]:
    """Copy the database, and yield the copy's URL, which processes started in this block use, too."""
    from django.db import connections

    connections.close_all()  # a database in use can't be copied
    original = os.environ["DATABASE_URL"]
    server, _, name = original.rpartition("/")
    with psycopg.connect(f"{server}/template1", autocommit=True) as database:
        database.execute(f"CREATE DATABASE {COPY} TEMPLATE {name} STRATEGY FILE_COPY")
        try:
            os.environ["DATABASE_URL"] = f"{server}/{COPY}"
            yield f"{server}/{COPY}"
        finally:
            os.environ["DATABASE_URL"] = original
            database.execute(f"DROP DATABASE {COPY} WITH (FORCE)")


# --- A run, and what goes on beside it ----------------------------------------------------------


def measure(case: Case, plain: Plain) -> Measure:
    """Carry out a run in a copy of the database."""
    with copied_database():
        outcome, *others = beside(carry_out, case)
    pages, records = (_latencies(times, outcome) for times in others)
    return Measure(case, outcome, plain, pages, records)


def beside(work: Callable[[Given], Result], given: Given) -> tuple[Result, Times, Times]:
    """Do some work in a process of its own; return its result, and the times of reader and recorder."""
    spawn = multiprocessing.get_context("spawn")  # a database connection can't be forked
    with spawn.Manager() as manager, spawn.Pool(3, django.setup) as pool:
        over = manager.Event()
        reading, recording = (pool.apply_async(ask_on, (kind, over)) for kind in (reader, recorder))
        result = pool.apply(work, (given,))
        over.set()
        return result, reading.get(), recording.get()


def carry_out(case: Case) -> Outcome:
    """Carry out a run in this process."""
    from activity.deletion import runs
    from activity.models import Run

    run = runs.start("bench", cutoff=_set(case))
    time.sleep(WARMING_UP + REST)
    idle = _megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    began = time.monotonic()
    runs.execute(run)
    ended = time.monotonic()
    run.refresh_from_db()
    assert run.state == Run.State.FINISHED, run.error
    return Outcome(run.deleted, began, ended, _megabytes("VmHWM") - idle)


def _set(case: Case) -> datetime:
    """Set auto-deletion up, and return the cut-off."""
    from activity.identity import first_id
    from activity.models import AutoDeletion, Event, Hold
    from repositories.models import Repository

    setting = AutoDeletion.get_solo()
    setting.enabled, setting.archive = True, case.archive
    if case.by_number:
        setting.max_events = Event.objects.filter(id__gte=first_id(case.bound)).count()
    else:
        setting.age, setting.age_unit = AGE // timedelta(hours=1), "hours"
    setting.save()
    if case.held:
        Hold.objects.create(repository=Repository.objects.named(case.held).get(), reason="bench")
    return datetime.now(UTC) if case.by_number else case.bound + AGE


def _megabytes(field: str) -> float:
    """Return how much memory this process has (`VmRSS`), or had at most (`VmHWM`)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def ask_on(kind: Callable[[], Callable[[], object]], over: Any) -> Times:
    """Ask for the same until it is over; return when each request began, and the seconds it took."""
    ask = kind()
    times: Times = []
    while not over.is_set():
        began = time.monotonic()
        ask()
        times.append((began, time.monotonic() - began))
        time.sleep(INTERVAL)
    return times


def reader() -> Callable[[], object]:
    """Return what reads the first page of the busiest repository."""
    from tests.benchmarks import lists

    return lists.repository_lists(None)["its query with pulls"]


def recorder() -> Callable[[], object]:
    """Return what records one event."""
    from activity.models import ActorType
    from activity.recording.drafts import Draft
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
        )
        return record_events([draft], account.pk)

    return record


def _latencies(times: Times, run: Outcome) -> Latencies:
    """Tell those at rest from those that a run could have delayed."""
    return Latencies(
        rest=[took for began, took in times if run.began - REST <= began < run.began - took],
        during=[took for began, took in times if began < run.ended and began + took >= run.began],
    )


# --- The tables ---------------------------------------------------------------------------------


def table(measures: list[Measure]) -> str:
    """Return what runs cost, and what they did to reading and recording."""
    if not measures:
        return "  Too few events: they are all of one month."
    width = max(len(measure.case.label) for measure in measures)
    lines = [
        f"  {'':{width}} {'deleted':>10} {'time':>10} {'a second':>10} {'statement':>10} {'vacuum':>8}"
        f" {'ratio':>10} {'memory':>9}"
    ]
    lines += [f"  {measure.case.label:{width}} {measure}" for measure in measures]
    head = f"{'median':>8} {'during':>8} {'p99':>8} {'during':>8} {'longest':>8} {'median':>6} {'p99':>6}"
    for title, kind in (("First page", "pages"), ("Recording", "recording")):
        lines += ["", f"  {f'{title}, ms at rest and during a run':{width}} {head}"]
        lines += [f"  {measure.case.label:{width}} {getattr(measure, kind)}" for measure in measures]
    return "\n".join(lines)


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    many = [*seconds, *seconds] or [0.0, 0.0]
    return median(many) * 1000, quantiles(many, n=100, method="inclusive")[-1] * 1000


if __name__ == "__main__":
    main()
