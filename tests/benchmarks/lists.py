"""Measure event lists: their response times, and the buffers that PostgreSQL reads for them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse
from tqdm import tqdm

from activity.api.views import with_actors
from activity.feed.ordering import BY_TIME
from activity.models import Event
from repositories.access.resolving import Access
from repositories.models import Repository
from repositories.names import split_name
from tests.benchmarks.world import BUSIEST, QUIET, REPOSITORIES, World

Request = Callable[[], object]

SECONDS = 2.0
"""The time limit for measuring one list. The minimum number of requests is sent even if that takes longer."""
REQUESTS = (7, 300)
"""The minimum and the maximum number of requests for one list."""


@dataclass(frozen=True)
class Measurement:
    """The median response time of a list, and the buffers that its queries read."""

    milliseconds: float
    buffers: int


def measure_all(world: World, events: int) -> dict[str, Measurement]:
    """Measure each list with the given number of events in the database."""
    lists = all_lists(world.moment(events // 2))
    return {label: measure(lists[label]) for label in tqdm(lists, desc="Lists", unit="list")}


def all_lists(halfway: datetime) -> dict[str, Request]:
    """Return requests for two pages of each list: the first page, and the page that starts at `halfway`."""
    middle = BY_TIME.page(Event.objects.between(before=halfway), 1).next
    return {
        f"{label}, {place}": request
        for place, cursor in (("first page", None), ("middle", middle))
        for label, request in {**repository_lists(cursor), **lists_of_all(cursor)}.items()
    }


def repository_lists(cursor: str | None) -> dict[str, Request]:
    """Return requests by the busiest repository's admin for the repository's lists."""
    name = split_name(BUSIEST)
    repository = Repository.objects.named(BUSIEST).select_related("namespace").get()
    viewer = get_user_model()._default_manager.get(username="repoadmin")
    events = with_actors(Event.objects.visible_to(Access.for_user(viewer), repository))
    lists: dict[str, Request] = {}
    for pulls, exclude_pull in (("", "true"), (" with pulls", "false")):
        query = {"exclude_pull": exclude_pull, **({"cursor": cursor} if cursor else {})}
        for label, url_name in (
            ("Activity tab", "registry_activity:repository"),
            ("API", "registry_api:repository-events"),
        ):
            lists[f"{label}{pulls}"] = create_request("repoadmin", reverse(url_name, args=name), query)
        shown = events if pulls else events.without_pulls()
        lists[f"query{pulls}"] = partial(BY_TIME.page, shown, 10, cursor)
    if not cursor:
        for tab in (
            "registry_repositories:info",
            "registry_activity:tags",
            "registry_repositories:permissions",
        ):
            lists[f"{tab.partition(':')[2]} tab"] = create_request("repoadmin", reverse(tab, args=name), {})
    return lists


def lists_of_all(cursor: str | None) -> dict[str, Request]:
    """Return requests for the lists across repositories, by viewers of all, many or a few repositories."""
    lists = {}
    for viewer, no_pulls, pulls in (
        ("MSR admin", "admin", "admin"),
        (f"{REPOSITORIES:,} grants", "many-read", "many-admin"),
        (f"{QUIET} quiet grants", "few-read", "few-admin"),
    ):
        for label, username, exclude_pull in (
            (f"API, {viewer}", no_pulls, "true"),
            (f"API, {viewer}, with pulls", pulls, "false"),
        ):
            query = {"exclude_pull": exclude_pull, **({"cursor": cursor} if cursor else {})}
            lists[label] = create_request(username, reverse("registry_api:events"), query)
            lists[label.replace("API", "activity")] = create_request(
                username, reverse("registry_activity:all"), query
            )
        if not cursor:
            lists[f"repositories, {viewer}"] = create_request(
                no_pulls, reverse("registry_repositories:list"), {}
            )
    return lists


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


def measure(request: Request) -> Measurement:
    """Repeat a request, and return its median response time and the buffers that it reads."""
    buffers = buffers_of(request)  # also warms up the caches
    minimum, maximum = REQUESTS
    times: list[float] = []
    while len(times) < minimum or (sum(times) < SECONDS and len(times) < maximum):
        started = perf_counter()
        request()
        times.append(perf_counter() - started)
    return Measurement(milliseconds=median(times) * 1000, buffers=buffers)


def buffers_of(request: Request) -> int:
    """Return the total number of buffers that a request's SELECT queries read."""
    queries: list[tuple[str, Any]] = []

    def log_query(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        queries.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(log_query):
        request()
    return sum(buffers_of_query(*query) for query in queries if query[0].lstrip("(").startswith("SELECT"))


def buffers_of_query(sql: str, params: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
        plan = cursor.fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def table(measurements: dict[int, dict[str, Measurement]]) -> str:
    """Return a table that compares the measurements with few events to those with many events."""
    few, many = measurements
    width = max(map(len, measurements[few]))
    lines = [f"  {'':{width}} {f'{few:,} events':>20} {f'{many:,} events':>20} {'time ratio':>12}"]
    for label, before in measurements[few].items():
        after = measurements[many][label]
        costs = (f"{cost.milliseconds:>9.2f} ms{cost.buffers:>8}" for cost in (before, after))
        lines.append(
            f"  {label:{width}} {' '.join(costs)} {after.milliseconds / before.milliseconds:>11.1f}x"
        )
    return "\n".join(lines)
