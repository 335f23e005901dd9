"""Measure how fast notifications are received and recorded, beside the simplest sites that could do it.

Everything is measured in turn, in several rounds, so that a change in the machine's speed affects all alike.
The recorder runs all the time, on the same cores.
"""

from __future__ import annotations

import cProfile
import gc
import json
import multiprocessing
import pstats
import random
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import django
from django.db import connection
from tqdm import tqdm

from tests.benchmarks import messages, peers, servers
from tests.benchmarks.load import Load, deliver
from tests.benchmarks.report import Cell, Findings, Table
from tests.benchmarks.world import World

CLIENTS = (1, 8)
ROUNDS = 3
PROFILED = 15
"""How many modules the profile lists."""
SECONDS = 1.5
LONG_SECONDS = {1: 20.0, 8: 60.0}
"""How long pushes are delivered to see whether the recorder keeps up, by the number of clients."""
PATH = "/api/v0/notifications/registry"
BESIDE = ("empty", "raw", "harbor", "quay", "auditlog")
OURS = (messages.PUSH, messages.PULL, messages.PULL_BY_DIGEST, messages.HEAD, messages.LAYER)
COMPARED_TO = {**dict.fromkeys(OURS, "raw"), messages.LAYER: "empty"}


@dataclass
class Site:
    """The servers to measure, and who delivers the messages."""

    application: servers.Address
    bare: servers.Address
    token: str
    names: list[str]

    def load(self, subject: str, clients: int, seconds: float) -> Load:
        """Deliver new messages of one kind, or, to the bare site, pushes."""
        rng = random.Random(time.time_ns())  # message ids must not repeat in a later round
        headers = {
            "Host": "localhost",
            "Authorization": f"Bearer {self.token}",
            "User-Agent": "Go-http-client/1.1",
        }
        ours = subject in OURS
        path, kind = (PATH, subject) if ours else (f"{peers.PATH}?{subject}", messages.PUSH)
        requests = messages.requests(path, headers, kind, self.names, rng)
        return deliver(self.application if ours else self.bare, requests, clients, seconds)


@contextmanager
def running_site(folder: Path, world: World) -> Iterator[Site]:
    """Run both web servers, with the tables that the bare site needs."""
    from activity.sources.registries import registry_account
    from tests.factories import new_token

    token = new_token(registry_account())
    for peer in (peers.RAW, *peers.PEERS):
        peers.drop(peer)
        peers.create(peer)
    connection.close()
    servers.set_commit_delay(0)  # in case the benchmarks were killed while the disk was slow
    with ExitStack() as stack:
        application = stack.enter_context(servers.web_server(folder))
        beside = stack.enter_context(servers.web_server(folder, "tests.benchmarks.bare:application"))
        yield Site(application, beside, token, world.names()[:2_000])
    for peer in (peers.RAW, *peers.PEERS):
        peers.drop(peer)


def measure_all(folder: Path, world: World) -> Findings:
    """Measure recording on a fast and on a slow disk, and whether the recorder keeps up."""
    found, few = Findings(), ("raw", messages.PUSH, messages.PULL)
    with running_site(folder, world) as site:
        _measure_rates(site, few, "recorder stopped, ", found, between=empty_journal)
        with servers.recorder(folder):
            _wait_for_recorder()
            _measure_rates(site, (*BESIDE, *OURS), "", found)
            with servers.slow_disk():
                _measure_rates(site, few, "slow disk, ", found)
            _wait_for_recorder()
            _measure_visibility(site, found)
    return found


def empty_journal() -> None:
    """Empty the journal, because answers are slowed down when thousands of messages wait."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE registry_activity_journalentry")


def _measure_rates(
    site: Site,
    subjects: tuple[str, ...],
    prefix: str,
    found: Findings,
    between: Callable[[], None] = lambda: None,
) -> None:
    loads: dict[tuple[str, int], Load] = {
        (subject, clients): Load() for subject in subjects for clients in CLIENTS
    }
    turns = [key for _ in range(ROUNDS) for key in loads]
    for subject in subjects:
        site.load(subject, 8, 0.5)  # connects to the database, and fills the caches
    for key in tqdm(turns, desc=f"{prefix}deliveries", unit="turn"):
        between()
        loads[key] += site.load(key[0], key[1], SECONDS)
    rows: list[list[Cell]] = []
    for subject in subjects:
        row: list[Cell] = [f"our {subject}" if subject in OURS else f"bare: {subject}"]
        for clients in CLIENTS:
            load, base = loads[subject, clients], COMPARED_TO.get(subject, "raw")
            ratio = load.rate / loads[base, clients].rate if (base, clients) in loads else None
            row += [load.rate, load.median_ms, load.p99_ms, ratio]
            if ratio is not None and subject in OURS:
                found.figures[f"{prefix}{subject}, {clients}"] = ratio
        rows.append([*row, max(loads[subject, clients].client_ms for clients in CLIENTS)])
    columns = [
        f"{clients} client{'s' * (clients > 1)}: {name}"
        for clients in CLIENTS
        for name in ("a second", "ms", "p99", "ratio")
    ]
    note = (
        "Ratios are to the bare site's raw INSERT and commit, for layers to its empty view, with as many"
        f" clients. Each figure is from {ROUNDS} turns of {SECONDS} seconds."
    )
    title = f"Deliveries, {prefix or 'recorder running, '}".removesuffix(", ")
    found.tables.append(Table(title, [*columns, "client's CPU, ms a request"], rows, note))
    if "empty" in subjects:
        found.figures["client's CPU, ms"] = max(loads["empty", clients].client_ms for clients in CLIENTS)


# --- Accepted and visible -----------------------------------------------------------------------


def _measure_visibility(site: Site, found: Findings) -> None:
    """Deliver pushes for a minute, and measure when others become visible, and how many messages wait."""
    spawn = multiprocessing.get_context("spawn")  # database connections don't survive a fork
    rows: list[list[Cell]] = []
    for clients in CLIENTS:
        with spawn.Manager() as manager, spawn.Pool(1, django.setup) as pool:
            over = manager.Event()
            probe = pool.apply_async(_probe, (site.application, site.token, over))
            load = site.load(messages.PUSH, clients, LONG_SECONDS[clients])
            waiting = backlog()
            over.set()
            delays = [delay * 1000 for delay in probe.get()]
        _wait_for_recorder()
        p50, p99 = median(delays), quantiles(delays, n=100)[-1]
        label = f"{clients} client{'s' * (clients > 1)}, {LONG_SECONDS[clients]:.0f} seconds"
        rows.append([label, load.rate, p50, p99, waiting])
        found.figures |= {f"visible p99, {clients}": p99, f"backlog, {clients}": waiting}
    columns = ["pushes a second", "visible after, ms", "p99", "waiting at the end"]
    found.tables.append(Table("From accepted to visible, while pushes are delivered", columns, rows))


def _probe(address: servers.Address, token: str, over: Any) -> list[float]:
    """Deliver pushes one by one, and return how many seconds after the response each was visible."""
    from activity.models import Event
    from activity.recording.drafts import Delivery
    from activity.sources import notification_parser
    from activity.sources.registries import registry_account

    rng, account, delays = random.Random(1), registry_account(), []
    http = HTTPConnection(*address)
    while not over.is_set():
        body = messages.fill(
            messages.PUSH,
            rng,
            datetime.now(UTC),
            repository="acme/web",
            tag="probe",
            digest=f"sha256:{rng.getrandbits(256):064x}",
            actor="person-1",
        )
        id = notification_parser.parse(body, Delivery(account.pk)).drafts[0].event_id
        http.request(
            "POST", PATH, body, {"Authorization": f"Bearer {token}", "Content-Type": messages.CONTENT_TYPE}
        )
        response = http.getresponse()
        assert response.status < 300, response.read()
        response.read()
        accepted = time.perf_counter()
        while not Event.objects.filter(pk=id).exists():
            time.sleep(0.005)  # limits the error of the measured delay; the recorder signals nothing
        delays.append(time.perf_counter() - accepted)
        time.sleep(0.05)  # so that the next message finds the recorder at rest
    return delays


def backlog() -> int:
    """Return the number of messages that were accepted, but not yet recorded."""
    from activity.models import JournalEntry

    return JournalEntry.objects.count()


def _wait_for_recorder() -> None:
    while backlog():
        time.sleep(0.1)  # the recorder signals nothing


# --- In bulk ------------------------------------------------------------------------------------


def measure_bulk(world: World) -> Findings:
    """Measure how many events a second are recorded when thousands of messages wait."""
    from activity.models import Event
    from activity.sources import recorder
    from tests.benchmarks.world import BATCH, record

    thresholds = gc.get_threshold()
    recorder.collect_garbage_rarely()
    rows: list[list[Cell]] = []
    figures = {}
    for name, label, mixed in (
        ("known", "all repositories known", False),
        ("mixed", "with new repositories, HEADs and dead letters", True),
    ):
        found = list(_waiting(world, mixed))
        before = Event.objects.count()
        seconds = sum(record(found[start : start + BATCH]) for start in range(0, len(found), BATCH))
        events = Event.objects.count() - before
        rows.append([label, len(found), events, len(found) / seconds, events / seconds])
        figures[f"bulk, {name}"] = events / seconds
    columns = ["messages", "events", "messages a second", "events a second"]
    tables = [Table("Messages that wait, recorded in bulk", columns, rows), _profile(world)]
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    return Findings(tables, figures)


def _profile(world: World) -> Table:
    """Return which modules the recorder spends its time in, apart from the functions that they call."""
    from tests.benchmarks.world import BATCH, record

    batch = list(islice(_waiting(world, mixed=True), BATCH))
    profile = cProfile.Profile(time.process_time)
    profile.runcall(record, batch)
    seconds: Counter[str] = Counter()
    for function, (*_, own, _, callers) in vars(pstats.Stats(profile))["stats"].items():
        if function[0] == "~":  # built in, so it is counted for the modules that call it
            seconds.update({_module(caller[0]): counts[2] for caller, counts in callers.items()})
        else:
            seconds[_module(function[0])] += own
    rows: list[list[Cell]] = [
        [name, 100 * own / seconds.total()] for name, own in seconds.most_common(PROFILED)
    ]
    note = "CPU time of the recorder alone, for a mixture. The profiler makes short functions look expensive."
    return Table("Where the recorder's time goes", ["%"], rows, note)


def _module(path: str) -> str:
    """Return the path of a module from the folder of this project, the packages, or Python's library."""
    path = path.rpartition("site-packages/")[2].removeprefix(f"{servers.PROJECT}/")
    return path.removeprefix(f"{sysconfig.get_path('stdlib')}/")


def _waiting(world: World, mixed: bool) -> Iterator[tuple[datetime, bytes]]:
    rng, now, names = random.Random(time.time_ns()), datetime.now(UTC), world.names()
    kinds = [messages.PUSH, messages.PULL, messages.PULL, messages.PULL_BY_DIGEST]
    for number in range(10_000):
        kind, repository = rng.choice(kinds), rng.choice(names)
        if mixed and number % 5 == 0:
            kind = messages.HEAD
        if mixed and number % 100 == 1:
            kind, repository = messages.PUSH, f"team-1/new-{rng.getrandbits(64):x}"
        digest = f"sha256:{rng.getrandbits(256):064x}"
        values = {
            "repository": repository,
            "tag": f"v{number % 50}",
            "digest": digest,
            "actor": messages.person(rng),
        }
        body = messages.fill(kind, rng, now, **values)
        yield now, json.dumps({"events": [number]}).encode() if mixed and number % 200 == 7 else body
