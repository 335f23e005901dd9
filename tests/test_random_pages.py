"""Following the pages of a list finds each event once, however little is read for a page.

The bounds of `plans` and `reading` are so small here that they matter for some dozens of events.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from guardian.shortcuts import assign_perm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.catalogue import KINDS, Type
from activity.feed import plans, reading, search, search_language
from activity.feed.ordering import BY_TIME
from activity.models import Event
from activity.storage import partitions
from activity.storage.events import insert
from repositories.access import resolving
from repositories.access.resolving import Access
from repositories.models import Namespace, Repository
from tests import factories

MONTHS = 8
NOW = datetime.now(UTC)
COMMON_KINDS = ["get_tag", "get_manifest", "update_tag", "create_manifest", "scan", "promote", "delete_tag"]
GRANTS = {
    "reader": ("level_read", slice(None)),
    "admin of some": ("level_admin", slice(1, None, 2)),
    "admin of all": ("level_admin", slice(None)),
    "deletions": ("view_delete_events", slice(None)),
    "promotions": ("view_promotion_events", slice(2, None)),
}
BOUNDS: dict[tuple[Any, str], list[int]] = {
    (reading, "MAX_EVENTS_READ"): [4, 12, 40, 400],
    (reading, "MAX_ENTRIES_READ"): [8, 40, 400],
    (reading, "ROUNDS"): [1, 2, 4],
    (plans, "MAX_DESCENTS"): [2, 6, 20, 200],
    (plans, "MAX_MONTHS"): [1, 3, 60],
    (resolving, "MAX_IDS"): [2, 100, 100],
}
SEARCHES = [
    *[""] * 6,
    *["type:update"] * 2,
    *("type:delete", "type:update namespace:n1", "kind:promote", "category:pull", "-category:pull", "tag:v1"),
    *("actor:rare", "actor:ci", "namespace:n1", "repo:n0/r0", "-actor:ci", "actor-type:user"),
    *("actor:ci tag:v1", "kind:update_tag namespace:n0", "kind:update_tag,promote,delete_tag"),
    "digest:sha256:" + "1" * 64,
]


@pytest.fixture
def viewers(db: None) -> dict[str, Any]:
    """Create repositories that went out of use at different times, and return viewers by name."""
    rng = random.Random(1)
    for month in range(MONTHS + 2):
        partitions.create_ahead(NOW - timedelta(days=30 * month))
    owner = factories.UserFactory()
    spaces = [Namespace.objects.create(name=f"n{number}", user=owner) for number in range(3)]
    repositories = [
        Repository.objects.create(
            namespace=spaces[n % 3], name=f"r{n}", visibility="private" if n % 8 else "public"
        )
        for n in range(40)
    ]
    deleted = Repository.objects.create(namespace=spaces[0], name="deleted", deleted_at=NOW)
    users = {
        "MSR admin": factories.msr_admin(),
        "reader of a namespace": factories.user_with("level_read", spaces[1]),
        "no grants": factories.UserFactory(),
    }
    for name, (codename, chosen) in GRANTS.items():
        users[name] = factories.UserFactory()
        for repository in [*repositories, deleted][chosen]:
            assign_perm(codename, users[name], repository)
    insert(random_events(rng, [*repositories, deleted], [*users.values()]))
    return users


def random_events(rng: random.Random, repositories: list[Repository], users: list[Any]) -> list[Event]:
    """Return events of repositories, a few of which have many, of accounts, and of many kinds."""
    longest = timedelta(days=30 * MONTHS)
    used_until = {
        (each.pk, kind): NOW - longest * rng.random() for each in repositories for kind in COMMON_KINDS
    }
    rows = []
    for number in range(240):
        repository = repositories[int(len(repositories) * rng.random() ** 3)]
        kind = rng.choice(COMMON_KINDS)
        last = used_until[repository.pk, kind]
        rows.append(
            factories.event_row(
                kind=kind,
                occurred_at=last - (last - NOW + longest) * rng.random() ** 2,
                repository=repository,
                tag=f"v{number % 3}",
                digest="sha256:" + "1" * 64 if number % 11 == 0 else factories.DIGEST,
                actor_name="rare" if number % 17 == 0 else "ci" if number % 2 else "dana",
            )
        )
    rows += [
        factories.event_row(
            kind=kind.key, occurred_at=NOW - longest * rng.random(), repository=rng.choice(repositories)
        )
        for kind in KINDS.values()
        for _ in range(4)
        if kind.type == Type.UPDATE
    ]
    for number in range(40):
        actor, subject = rng.choice(users), rng.choice(users)
        rows.append(
            factories.event_row(
                kind="create_session" if number % 2 else "update_user",
                occurred_at=NOW - longest * rng.random(),
                repository=None,
                actor_user=actor,
                subject_user=subject,
            )
        )
    return rows


@pytest.mark.long
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    viewer=st.sampled_from(["MSR admin", "reader of a namespace", "no grants", *GRANTS]),
    text=st.sampled_from(SEARCHES),
    days=st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 240), st.integers(0, 240))),
    size=st.sampled_from([1, 3, 10]),
    newer=st.sampled_from([False, False, True]),
    bounds=st.fixed_dictionaries({bound: st.sampled_from(values) for bound, values in BOUNDS.items()}),
)
def test_each_event_is_found_once(
    viewers: dict[str, Any],
    viewer: str,
    text: str,
    days: tuple[int, int] | None,
    size: int,
    newer: bool,
    bounds: dict[tuple[Any, str], int],
) -> None:
    def plan() -> plans.Plan:
        access = Access.for_user(viewers[viewer])
        listed = plans.Plan(Event.objects.visible_to(access), access)
        found = search.plan(listed, search_language.parse(text, UTC, now=NOW))
        return (
            found.between(*(NOW - timedelta(days=each) for each in sorted(days, reverse=True)))
            if days
            else found
        )

    expected = [*plan().events().order_by("id" if newer else "-id").values_list("pk", flat=True)]

    with limited_to(bounds):
        assert [*follow(plan(), size, newer)] == expected


@contextmanager
def limited_to(bounds: dict[tuple[Any, str], int]) -> Iterator[None]:
    """Change the bounds during the block."""
    with ExitStack() as stack:
        for (module, name), value in bounds.items():
            stack.enter_context(patch.object(module, name, value))
        yield


def follow(plan: plans.Plan, size: int, newer: bool) -> Iterator[Any]:
    """Yield the ids of the events on all pages, in the order of reading."""
    cursor = BY_TIME.encode(Event(pk=plans.FIRST_ID), reverse=True) if newer else None
    while True:
        page = reading.find(plan, size, cursor)
        ids = [event.pk for event in page.rows]
        yield from reversed(ids) if newer else ids
        if (cursor := page.newer if newer else page.older) is None:
            return
