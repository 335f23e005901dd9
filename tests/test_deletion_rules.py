"""A run deletes exactly the events that the rules select, and a preview reports the same events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.deletion import execution
from activity.models import AutoDeletion, DeletionRule, Event, Run, subtract_age
from activity.storage import partitions, tallies
from activity.storage.events import insert
from repositories.models import Repository
from tests import factories, tally_checks
from tests.deletion_worlds import KINDS, MIN_DAYS, NOW, World, execute_run, turn_on, worlds
from tests.worlds import rolled_back


@pytest.fixture(autouse=True)
def small_batches_without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PAUSE", 0)
    monkeypatch.setattr(execution, "BATCH_SIZE", 3)


@pytest.mark.long
@pytest.mark.django_db
@settings(suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    archive=st.booleans(),
    day_batch=st.integers(1, 12),
    folded=st.booleans(),
    days=st.sampled_from([30, 200]),  # for 30 days, charts have daily buckets; for 200 days, weekly buckets
)
def test_run_deletes_exactly_the_events_selected_by_rules_and_reported_by_preview(
    world: World,
    archive: bool,
    day_batch: int,
    folded: bool,
    days: int,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "MAX_EVENTS_OF_DAYS", day_batch)
    settings.STORAGES = {"archives": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}
    with rolled_back():
        partitions.create_ahead(datetime(2025, 12, 1, tzinfo=UTC))  # lets the run drop whole months
        ids = world.create()
        AutoDeletion.objects.update(archive=archive)
        if folded:
            tallies.fold()
        kept = {ids[number] for number in world.kept()}

        preview = execute_run(preview=True, cutoff=world.cutoff)
        assert Event.objects.count() == len(ids)
        run = execute_run(cutoff=world.cutoff)

        remaining = Event.objects.exclude(kind="delete_events")
        assert {str(pk) for pk in remaining.values_list("pk", flat=True)} == kept
        assert run.deleted == preview.expected == len(ids) - len(kept)
        assert counts_by_rule(run) == counts_by_rule(preview)
        deleted = Counter(
            {"failed_logins": "account", "polish": "unknown"}.get(event.category, event.category)
            for event, id in zip(world.events, ids, strict=True)
            if id not in kept
        )
        total: Counter[str] = sum((Counter(entry) for entry in counts_by_rule(run).values()), Counter())
        assert total == deleted
        assert Event.objects.filter(kind="delete_events").count() == bool(deleted)

        tally_checks.assert_tallies_match_events(NOW - timedelta(days=days), NOW + timedelta(days=3))
        tallies.fold()
        tally_checks.assert_tallies_match_events(NOW - timedelta(days=days), NOW + timedelta(days=3))


@pytest.mark.django_db
def test_rule_of_a_repository_for_all_categories_covers_only_repository_events(web: Repository) -> None:
    long_ago = NOW - timedelta(days=1000)
    for kind in ("create_grant", "create_manifest"):
        insert([factories.event_row(kind=kind, repository=web, occurred_at=long_ago)])
    DeletionRule.objects.create(repository=web, age=1, age_unit="hours")
    turn_on()

    execute_run(cutoff=NOW)

    assert [event.kind for event in Event.objects.filter(repository=web)] == ["create_grant"]


@pytest.mark.django_db
@pytest.mark.parametrize("category", MIN_DAYS)
def test_access_account_and_system_events_are_kept_for_a_minimum_time_whatever_the_rule_says(
    category: str,
) -> None:
    minimum = timedelta(days=MIN_DAYS[category])
    younger, older = (
        factories.event_row(kind=KINDS[category], occurred_at=NOW - minimum + difference)
        for difference in (timedelta(minutes=1), timedelta(minutes=-1))
    )
    insert([younger, older])
    DeletionRule.objects.create(category=category, age=1, age_unit="hours")
    turn_on()

    execute_run(cutoff=NOW)

    assert Event.objects.exclude(kind="delete_events").get().pk == younger.pk


def counts_by_rule(run: Run) -> dict[str, dict[str, int]]:
    return {rule: entry["categories"] for rule, entry in run.report.items() if entry["events"]}


@pytest.mark.parametrize(
    ("cutoff", "age", "oldest"),
    [
        ("2026-03-31T00:00", (1, "months"), "2026-02-28T00:00"),
        ("2024-03-31T00:00", (1, "months"), "2024-02-29T00:00"),
        ("2024-02-29T00:00", (12, "months"), "2023-02-28T00:00"),
        ("2026-01-15T00:00", (2, "months"), "2025-11-15T00:00"),
        ("2026-03-29T03:00", (1, "days"), "2026-03-28T03:00"),
        ("2026-11-22T12:30", (36, "hours"), "2026-11-21T00:30"),
        ("2026-11-22T12:30", (2, "weeks"), "2026-11-08T12:30"),
    ],
)
def test_age_is_calculated_with_calendar_months_in_utc(
    cutoff: str, age: tuple[int, str], oldest: str
) -> None:
    assert subtract_age(datetime.fromisoformat(cutoff), *age) == datetime.fromisoformat(oldest)
