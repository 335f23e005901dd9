"""Measure the API: pages of events beside a bare view, exports beside COPY, and how late the tail is."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from bisect import bisect_left
from collections.abc import Generator, Iterator
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import django
from django.contrib.auth import get_user_model
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import RequestFactory, override_settings
from django.urls import include, path, reverse
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from activity.sources.registries import registry_account
from activity.storage import positions
from repositories.accounts.authentication import TokenAuthentication
from tests.benchmarks import messages, recording, servers
from tests.benchmarks.report import Cell, Findings, Table
from tests.benchmarks.world import World
from tests.factories import new_token

VIEWERS = {"MSR admin": "admin", "a tenth of the repositories": "busy", "3 quiet repositories": "quiet-3"}
SIZES = (10, 100)
ROUNDS, REQUESTS = 5, 20
EXPORTED = 50_000
"""The number of events to export."""
SECONDS = 20.0
"""How long the tail is read while pushes are delivered."""


# --- Pages --------------------------------------------------------------------------------------


class BareView(APIView):
    """Checks the token as the API does, and answers with a page that it has in memory."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated]
    renderer_classes = [JSONRenderer]
    throttle_classes: list[Any] = []
    page: Any = None

    def get(self, request: Request) -> Response:
        return Response(self.page)


urlpatterns = [path("bare/", BareView.as_view()), path("", include("msr_project.urls"))]


@override_settings(ROOT_URLCONF=__name__)
def measure_pages() -> Findings:
    """Measure the response times of pages of events, and of the same pages from a bare view.

    Both have the middleware of the project, and are measured in turn, without a web server.
    """
    found, rows = Findings(), list[list[Cell]]()
    address, users = reverse("registry_api:events"), get_user_model()._default_manager
    for label, username in VIEWERS.items():
        token = new_token(users.get(username=username))
        for size in SIZES:
            url = f"{address}?page_size={size}"
            BareView.page = json.loads(b"".join(_get(url, token)))
            turns = [(_ms(url, token), _ms("/bare/", token)) for _ in range(ROUNDS)]
            ours, bare = (min(each) for each in zip(*turns, strict=True))
            rows.append([f"{label}, {size} events", ours, bare, bare / ours])
            found.figures[f"API page, {label}, {size}"] = bare / ours
    note = (
        "The bare view checks the token, too, and returns the same JSON from memory. The least of"
        f" {ROUNDS} turns of {REQUESTS} requests."
    )
    found.tables.append(Table("Pages of the API, ms", ["API", "bare view", "ratio"], rows, note))
    return found


_handler: Any = WSGIHandler()


def _get(url: str, token: str) -> Generator[bytes]:
    """Return the body of a response in pieces, as a web server reads it."""
    statuses: list[str] = []
    request = RequestFactory(SERVER_NAME="localhost").get(url, headers={"authorization": f"Bearer {token}"})
    response = _handler(request.environ, lambda status, headers: statuses.append(status))
    if statuses != ["200 OK"]:
        raise RuntimeError(f"{url} was answered with {statuses[0]}.")
    try:
        yield from response
    finally:
        response.close()


def _ms(url: str, token: str) -> float:
    started = time.perf_counter()
    for _ in range(REQUESTS):
        b"".join(_get(url, token))
    return (time.perf_counter() - started) / REQUESTS * 1000


# --- Exports ------------------------------------------------------------------------------------


def measure_export() -> Findings:
    """Measure how many events a second an export returns, and how many rows COPY does."""
    admin = get_user_model()._default_manager.get(username="admin")
    rows: list[list[Cell]] = []
    ratios = []
    copied = _rate(_copied())
    for format in ("jsonl", "csv"):
        url = f"{reverse('registry_api:export')}?export_format={format}"
        pieces = _get(url, new_token(admin))
        exported = _rate(line for piece in pieces for line in piece.splitlines())
        pieces.close()
        rows.append([format, exported, copied, exported / copied])
        ratios.append(exported / copied)
    table = Table("Exports, events a second", ["export", "COPY TO", "ratio"], rows)
    return Findings([table], {"export to COPY": min(ratios)})


def _copied() -> Iterator[bytes]:
    statement = f"COPY (SELECT * FROM registry_activity_event ORDER BY position LIMIT {EXPORTED}) TO STDOUT"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in copy:
            yield bytes(row)


def _rate(lines: Iterator[bytes]) -> float:
    started = time.perf_counter()
    number = sum(1 for _ in islice(lines, EXPORTED))
    return number / (time.perf_counter() - started)


# --- The tail -----------------------------------------------------------------------------------


def measure_tail(folder: Path, world: World) -> Findings:
    """Measure how long after its commit an event arrives at a reader, while pushes are recorded."""
    spawn = multiprocessing.get_context("spawn")  # database connections don't survive a fork
    token, names = new_token(registry_account()), world.names()[:2_000]
    connection.close()
    with (
        servers.web_server(folder) as address,
        servers.recorder(folder),
        spawn.Manager() as manager,
        spawn.Pool(1, django.setup) as pool,
    ):
        reads, over = manager.Event(), manager.Event()
        reader = pool.apply_async(_read_tail, (address, reads, over))
        reads.wait()
        load = recording.Site(address, address, token, names).load(messages.PUSH, 8, SECONDS)
        over.set()
        delays = [delay * 1000 for delay in reader.get()]
    p50, p99 = median(delays), quantiles(delays, n=100)[-1]
    table = Table(
        "From commit to a reader of the tail, while 8 clients deliver pushes",
        ["pushes a second", "events received", "ms", "p99"],
        [["", load.rate, len(delays), p50, p99]],
    )
    return Findings([table], {"tail, p99": p99})


def _read_tail(address: servers.Address, reads: Any, over: Any) -> list[float]:
    """Read the tail, and return how many seconds after it could be seen each event was received."""
    admin = get_user_model()._default_manager.get(username="admin")
    headers = {"Authorization": f"Bearer {new_token(admin)}", "Host": "localhost"}
    http, received = HTTPConnection(*address), list[tuple[int, float]]()
    seen: list[tuple[int, float]] = []
    watcher = threading.Thread(target=_watch, args=(seen, over))
    watcher.start()
    query = "after=9223372036854775807&page_size=1"
    while not over.is_set():
        http.request("GET", f"{reverse('registry_api:tail')}?{query}", headers=headers)
        page = json.loads(http.getresponse().read())
        received += [(event["position"], time.perf_counter()) for event in page["results"]]
        reads.set()
        query = f"after={page['position']}&page_size=1000&wait=1&fields=position"
    watcher.join()
    return [moment - seen[bisect_left(seen, (position, 0.0))][1] for position, moment in received]


def _watch(seen: list[tuple[int, float]], over: Any) -> None:
    """Note the newest position every few milliseconds, and the time at which it could be seen."""
    while not over.is_set() or not seen:
        seen.append((positions.newest(), time.perf_counter()))
        time.sleep(0.005)  # limits the error of the measured delay; a commit signals nothing
    seen.append((positions.newest(), time.perf_counter()))
    connection.close()


def measure_all(folder: Path, world: World) -> Findings:
    """Measure pages, exports and the tail."""
    found = Findings()
    for part in (measure_pages(), measure_export(), measure_tail(folder, world)):
        found.tables += part.tables
        found.figures |= part.figures
    return found
