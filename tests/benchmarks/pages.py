"""Measure first pages: their response times, and what PostgreSQL reads for them.

The statements are explained while the page is computed, with the settings and in the transaction of the page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse
from tqdm import tqdm

from activity.models import Event
from repositories.names import split_name
from tests.benchmarks.report import Cell, Findings, Table
from tests.benchmarks.world import BUSIEST, World

Request = Callable[[], object]

SECONDS = 0.4
"""The time limit for measuring one page. At least `MINIMUM` requests are sent, even if that takes longer."""
MINIMUM, MAXIMUM = 3, 100
SIZE = 50
"""The number of events on a page of the API."""
VIEWERS = {
    "MSR admin": "admin",
    "read on everything": "reader-everywhere",
    "a tenth of the repositories, the busiest": "busy",
    "a tenth of the repositories, all quiet": "quiet",
    "150 quiet": "quiet-150",
    "51 quiet": "quiet-51",
    "3 quiet": "quiet-3",
    "no grants": "no-grants",
    "deletions alone": "deletions",
}
MAX_MS, MAX_BUFFERS, MAX_ROWS, MAX_ENTRIES = 10, 2_000, 2_000, 10_000
"""The targets for a page: the time and the buffers of all its statements, and what one reads."""


# --- Viewers and filters ------------------------------------------------------------------------


def measure_matrix(world: World, start: datetime) -> Findings:
    """Measure the first page of the API for each viewer and filter."""
    filters = all_filters(world, start)
    costs = {
        (viewer, label): cost_of(
            create_request(username, reverse("registry_api:events"), {"page_size": str(SIZE), **query})
        )
        for viewer, username in tqdm(VIEWERS.items(), desc="Viewers", unit="viewer")
        for label, query in filters.items()
    }
    rows: list[list[Cell]] = [
        [label, *(f"{costs[viewer, label].ms:.1f} / {costs[viewer, label].buffers:,}" for viewer in VIEWERS)]
        for label in filters
    ]
    over = sorted(
        ((cost, *key) for key, cost in costs.items() if not cost.is_within_targets),
        key=lambda entry: -entry[0].buffers,
    )
    worst: list[list[Cell]] = [
        [f"{viewer}: {label}", cost.ms, cost.buffers, cost.rows, cost.entries]
        for cost, viewer, label in over[:15]
    ]
    return Findings(
        [
            Table(
                f"Viewers × filters: first page of {SIZE} events in the API, ms / buffers of its statements",
                list(VIEWERS),
                rows,
            ),
            Table(
                f"The pages above the targets ({len(over)} of {len(costs)}), of which these read the most",
                ["ms", "buffers", "rows of one statement", "index entries of one statement"],
                worst,
            ),
        ],
        {
            "pages above the targets": len(over),
            "slowest page, ms": max(cost.ms for cost in costs.values()),
            "largest page, buffers": max(cost.buffers for cost in costs.values()),
        },
    )


def all_filters(world: World, start: datetime) -> dict[str, dict[str, str]]:
    """Return the queries to measure, by label: each filter with common, rare and absent values, and pairs."""
    middle = start + (world.slices * world.slice) / 2
    month = {"after": middle.isoformat(), "before": (middle + timedelta(days=30)).isoformat()}
    quiet = world.quiet(1)[0]
    newest = Event.objects.without_pulls().order_by("-id")
    digest = newest.filter(kind="create_manifest")[0].digest
    of_quiet = Event.objects.filter(repository__full_name=quiet).exclude(digest="").order_by("id")[0]
    rare_tag = Event.objects.filter(tag__startswith="v").order_by("id")[0].tag
    absent = f"sha256:{0:064x}"
    return {
        "no filter": {},
        "no filter, without pulls": {"exclude_pull": "true"},
        "repository, busiest": {"repository": BUSIEST},
        "repository, quiet": {"repository": quiet},
        "repository, absent": {"repository": "team-1/none"},
        "namespace, common": {"namespace": "team-1"},
        "namespace, absent": {"namespace": "none"},
        "tag, common": {"tag": "latest"},
        "tag, rare": {"tag": rare_tag},
        "tag, absent": {"tag": "none"},
        "digest, new": {"digest": digest},
        "digest, old": {"digest": of_quiet.digest},
        "digest, absent": {"digest": absent},
        "actor, common": {"actor": "person-1"},
        "actor, rare": {"actor": "person-4321"},
        "actor, absent": {"actor": "nobody"},
        "type DELETE": {"type": "DELETE"},
        "type FAIL, absent": {"type": "FAIL"},
        "kind delete_tag": {"search": "kind:delete_tag"},
        "kind, absent": {"search": "kind:delete_repository"},
        "category push": {"category": "push"},
        "category mirror, absent": {"category": "mirror"},
        "a month in the middle": month,
        "a month, type DELETE": {**month, "type": "DELETE"},
        "a month, digest absent": {**month, "digest": absent},
        "repository, busiest; actor, rare": {"repository": BUSIEST, "actor": "person-4321"},
        "repository, busiest; tag, absent": {"repository": BUSIEST, "tag": "none"},
        "repository, quiet; type DELETE": {"repository": quiet, "type": "DELETE"},
        "namespace, common; actor, rare": {"namespace": "team-1", "actor": "person-4321"},
        "actor, rare; type DELETE": {"actor": "person-4321", "type": "DELETE"},
        "tag, common; actor, rare": {"tag": "latest", "actor": "person-4321"},
    }


# --- Response times at several sizes ------------------------------------------------------------


def measure_responses() -> dict[str, float]:
    """Return the median response times of pages, and the times of the statements of some, in milliseconds."""
    requests = all_pages()
    times = {
        label: median_ms(request) for label, request in tqdm(requests.items(), desc="Pages", unit="page")
    }
    statements = {
        f"{label}, statements alone": cost_of(request).ms
        for label, request in requests.items()
        if label.startswith("API")
    }
    return times | statements


def all_pages() -> dict[str, Request]:
    """Return requests for pages, as their viewers send them."""
    everything, name = reverse("registry_activity:all"), split_name(BUSIEST)
    admin = reverse("admin:registry_activity_event_changelist")
    pulls = {"exclude_pull": "false"}
    pages: dict[str, tuple[str, str, dict[str, str]]] = {
        "Activity tab of the busiest repository": (
            "repoadmin",
            reverse("registry_activity:repository", args=name),
            {},
        ),
        "Activity tab, with pulls": ("repoadmin", reverse("registry_activity:repository", args=name), pulls),
        "Tags tab": ("repoadmin", reverse("registry_activity:tags", args=name), {}),
        "Activity, MSR admin": ("admin", everything, pulls),
        "Activity, a tenth of the repositories": ("busy", everything, pulls),
        "Activity, 3 quiet repositories": ("quiet-3", everything, pulls),
        "API, MSR admin": ("admin", reverse("registry_api:events"), {}),
        "API, a tenth of the repositories": ("busy", reverse("registry_api:events"), {}),
        "API, 3 quiet repositories": ("quiet-3", reverse("registry_api:events"), {}),
        "API, digest that isn't there": (
            "admin",
            reverse("registry_api:events"),
            {"digest": f"sha256:{0:064x}"},
        ),
        "Admin list": ("admin", admin, {}),
        "Admin list, type:delete": ("admin", admin, {"q": "type:delete"}),
        "Admin list, repo: and actor:": ("admin", admin, {"q": f"repo:{BUSIEST} actor:person-7"}),
        "Admin list, ip: that isn't there": ("admin", admin, {"q": "ip:172.16.0.1"}),
    }
    return {label: create_request(*page) for label, page in pages.items()}


def responses_table(responses: dict[str, dict[str, float]]) -> Table:
    """Return a table of response times. `responses` maps the numbers of events to what was measured."""
    first = next(iter(responses.values()))
    rows: list[list[Cell]] = [[label, *(times[label] for times in responses.values())] for label in first]
    return Table("Whole requests, ms", [f"{int(size):,} events" for size in responses], rows)


def create_request(username: str, path: str, query: dict[str, str]) -> Request:
    """Return a function that requests a page as a user, using Django's test client, not a web server."""
    client = Client(SERVER_NAME="localhost", raise_request_exception=True)
    client.force_login(get_user_model()._default_manager.get(username=username))
    url = f"{path}?{urlencode(query)}"

    def send() -> object:
        response = client.get(url)
        assert response.status_code == 200, response.content
        return response

    return send


def median_ms(request: Request) -> float:
    """Repeat a request, and return its median response time in milliseconds."""
    request()  # warms up the caches
    times: list[float] = []
    while len(times) < MINIMUM or (sum(times) < SECONDS and len(times) < MAXIMUM):
        started = perf_counter()
        request()
        times.append(perf_counter() - started)
    return median(times) * 1000


# --- What statements read -----------------------------------------------------------------------


@dataclass
class Cost:
    """What the statements of a page cost."""

    ms: float = 0.0
    """The time for planning and executing all of them."""
    buffers: int = 0
    """The pages that all of them read from memory or disk."""
    rows: int = 0
    """The rows of events that one statement read, at most."""
    entries: int = 0
    """The index entries that one statement read without the rows, at most."""

    @property
    def is_within_targets(self) -> bool:
        return (
            self.ms <= MAX_MS
            and self.buffers <= MAX_BUFFERS
            and self.rows <= MAX_ROWS
            and self.entries <= MAX_ENTRIES
        )

    def add(self, explained: dict[str, Any]) -> None:
        plan = explained["Plan"]
        self.ms += explained["Planning Time"] + explained["Execution Time"]
        self.buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        nodes = list(_nodes(plan))
        self.rows = max(self.rows, sum(_read(node) for node in nodes if not _is_index_only(node)))
        self.entries = max(self.entries, sum(_read(node) for node in nodes if _is_index_only(node)))


def cost_of(request: Request) -> Cost:
    """Return what the statements about events cost during a request, the second time it is sent."""
    cost = Cost()

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip("( \n").startswith(("SELECT", "WITH")) and "registry_activity_" in sql and not many:
            cursor = context["cursor"]
            execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params, many, context)
            (explained,) = cursor.fetchone()
            cost.add((json.loads(explained) if isinstance(explained, str) else explained)[0])
        return execute(sql, params, many, context)

    request()
    with connection.execute_wrapper(explain):
        request()
    return cost


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _is_index_only(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Index Only Scan"


def _read(node: dict[str, Any]) -> int:
    """Return how many events a scan read, including those that didn't match."""
    if not node.get("Relation Name", "").startswith("registry_activity_event"):
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return round((node["Actual Rows"] + removed) * node["Actual Loops"])
