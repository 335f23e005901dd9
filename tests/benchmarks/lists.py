"""Measures lists of events: how long they take, and how many buffers PostgreSQL reads for them."""

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
from activity.gating import without_pulls
from activity.identity import first_id
from activity.models import Event
from repositories.access.resolving import Access
from repositories.models import Repository
from repositories.names import split_name
from tests.benchmarks.world import BUSIEST, QUIET, REPOSITORIES, World

Ask = Callable[[], object]

SECONDS = 2.0
REPETITIONS = (7, 300)
"""A list is asked for so many times: at least the first, and up to the second if time allows."""


@dataclass(frozen=True)
class Measure:
    """What a list costs."""

    milliseconds: float
    buffers: int


def measure_all(world: World, events: int) -> dict[str, Measure]:
    """Measure each list while there are so many events."""
    lists = all_lists(world.moment(events // 2))
    return {label: measure(lists[label]) for label in tqdm(lists, desc="Lists", unit="list")}


def all_lists(halfway: datetime) -> dict[str, Ask]:
    """Return all lists that are measured: their first pages, and the ones that begin halfway."""
    middle = BY_TIME.page(Event.objects.filter(id__lt=first_id(halfway)), 1).next
    return {
        f"{label}, {place}": ask
        for place, cursor in (("first page", None), ("middle", middle))
        for label, ask in {**repository_lists(cursor), **lists_of_all(cursor)}.items()
    }


def repository_lists(cursor: str | None) -> dict[str, Ask]:
    """Return the ways to read the busiest repository, as its administrator."""
    name = split_name(BUSIEST)
    repository = Repository.objects.named(BUSIEST).select_related("namespace").get()
    viewer = get_user_model()._default_manager.get(username="repoadmin")
    events = with_actors(Event.objects.visible_to(Access.of(viewer), repository))
    lists: dict[str, Ask] = {}
    for pulls, exclude_pull in (("", "true"), (" with pulls", "false")):
        query = {"exclude_pull": exclude_pull, **({"cursor": cursor} if cursor else {})}
        for label, url_name in (
            ("Activity tab", "registry_activity:repository"),
            ("API", "registry_api:repository-events"),
        ):
            lists[f"{label}{pulls}"] = request("repoadmin", reverse(url_name, args=name), query)
        shown = events if pulls else without_pulls(events)
        lists[f"its query{pulls}"] = partial(BY_TIME.page, shown, 10, cursor)
    if not cursor:
        for tab in (
            "registry_repositories:info",
            "registry_activity:tags",
            "registry_repositories:permissions",
        ):
            lists[f"{tab.partition(':')[2]} tab"] = request("repoadmin", reverse(tab, args=name), {})
    return lists


def lists_of_all(cursor: str | None) -> dict[str, Ask]:
    """Return the lists of all repositories, as viewers of all, of many and of few see them."""
    lists = {}
    for whose, no_pulls, pulls in (
        ("MSR admin", "admin", "admin"),
        (f"{REPOSITORIES:,} grants", "many-read", "many-admin"),
        (f"{QUIET} quiet grants", "few-read", "few-admin"),
    ):
        for label, username, exclude_pull in (
            (f"API, {whose}", no_pulls, "true"),
            (f"API, {whose}, with pulls", pulls, "false"),
        ):
            query = {"exclude_pull": exclude_pull, **({"cursor": cursor} if cursor else {})}
            lists[label] = request(username, reverse("registry_api:events"), query)
            lists[label.replace("API", "activity")] = request(
                username, reverse("registry_activity:all"), query
            )
        if not cursor:
            lists[f"repositories, {whose}"] = request(no_pulls, reverse("registry_repositories:list"), {})
    return lists


def request(username: str, path: str, query: dict[str, str]) -> Ask:
    """Return what asks for a page as a logged-in user, through all of Django but the web server."""
    client = Client(SERVER_NAME="localhost", raise_request_exception=True)
    client.force_login(get_user_model()._default_manager.get(username=username))
    url = f"{path}?{urlencode(query)}"

    def ask() -> object:
        response = client.get(url)
        assert response.status_code == 200, response.content
        return response

    return ask


def measure(ask: Ask) -> Measure:
    """Measure one list."""
    buffers = buffers_of(ask)  # warms up, too
    fewest, most = REPETITIONS
    times: list[float] = []
    while len(times) < fewest or (sum(times) < SECONDS and len(times) < most):
        began = perf_counter()
        ask()
        times.append(perf_counter() - began)
    return Measure(milliseconds=median(times) * 1000, buffers=buffers)


def buffers_of(ask: Ask) -> int:
    """Return how many buffers are read by all queries that are made."""
    queries: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        queries.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        ask()
    return sum(buffers_of_query(*query) for query in queries if query[0].lstrip("(").startswith("SELECT"))


def buffers_of_query(sql: str, params: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
        plan = cursor.fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def table(measures: dict[int, dict[str, Measure]]) -> str:
    """Return the costs with few and with many events side by side."""
    few, many = measures
    width = max(map(len, measures[few]))
    lines = [f"  {'':{width}} {f'{few:,} events':>20} {f'{many:,} events':>20} {'time ratio':>12}"]
    for label, before in measures[few].items():
        after = measures[many][label]
        costs = (f"{cost.milliseconds:>9.2f} ms{cost.buffers:>8}" for cost in (before, after))
        lines.append(
            f"  {label:{width}} {' '.join(costs)} {after.milliseconds / before.milliseconds:>11.1f}x"
        )
    return "\n".join(lines)
