"""Tallies match the events after recording, deletion and folding in any order."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from activity.feed import chart_counts
from activity.identity import first_id
from activity.models import Event, LedgerEntry, Tally, TallyChange
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.storage import events as event_storage
from activity.storage import tallies
from activity.storage.events import insert
from repositories.access import resolving
from repositories.access.resolving import Access
from repositories.models import Repository
from repositories.utils.among import MAX_LISTED
from tests import factories, tally_checks

pytestmark = pytest.mark.django_db

START = datetime(2026, 9, 28, 22, 47, 11, 250_000, tzinfo=UTC)
AGES = timedelta(days=9_999)
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
    (timedelta(days=-150), timedelta(days=49)),
]


@pytest.fixture
def outsider() -> Any:
    """A user without grants."""
    return factories.UserFactory(username="outsider")


@pytest.fixture
def repositories(outsider: Any, monkeypatch: pytest.MonkeyPatch) -> list[Repository]:
    """Two repositories with 150 folded events from one day, and 150 unfolded events spread over 50 days.

    There are also events without a repository. The tallies of half hours are kept.
    """
    monkeypatch.setattr(tallies, "KEPT_HALF_HOURS", AGES)
    rng = random.Random(5)
    repositories = [factories.repository("acme/web"), factories.repository("acme/api", public=True)]
    moments = [START + timedelta(days=1) * rng.random() for _ in range(150)]
    moments += [START + timedelta(days=50) * rng.random() for _ in range(150)]
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
    record_in_tens(drafts[:150])
    assert tallies.fold()
    record_in_tens(drafts[150:])
    factories.record("delete_events", "", occurred_at=START)
    record_events(
        [
            factories.draft("create_session", "", occurred_at=moment, actor_name="outsider")
            for moment in moments[::20]
        ]
    )
    return repositories


def record_in_tens(drafts: list[Draft]) -> None:
    """Record ten events at a time, so that several changes to the same tally are stored."""
    for start in range(0, len(drafts), 10):
        record_events(drafts[start : start + 10])


def all_viewers(repository: Repository, outsider: Any) -> dict[str, Access]:
    """Return an `Access` for each kind of viewer."""
    return {
        "outsider": Access.for_user(outsider),
        "reader": Access.for_user(factories.user_with("level_read", repository)),
        "repoadmin": Access.for_user(factories.user_with("level_admin", repository.namespace)),
        "auditor": Access.for_user(factories.auditor()),
        "msr admin": Access.for_user(factories.msr_admin()),
    }


def list_events(
    access: Access, repository: Repository | None, after: datetime | None, before: datetime | None
) -> list[Event]:
    """Return the events that the viewer can see in a time range."""
    events = Event.objects.visible_to(access, repository)
    if after:
        events = events.filter(id__gte=first_id(after))
    if before:
        events = events.filter(id__lt=first_id(before))
    return list(events)


@pytest.mark.parametrize(("since", "until"), RANGES)
@pytest.mark.parametrize(
    ("exclude_pull", "kept", "zone", "max_listed"),
    [
        (True, tallies.KEPT_HALF_HOURS, "UTC", 0),
        (False, AGES, "Australia/Lord_Howe", MAX_LISTED),
        (False, AGES, "UTC", 0),
    ],
)
def test_every_visible_event_is_counted_in_its_bucket(
    repositories, outsider, since, until, exclude_pull, kept, zone, max_listed, monkeypatch
):
    monkeypatch.setattr(tallies, "KEPT_HALF_HOURS", kept)
    see_many_repositories(monkeypatch, max_listed)
    after = None if since is None else START + since
    before = None if until is None else START + until
    for access in all_viewers(repositories[0], outsider).values():
        for repository in [None, *repositories]:
            buckets = chart_counts.count_by_tallies(
                access,
                repository=repository,
                after=after,
                before=before,
                exclude_pull=exclude_pull,
                zone=ZoneInfo(zone),
            )
            found = list_events(access, repository, after, before)
            if exclude_pull:
                found = [event for event in found if not event.is_pull]
            assert len(buckets) <= chart_counts.MAX_BUCKETS + 1
            for bucket in buckets:
                inside = [event for event in found if bucket.start <= event.occurred_at < bucket.end]
                assert bucket.counts == Counter(event.category for event in inside)
            assert sum(bucket.counts.total() for bucket in buckets) == len(found)
            for bucket, following in pairwise(buckets):
                assert bucket.end == following.start


def see_many_repositories(monkeypatch: pytest.MonkeyPatch, max_listed: int = 0) -> None:
    """Count the events as for viewers of many repositories, if `max_listed` is 0."""
    monkeypatch.setattr(chart_counts, "MAX_LISTED", max_listed)


@pytest.mark.parametrize(("max_ids", "many"), [(5_000, True), (0, True), (5_000, False)])
def test_long_charts_of_many_repositories_have_buckets_of_four_weeks(
    repositories, max_ids, many, monkeypatch
):
    access = Access.for_user(factories.user_with("level_admin", repositories[0]))
    monkeypatch.setattr(resolving, "MAX_IDS", max_ids)
    if many:
        see_many_repositories(monkeypatch)
    end = START + timedelta(days=365)
    first = START - timedelta(days=10)  # in the middle of four weeks
    factories.record("create_manifest", repositories[0], digest="sha256:1", occurred_at=first)

    buckets = chart_counts.count_by_tallies(access, before=end)

    if many:
        assert len(buckets) == 15
        assert {b.end - b.start for b in buckets[:-1]} == {tallies.FOUR_WEEKS}
        assert buckets[0].start == tallies.floor(first, tallies.FOUR_WEEKS)
    else:
        assert len(buckets) == 55
        assert {b.end - b.start for b in buckets[1:-1]} == {tallies.WEEK}
        assert buckets[0].start == tallies.floor(first, tallies.HALF_HOUR)
    assert sum(b.total for b in buckets) == Event.objects.visible_to(access).count()


def test_charts_of_four_weeks_read_no_tallies_of_weeks_and_days(repositories, monkeypatch):
    tallies.fold()
    see_many_repositories(monkeypatch)
    access = Access.for_user(factories.user_with("level_admin", repositories[0]))
    read = lambda: chart_counts.count_by_tallies(access, before=START + timedelta(days=365))  # noqa: E731
    before = read()

    inner = Tally.objects.filter(start__gte=before[1].start, start__lt=before[-1].start)
    assert inner.exclude(unit=Tally.Unit.FOUR_WEEKS).delete()[0] > 100

    assert before[1].total > 0
    assert read() == before


def test_folding_does_not_change_any_count(repositories):
    access = Access.for_user(factories.msr_admin())
    read = lambda: chart_counts.count_by_tallies(access, before=START + timedelta(days=60))  # noqa: E731
    before = read()
    assert tallies.fold() > 0
    assert not TallyChange.objects.exists()
    assert read() == before


def test_event_delivered_twice_is_counted_once(repositories):
    event = Event.objects.latest("id")
    count = TallyChange.objects.count()
    assert insert([event]) == []
    assert TallyChange.objects.count() == count


def test_tallies_that_reach_zero_are_deleted(repositories):
    tallies.fold()
    changes = Counter({tallies.cell_of(event): 0 for event in Event.objects.all()})
    for event in Event.objects.all():
        changes[tallies.cell_of(event)] -= 1
    tallies.record_changes(changes)
    tallies.fold()
    assert not Tally.objects.exists()


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, SEEDS))])
def test_tallies_match_events_after_recording_deletion_and_folding_in_random_order(seed, monkeypatch):
    rng = random.Random(seed)
    if seed % 2 == 0:
        monkeypatch.setattr(tallies, "KEPT_HALF_HOURS", AGES)
    monkeypatch.setattr(tallies, "FOLD_BATCH", 5)
    monkeypatch.setattr(tallies, "DELETE_BATCH", 7)
    drop_tallies, dropped_counts = tallies.drop, list[Counter]()
    monkeypatch.setattr(
        tallies,
        "drop",
        lambda *args, by_repository, cause: dropped_counts.append(
            drop_tallies(*args, by_repository=True, cause=cause)
        ),
    )
    repositories = [None, factories.repository("acme/web"), factories.repository("acme/api")]
    first = tallies.floor(START, tallies.WEEK)

    kinds: list[dict[str, Any]] = [{"category": category} for category in ("push", "pull", "scan")]
    kinds.append({"category": "pull", "pull": UUID(int=1)})

    def record() -> None:
        insert(
            [
                factories.event_row(
                    occurred_at=first + timedelta(days=28) * rng.random(),
                    repository=rng.choice(repositories),
                    **rng.choice(kinds),
                )
                for _ in range(rng.randint(1, 25))
            ]
        )

    def count_events() -> Counter[tuple[int | None, str]]:
        return Counter(Event.objects.values_list("repository", "category"))

    def delete_whole_days() -> None:
        start = first + timedelta(days=rng.randrange(28))
        end = start + timedelta(days=rng.randint(1, 10))
        deletable = Event.objects.exclude(repository=rng.choice(repositories[1:])).exclude(category="scan")
        groups = rng.choice([["pull"], ["other"], ["other", "pull"]])
        before = count_events()
        with transaction.atomic():
            event_storage.delete_days(
                rng.choice([deletable, Event.objects.all()]), groups, start, end, "run 1"
            )
        assert dropped_counts.pop() == before - count_events()

    def delete() -> None:
        with transaction.atomic():
            event_storage.delete_events(
                Event.objects.filter(id__lt=first_id(first + timedelta(days=28) * rng.random())), "run 2"
            )

    # On SQLite, deletion never uses `delete_days`.
    drops = [delete_whole_days] * 4 if connection.vendor == "postgresql" else []
    steps = [record] * 6 + drops + [delete] + [tallies._fold_batch] * 10 + [tallies.fold]
    for _ in range(40):
        rng.choice(steps)()
        days = rng.choice([5, 20, 40, 200])
        begin = first + timedelta(days=rng.randint(-20, 27), hours=rng.randrange(24))
        zone = rng.choice([UTC, ZoneInfo("Asia/Kolkata")])
        tally_checks.assert_tallies_match_events(begin, begin + timedelta(days=days), zone)
        assert_ledger_matches_events()
    tallies.fold()
    assert_ledger_matches_events()
    for days in (5, 40, 200):
        tally_checks.assert_tallies_match_events(first, first + timedelta(days=days))
    with transaction.atomic():
        event_storage.delete_events(Event.objects.all(), "run 3")
    tallies.fold()
    assert not Tally.objects.exists()


def assert_ledger_matches_events() -> None:
    """Check that the ledger, with what has not been folded yet, accounts for the events of each day."""
    changes = TallyChange.objects.exclude(cause=TallyChange.RECOUNTED)
    expected: Counter[date] = Counter()
    for day, number in LedgerEntry.objects.values_list("day", "events"):
        expected[day] += number
    for start, number in changes.values_list("start", "events"):
        expected[start.date()] += number
    actual = Counter(moment.date() for moment in Event.objects.values_list("occurred_at", flat=True))
    assert {day: number for day, number in expected.items() if number} == actual


def test_counts_can_be_limited_to_some_repositories(repositories):
    access = Access.for_user(factories.msr_admin())
    within = Repository.objects.filter(name="api")
    buckets = chart_counts.count_by_tallies(access, within=within)
    assert sum(b.counts.total() for b in buckets) == Event.objects.filter(repository__in=within).count()


def test_counting_takes_two_queries(repositories):
    access = Access.for_user(factories.user_with("level_admin", repositories[0]))
    with CaptureQueriesContext(connection) as queries:
        chart_counts.count_by_tallies(access, repository=repositories[0])
    assert len(queries) == 2


def test_user_without_grants_sees_the_count_of_their_own_logins(outsider):
    event = factories.record("create_session", "", actor_name="outsider")
    (bucket,) = [
        bucket for bucket in chart_counts.count_by_tallies(Access.for_user(outsider)) if bucket.counts
    ]
    assert bucket.start <= event.occurred_at < bucket.end
    assert bucket.counts == {"account": 1}
