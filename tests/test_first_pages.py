"""Every first page is correct, and cheap on PostgreSQL, for every viewer and filter.

The expected pages come from the permission gate without any plan. The costs come from `EXPLAIN ANALYZE` of
the statements that a page executes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from activity.catalogue import KINDS, Type
from activity.feed import plans, reading, search, search_language
from activity.feed.filters import EventFilterSet
from activity.feed.ordering import BY_TIME
from activity.models import Event
from activity.storage import partitions
from activity.storage.events import insert
from repositories.access.resolving import Access
from repositories.models import Namespace, Repository, RepositoryUserPermission
from tests import factories

REPOSITORIES, EVENTS, MONTHS, NAMESPACES = 2_000, 200_000, 24, 40
NOW = timezone.now()
PAGE = 50
MAX_ROWS = 2_100
"""The maximum number of rows of the event table that a statement may read.

2,000 are read of a source. If nearly all events of a month match, PostgreSQL reads all of them, by their ids.
"""
MAX_ENTRIES = 10_000
"""The maximum number of index entries that a statement may read without their rows."""
MAX_BUFFERS = 3_100
"""The maximum number of buffers that a statement may read, without those that a vacuum would spare.

The most that were measured are 2,078, for 2,000 rows.
"""
MAX_BUFFERS_OF_RARE_VALUES = {"with pulls": 4_000, "without pulls": 600}
"""The maximum number of buffers for a page with a rare or absent value that has an index.

Tags and digests of pulls have no index. The most that were measured are 2,600 and 191.
"""
MAX_BUFFERS_OF_PAGE = 13_000
"""The maximum number of buffers for a page with one filter.

The most that were measured are 10,656, for a viewer who sees only the deletions in a namespace.
"""
MAX_SCANS = 250
"""The maximum number of scans of partitions that a statement may plan."""
MAX_SCANS_OF_PAGE = 550
"""The maximum number of scans that all statements of a page may plan.

Planning takes 50 to 100 µs a scan, more than executing it. The most that were measured are 468, for an actor
and a category, and the median is 60.
"""


@dataclass
class Viewers:
    """The viewers of the world, by what they see."""

    users: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, repositories: list[Repository], codename: str = "level_read") -> None:
        user = factories.UserFactory(username=name.replace(" ", "-"))
        permission = Permission.objects.get(codename=codename, content_type__model="repository")
        RepositoryUserPermission.objects.bulk_create(
            RepositoryUserPermission(user=user, permission=permission, content_object=repository)
            for repository in repositories
        )
        self.users[name] = user


FILTERS: dict[str, dict[str, list[str]]] = {
    "repository": {"common": ["n1/r1"], "rare": ["n0/r0"], "absent": ["n1/none"]},
    "namespace": {"common": ["n1"], "rare": ["n0"], "absent": ["none"]},
    "tag": {"common": ["latest"], "rare": ["rare"], "absent": ["none"]},
    "digest": {
        "common": [factories.DIGEST],
        "rare": ["sha256:" + "1" * 64],
        "absent": ["sha256:" + "0" * 64],
    },
    "actor": {"common": ["ci"], "rare": ["rare"], "absent": ["none"]},
    "type": {"common": ["UPDATE"], "rare": ["DELETE"], "absent": ["FAIL"]},
    "category": {"common": ["push"], "rare": ["promotion"], "absent": ["mirror"]},
    "search": {
        "common": ["kind:update_tag"],
        "rare": ["kind:delete_repository"],
        "absent": ["kind:scan_failed"],
    },
    "after": {
        "recent": [(NOW - timedelta(days=1)).isoformat()],
        "old": [(NOW - timedelta(days=400)).isoformat()],
    },
    "before": {"old": [(NOW - timedelta(days=400)).isoformat()]},
}
RARE = [{name: FILTERS[name][each][0]} for name in ("tag", "digest", "actor") for each in ("rare", "absent")]
ALONE = [{}, *({name: value[0]} for name, values in FILTERS.items() for value in values.values())]
PAIRS = [
    {**one, **other}
    for (a, one), (b, other) in combinations(
        [(name, {name: values[each][0]}) for name, values in FILTERS.items() for each in list(values)[:2]], 2
    )
    if a != b
]


def create_world(repositories: int, events: int, seed: int = 1) -> Viewers:
    """Create repositories, a third of which have been quiet for half a year or longer, and their events."""
    rng = random.Random(seed)
    for month in range(-MONTHS - 1, 1, 4):
        partitions.create_ahead(NOW + timedelta(days=30.4 * month))
    spaces = Namespace.objects.bulk_create(Namespace(name=f"n{n}") for n in range(NAMESPACES))
    owner = factories.UserFactory(username="owner")
    Namespace.objects.filter(name__startswith="n").update(user=owner)
    created = Repository.objects.bulk_create(
        Repository(namespace=spaces[n % NAMESPACES], name=f"r{n}", created_at=NOW)
        for n in range(repositories)
    )
    quiet, busy = created[::3], [each for n, each in enumerate(created) if n % 3]
    names = {each.pk: f"n{n % NAMESPACES}/r{n}" for n, each in enumerate(created)}
    longest = timedelta(days=30 * (MONTHS - 1))
    rows: list[Event] = []

    def flush() -> None:
        insert(rows)
        rows.clear()

    for number in range(events):
        if number % 20 == 0:
            repository = quiet[rng.randrange(len(quiet))]
            silent = timedelta(days=180 + 500 * (repository.pk % 97) / 97)
            moment = NOW - silent - rng.random() * (longest - silent)
        else:
            repository = busy[int(len(busy) * rng.random() ** 4)]
            moment = NOW - longest * rng.random() ** 2
        roll = rng.random()
        kind = (
            ("get_tag" if roll < 0.4 else "get_manifest")
            if roll < 0.7
            else "update_tag"
            if roll < 0.85
            else "create_manifest"
            if roll < 0.95
            else "scan"
            if roll < 0.98
            else "promote"
            if roll < 0.985
            else "delete_tag"
            if roll < 0.999
            else "delete_repository"
        )
        rows.append(
            factories.event_row(
                kind=kind,
                occurred_at=moment,
                repository=repository,
                repository_name=names[repository.pk],
                tag="rare" if number % 9_973 == 0 else "latest" if roll < 0.5 else f"v{number % 500}",
                digest="sha256:" + "1" * 64 if number % 9_967 == 0 else factories.DIGEST,
                actor_name="rare" if number % 9_949 == 0 else "ci" if number % 2 else f"user{number % 211}",
            )
        )
        if len(rows) == 10_000:
            flush()
    flush()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # Without names, ANALYZE would also lock shared catalogs, which other test processes use.
            cursor.execute(f"ANALYZE {', '.join(connection.introspection.table_names())}")
            # What isn't committed can't be vacuumed. Plan as if it had been, so that indexes are read alone.
            cursor.execute(
                "UPDATE pg_class SET relallvisible = relpages WHERE starts_with(relname, %s)",
                [partitions.TABLE],
            )
    viewers = Viewers()
    viewers.users["admin"] = factories.msr_admin(username="all-seeing")
    quietest = sorted(quiet, key=lambda repository: -(repository.pk % 97))
    viewers.add("everything", created)
    viewers.add("pulls of everything", created, "level_admin")
    viewers.add("busy", busy)
    viewers.add("quiet", quiet, "level_admin")
    viewers.add("150 quiet", quietest[:150])
    viewers.add("51 quiet", quiet[: 51 * 4 : 4], "level_admin")
    viewers.add("three quiet", quietest[:3], "level_admin")
    viewers.add("nothing", [])
    viewers.add("deletions", busy, "view_delete_events")
    return viewers


VIEWERS = [
    *("admin", "everything", "pulls of everything", "busy", "quiet", "150 quiet", "51 quiet", "three quiet"),
    *("nothing", "deletions"),
]


# These tests come first, because the large world exists from its first test to the end of the module.


@pytest.fixture
def small(db: None, monkeypatch: pytest.MonkeyPatch) -> Viewers:
    """A small world, in which the bounds are small, too."""
    monkeypatch.setattr(reading, "MAX_EVENTS_READ", 40)
    monkeypatch.setattr(plans, "MAX_DESCENTS", 12)
    monkeypatch.setattr(plans, "MAX_MONTHS", 3)
    return create_world(30, 600)


@pytest.mark.long
@pytest.mark.parametrize("viewer", VIEWERS)
def test_pages_can_be_followed_to_the_end_and_back(small: Viewers, viewer: str) -> None:
    access = Access.for_user(small.users[viewer])
    for text in (
        "",
        "tag:latest",
        "actor:rare",
        "type:delete",
        "kind:promote",
        "namespace:n1",
        "actor-type:user",
    ):
        plan = search_plan(access, text)
        expected = [*plan.events().order_by("-id").values_list("pk", flat=True)]

        assert follow(plan, None, "older") == expected, text
        oldest = BY_TIME.encode(Event(pk=plans.FIRST_ID), reverse=True)
        assert follow(plan, oldest, "newer") == expected[::-1], text


@pytest.mark.parametrize("viewer", ["admin", "pulls of everything"])
def test_pages_of_a_repository_can_be_followed_to_the_end(small: Viewers, viewer: str) -> None:
    access, repository = Access.for_user(small.users[viewer]), Repository.objects.get(full_name="n1/r1")
    listed = plans.Plan(Event.objects.visible_to(access, repository), access, repository)
    for text in ("tag:latest", "kind:update_tag", "actor:ci"):
        plan = search.plan(listed, search_language.parse(text, UTC, now=datetime.now(UTC)))

        assert follow(plan, None, "older") == [*plan.events().order_by("-id").values_list("pk", flat=True)]


@pytest.mark.parametrize("read", [3, 40, 400])
@pytest.mark.parametrize("text", ["type:update", "type:update -tag:v1"])
def test_pages_of_many_kinds_can_be_followed_to_the_end_and_back(
    db: None, monkeypatch: pytest.MonkeyPatch, read: int, text: str
) -> None:
    monkeypatch.setattr(reading, "MAX_EVENTS_READ", read)
    rng = random.Random(1)
    kinds = [kind.key for kind in KINDS.values() if kind.type == Type.UPDATE]
    insert(
        [
            factories.event_row(
                kind=kinds[int(len(kinds) * rng.random() ** 3)],
                occurred_at=NOW - timedelta(days=60 * rng.random()),
                tag=f"v{number % 3}",
            )
            for number in range(60)
        ]
    )
    plan = search_plan(Access.for_user(factories.msr_admin()), text)
    expected = [*plan.events().order_by("-id").values_list("pk", flat=True)]

    assert follow(plan, None, "older") == expected
    oldest = BY_TIME.encode(Event(pk=plans.FIRST_ID), reverse=True)
    assert follow(plan, oldest, "newer") == expected[::-1]


@pytest.mark.parametrize("text", ["type:update", "type:update -actor:ci"])
def test_page_of_many_kinds_is_full(db: None, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(reading, "MAX_EVENTS_READ", 320)
    kinds = [kind.key for kind in KINDS.values() if kind.type == Type.UPDATE]
    insert(
        [
            factories.event_row(
                kind=kinds[number % len(kinds)],
                occurred_at=NOW - timedelta(minutes=number),
                actor_name="ci" if number % 40 else "rare",
            )
            for number in range(300)
        ]
    )

    assert len(reading.find(search_plan(Access.for_user(factories.msr_admin()), text), 5).rows) == 5


def test_many_kinds_with_a_few_events_each_are_read_completely(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_EVENTS_READ", 320)
    monkeypatch.setattr(plans, "MAX_DESCENTS", 12)
    hidden, *visible = [factories.repository(f"acme/r{number}") for number in range(31)]
    viewers = Viewers()
    viewers.add("reader", visible)
    kinds = [kind.key for kind in KINDS.values() if kind.type == Type.UPDATE]
    for kind, repository, days in [
        *((kind, hidden, 1) for kind in kinds * 4),
        *(("create_manifest", each, 2) for each in visible),
        *(("update_tag", each, 3) for each in visible[:3]),
    ]:
        insert(
            [factories.event_row(kind=kind, repository=repository, occurred_at=NOW - timedelta(days=days))]
        )
    plan = search_plan(Access.for_user(viewers.users["reader"]), "type:update")

    assert len(follow(plan, None, "older")) == 3


@pytest.mark.parametrize("newer", [False, True])
def test_cursor_outside_the_time_range_leads_into_it(db: None, newer: bool) -> None:
    insert([factories.event_row(occurred_at=NOW - timedelta(days=number)) for number in range(6)])
    plan = search_plan(Access.for_user(factories.msr_admin()), "")
    within = plan.between(NOW - timedelta(days=4), NOW - timedelta(days=1))
    cursor = BY_TIME.encode(Event(pk=plans.FIRST_ID if newer else plans.LAST_ID), reverse=newer)

    found = [event.occurred_at for event in reading.find(within, 7, cursor).rows]

    assert found == [NOW - timedelta(days=number) for number in (2, 3, 4)]


def search_plan(access: Access, text: str) -> plans.Plan:
    listed = plans.Plan(Event.objects.visible_to(access), access)
    return search.plan(listed, search_language.parse(text, UTC, now=datetime.now(UTC)))


def follow(plan: plans.Plan, cursor: str | None, direction: str) -> list[Any]:
    """Return the ids of all events, in the order of reading."""
    ids: list[Any] = []
    while True:
        page = reading.find(plan, 7, cursor)
        found = [event.pk for event in page.rows]
        ids += found if direction == "older" else found[::-1]
        if (cursor := getattr(page, direction)) is None:
            return ids


@pytest.fixture(scope="module")
def large(django_db_setup: None, django_db_blocker: Any) -> Iterator[Viewers]:
    """A world that is created once, and rolled back after the tests."""
    with django_db_blocker.unblock():
        vacuum()
        with transaction.atomic():
            yield create_world(REPOSITORIES, EVENTS)
            transaction.set_rollback(True)


def vacuum() -> None:
    """Remove what earlier tests rolled back, in all tables. It costs buffers without counting as rows.

    After a test with 30,000 repositories, a page that reads the 2,000 of this world cost three times as much.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM (FULL) {', '.join(connection.introspection.table_names())}")


@dataclass
class Cost:
    """What a statement read."""

    sql: str
    rows: int = 0
    entries: int = 0
    buffers: int = 0
    scans: int = 0
    """The number of scans of partitions, executed or not."""

    def add(self, node: dict[str, Any]) -> None:
        of_events = node.get("Relation Name", "").startswith(partitions.TABLE)
        removed = sum(node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
        self.scans += of_events
        read = (node["Actual Rows"] + removed) * node["Actual Loops"]
        if of_events and node["Node Type"] == "Index Only Scan":
            self.entries += read
            self.buffers -= node["Heap Fetches"]
        elif of_events:
            self.rows += read
        for child in node.get("Plans", []):
            self.add(child)


@contextmanager
def explained() -> Iterator[list[Cost]]:
    """Collect what the statements that read events cost."""
    costs: list[Cost] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if connection.vendor == "postgresql" and sql.startswith("SELECT") and partitions.TABLE in sql:
            execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params, many, context)
            (plan,) = context["cursor"].fetchone()[0]
            cost = Cost(sql)
            cost.buffers = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
            cost.add(plan["Plan"])
            costs.append(cost)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield costs


def check_page(
    user: Any, filters: dict[str, str], *, full: bool, max_buffers: int | None = None
) -> list[str]:
    """Return what is wrong with a page: its rows, or its costs."""
    client = Client()
    client.force_login(user)
    with explained() as costs:
        answer = client.get("/api/v0/events/", {**filters, "page_size": str(PAGE)}).json()
    found = [row["id"] for row in answer["results"]]
    access = Access.for_user(user)
    listed = EventFilterSet(
        QueryDict(urlencode(filters)),
        Event.objects.visible_to(access),
        access=access,
        scanning_enabled=True,
        request=type("Request", (), {"user": user}),
    )
    expected = [str(pk) for pk in listed.qs.order_by("-id").values_list("pk", flat=True)[: PAGE + 1]]
    problems = []
    if found != expected[: len(found)]:
        problems.append("wrong rows")
    if len(found) < len(expected[:PAGE]) and (full or not answer["next"]):
        problems.append(f"{len(found)} rows instead of {len(expected[:PAGE])}")
    return problems + too_expensive(costs, max_buffers)


def too_expensive(costs: list[Cost], max_buffers: int | None = None) -> list[str]:
    """Return which statements of a page read too much, and whether all of them do."""
    total = sum(cost.buffers for cost in costs)
    problems = [f"{total} buffers for the page"] if max_buffers is not None and total > max_buffers else []
    if (scans := sum(cost.scans for cost in costs)) > MAX_SCANS_OF_PAGE:
        problems.append(f"{scans} scans for the page")
    return problems + [
        f"{cost.rows} rows, {cost.entries} entries, {cost.buffers} buffers, {cost.scans} scans: {cost.sql}"
        for cost in costs
        if cost.rows > MAX_ROWS
        or cost.entries > MAX_ENTRIES
        or cost.buffers > MAX_BUFFERS
        or cost.scans > MAX_SCANS
    ]


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("pulls", [True, False], ids=["with pulls", "without pulls"])
@pytest.mark.parametrize("viewer", VIEWERS)
def test_first_page_with_one_filter_is_cheap_and_full(large: Viewers, viewer: str, pulls: bool) -> None:
    without = {} if pulls else {"exclude_pull": "true"}
    problems = {}
    for filters in ALONE:
        # Tags, digests and kinds have an index for the events that aren't pulls.
        full = not (pulls and {"tag", "digest"} & set(filters))
        total = MAX_BUFFERS_OF_RARE_VALUES["with pulls" if pulls else "without pulls"]
        max_buffers = total if filters in RARE else MAX_BUFFERS_OF_PAGE
        if found := check_page(
            large.users[viewer], {**filters, **without}, full=full, max_buffers=max_buffers
        ):
            problems[str(filters)] = found

    assert problems == {}


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("viewer", VIEWERS)
def test_first_page_with_two_filters_is_cheap(large: Viewers, viewer: str) -> None:
    problems = {}
    for filters in random.Random(2).sample(PAIRS, 60):
        if found := check_page(large.users[viewer], filters, full=False):
            problems[str(filters)] = found

    assert problems == {}


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("viewer", VIEWERS)
def test_page_of_the_oldest_events_is_cheap_and_full(large: Viewers, viewer: str) -> None:
    plan = search_plan(Access.for_user(large.users[viewer]), "")
    expected = [*plan.events().order_by("id").values_list("pk", flat=True)[:PAGE]]

    with explained() as costs:
        page = reading.find(plan, PAGE, BY_TIME.encode(Event(pk=plans.FIRST_ID), reverse=True))

    assert [event.pk for event in page.rows] == expected[::-1]
    assert too_expensive(costs, MAX_BUFFERS_OF_PAGE) == []
