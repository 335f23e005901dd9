"""The counts of events by time agree with the events, whatever comes, goes or is folded."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from activity.feed import counting
from activity.identity import first_id
from activity.models import Event, Tally, TallyChange
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.storage import events as event_storage
from activity.storage import tallies
from activity.storage.events import insert
from repositories.access.resolving import Access
from repositories.models import Repository
from tests import factories, tally_checks

pytestmark = pytest.mark.django_db

START = datetime(2026, 9, 28, 22, 47, 11, 250_000, tzinfo=UTC)
SEEDS = 5
KINDS = ["create_manifest", "get_manifest", "delete_manifest", "promote", "scan"]
RANGES = [
    (None, None),
    (timedelta(), None),
    (None, timedelta(days=20)),
    (timedelta(hours=5, minutes=3), timedelta(hours=6, minutes=59)),
    (timedelta(hours=5, minutes=3), timedelta(hours=27, minutes=8)),
    (timedelta(days=1), timedelta(days=3)),
    (timedelta(days=2, seconds=1), timedelta(days=40, minutes=31)),
    (timedelta(days=90), timedelta(days=91)),
    (timedelta(days=3), timedelta(days=2)),
]


@pytest.fixture
def outsider() -> Any:
    return factories.UserFactory(username="outsider")


@pytest.fixture
def repositories(outsider: Any) -> list[Repository]:
    """Two repositories with events over fifty days, many in the first of them; half are folded."""
    chance = random.Random(5)
    repositories = [factories.repository("acme/web"), factories.repository("acme/api", public=True)]
    moments = [START + timedelta(days=1) * chance.random() for _ in range(150)]
    moments += [START + timedelta(days=50) * chance.random() for _ in range(150)]
    drafts = [
        factories.draft(
            KINDS[number % len(KINDS)],
            repositories[number % 2],
            occurred_at=moment,
            digest="sha256:1",
            tag="v1",
        )
        for number, moment in enumerate(moments)
    ]
    record_by_tens(drafts[:150])
    assert tallies.fold()
    record_by_tens(drafts[150:])
    factories.record("delete_events", "", occurred_at=START)
    record_events(
        [
            factories.draft("create_session", "", occurred_at=moment, actor_name="outsider")
            for moment in moments[::20]
        ]
    )
    return repositories


def record_by_tens(drafts: list[Draft]) -> None:
    """Record ten at a time: as of several that come one by one, there are many changes of one count."""
    for start in range(0, len(drafts), 10):
        record_events(drafts[start : start + 10])


def viewers(repository: Repository, outsider: Any) -> dict[str, Access]:
    return {
        "outsider": Access.of(outsider),
        "reader": Access.of(factories.person_with("level_read", repository)),
        "repoadmin": Access.of(factories.person_with("level_admin", repository.namespace)),
        "auditor": Access.of(factories.auditor()),
        "msr admin": Access.of(factories.msr_admin()),
    }


def listed(
    access: Access, repository: Repository | None, after: datetime | None, before: datetime | None
) -> list[Event]:
    events = Event.objects.visible_to(access, repository)
    if after:
        events = events.filter(id__gte=first_id(after))
    if before:
        events = events.filter(id__lt=first_id(before))
    return list(events)


@pytest.mark.parametrize(("since", "until"), RANGES)
@pytest.mark.parametrize("exclude_pull", [True, False])
def test_every_event_that_could_be_listed_is_counted_in_its_bucket(
    repositories, outsider, since, until, exclude_pull
):
    after = None if since is None else START + since
    before = None if until is None else START + until
    for access in viewers(repositories[0], outsider).values():
        for repository in [None, *repositories]:
            buckets = counting.by_tallies(
                access, repository=repository, after=after, before=before, exclude_pull=exclude_pull
            )
            found = listed(access, repository, after, before)
            if exclude_pull:
                found = [event for event in found if not event.is_pull]
            assert len(buckets) <= counting.MAX_BUCKETS + 1
            for bucket in buckets:
                inside = [event for event in found if bucket.start <= event.occurred_at < bucket.end]
                assert bucket.counts == Counter(event.category for event in inside)
            assert sum(bucket.counts.total() for bucket in buckets) == len(found)
            for bucket, following in pairwise(buckets):
                assert bucket.end == following.start


def test_folding_changes_no_count(repositories):
    access = Access.of(factories.msr_admin())
    read = lambda: counting.by_tallies(access, before=START + timedelta(days=60))  # noqa: E731
    before = read()
    assert tallies.fold() > 0
    assert not TallyChange.objects.exists()
    assert read() == before


def test_an_event_that_comes_again_is_counted_once(repositories):
    event = Event.objects.latest("id")
    count = TallyChange.objects.count()
    assert insert([event]) == []
    assert TallyChange.objects.count() == count


def test_what_went_leaves_no_tally(repositories):
    tallies.fold()
    gone = Counter({tallies.cell_of(event): 0 for event in Event.objects.all()})
    for event in Event.objects.all():
        gone[tallies.cell_of(event)] -= 1
    tallies.change(gone)
    tallies.fold()
    assert not Tally.objects.exists()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_comes_goes_and_is_folded_in_any_order(seed, monkeypatch):
    chance = random.Random(seed)
    monkeypatch.setattr(tallies, "FOLDED", 5)
    monkeypatch.setattr(tallies, "REMOVED", 7)
    drop_tallies, counted = tallies.drop, list[Counter]()
    monkeypatch.setattr(
        tallies,
        "drop",
        lambda *given, by_repository: counted.append(drop_tallies(*given, by_repository=True)),
    )
    repositories = [None, factories.repository("acme/web"), factories.repository("acme/api")]
    first = tallies.floor(START, tallies.WEEK)

    def record() -> None:
        insert(
            [
                factories.event_row(
                    occurred_at=first + timedelta(days=28) * chance.random(),
                    category=chance.choice(["push", "pull", "scan"]),
                    repository=chance.choice(repositories),
                )
                for _ in range(chance.randint(1, 25))
            ]
        )

    def there() -> Counter[tuple[int | None, str]]:
        return Counter(Event.objects.values_list("repository", "category"))

    def drop() -> None:
        start = first + timedelta(days=chance.randrange(28))
        end = start + timedelta(days=chance.randint(1, 10))
        going = Event.objects.exclude(repository=chance.choice(repositories[1:])).exclude(category="scan")
        lanes = chance.choice([[True], [False], [False, True]])
        before = there()
        with transaction.atomic():
            event_storage.remove_days(chance.choice([going, Event.objects.all()]), lanes, start, end)
        assert counted.pop() == before - there()

    def remove() -> None:
        with transaction.atomic():
            event_storage.remove(
                Event.objects.filter(id__lt=first_id(first + timedelta(days=28) * chance.random()))
            )

    drops = [drop] * 4 if connection.vendor == "postgresql" else []  # which alone drops whole days
    steps = [record] * 6 + drops + [remove] + [tallies._fold_some] * 10 + [tallies.fold]
    for _ in range(40):
        chance.choice(steps)()
        days = chance.choice([5, 40, 200])
        begin = first + timedelta(days=chance.randint(-20, 27), hours=chance.randrange(24))
        tally_checks.assert_right(begin, begin + timedelta(days=days))
    tallies.fold()
    for days in (5, 40, 200):
        tally_checks.assert_right(first, first + timedelta(days=days))
    with transaction.atomic():
        event_storage.remove(Event.objects.all())
    tallies.fold()
    assert not Tally.objects.exists()


def test_some_repositories(repositories):
    access = Access.of(factories.msr_admin())
    within = Repository.objects.filter(name="api")
    buckets = counting.by_tallies(access, within=within)
    assert sum(b.counts.total() for b in buckets) == Event.objects.filter(repository__in=within).count()


def test_a_fixed_number_of_queries(repositories):
    access = Access.of(factories.person_with("level_admin", repositories[0]))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        counting.by_tallies(access, repository=repositories[0])
    assert len(queries) == 3


def test_ones_own_log_ins_alone(outsider):
    event = factories.record("create_session", "", actor_name="outsider")
    (bucket,) = [bucket for bucket in counting.by_tallies(Access.of(outsider)) if bucket.counts]
    assert bucket.start <= event.occurred_at < bucket.end
    assert bucket.counts == {"account": 1}
