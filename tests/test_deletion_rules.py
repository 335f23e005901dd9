"""A run deletes exactly the events that the rules select, and a preview reports the same events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.deletion import execution, runs
from activity.models import AutoDeletion, DeletionRule, Event, Hold, Import, Run, subtract_age
from activity.storage import partitions, tallies
from activity.storage.events import insert
from repositories.models import Namespace, Repository
from tests import factories, tally_checks
from tests.worlds import rolled_back

KINDS = {
    "push": "create_manifest",
    "pull": "get_manifest",
    "delete": "delete_manifest",
    "polish": factories.UNKNOWN_KIND,
    "access": "create_grant",
    "account": "create_session",
    "failed_logins": "create_session_failed",
    "system": "export_events",
}
"""The kinds of generated events. The keys are the categories of rules."""
PERMANENT_KINDS = {"access": "delete_hold", "system": "update_auto_deletion"}
MIN_DAYS = {"access": 365, "account": 365, "failed_logins": 90, "system": 365}
"""The minimum ages of the events to delete. Only rules for these categories delete the events."""
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class RuleSpec:
    """A generated rule. The rule whose scope is `global` stands for the global setting."""

    scope: int | str
    """A repository number, a namespace name, `everywhere`, or `global`."""
    category: str
    age: tuple[int, str] | None
    max_events: int | None
    max_per: str


@dataclass(frozen=True)
class EventSpec:
    """A generated event."""

    repository: int | None
    category: str
    hours_ago: int
    imported: bool
    is_permanent: bool

    @property
    def kind(self) -> str:
        return PERMANENT_KINDS.get(self.category, "") if self.is_permanent else KINDS[self.category]


@dataclass
class World:
    """Generated repositories, rules, holds and events, and the cutoff of the run."""

    repositories: list[str]
    """The namespace of each repository."""
    rules: list[RuleSpec]
    holds: list[int | str]
    events: list[EventSpec]
    cutoff: datetime

    def namespace_of(self, event: EventSpec) -> str | None:
        return None if event.repository is None else self.repositories[event.repository]

    def rule_for(self, event: EventSpec) -> RuleSpec | None:
        """Return the rule that applies to an event, determined independently of the code under test."""
        categories = [event.category] + (["account"] if event.category == "failed_logins" else [])
        if event.category not in MIN_DAYS:
            categories.append("")
        for scope in (event.repository, self.namespace_of(event), "everywhere"):
            for category in categories:
                for rule in self.rules[:-1]:
                    if scope is not None and (rule.scope, rule.category) == (scope, category):
                        return rule
        return None if event.category in MIN_DAYS else self.rules[-1]

    def kept(self) -> set[int]:
        """Return the numbers of the events to keep, determined independently of the code under test."""
        deleted: set[int] = set()
        for rule in self.rules:
            decided = [
                (NOW - timedelta(hours=event.hours_ago), number)
                for number, event in enumerate(self.events)
                if self.rule_for(event) == rule and not self.is_held(event)
            ]
            decided = sorted((moment, number) for moment, number in decided if moment < self.cutoff)
            if rule.age:
                oldest = self.cutoff - relativedelta(**{rule.age[1]: rule.age[0]})  # type: ignore[arg-type]
                oldest = min(oldest, self.cutoff - timedelta(days=MIN_DAYS.get(rule.category, 0)))
                deleted |= {number for moment, number in decided if moment < oldest}
            if rule.max_events:
                groups = {n: 0 for _, n in decided}
                if rule.max_per == "repository":
                    groups = {n: self.events[n].repository for _, n in decided}  # type: ignore[misc]
                for group in set(groups.values()):
                    numbers = [number for _, number in decided if groups[number] == group]
                    deleted |= set(numbers[: -rule.max_events])
        return set(range(len(self.events))) - deleted

    def is_held(self, event: EventSpec) -> bool:
        return (
            event.imported
            or event.is_permanent
            or event.repository in self.holds
            or self.namespace_of(event) in self.holds
        )

    def create(self) -> list[str]:
        """Create the world in the database, and return the ids of the events."""
        namespaces = {name: Namespace.objects.create(name=name) for name in ("acme", "globex")}
        rows = [
            Repository.objects.create(namespace=namespaces[namespace], name=f"r{number}")
            for number, namespace in enumerate(self.repositories)
        ]
        self.configure(rows)
        imported = Import.objects.create(archive_name="x")
        events = [
            factories.event_row(
                kind=event.kind,
                repository=None if event.repository is None else rows[event.repository],
                occurred_at=NOW - timedelta(hours=event.hours_ago),
                imported=imported if event.imported else None,
            )
            for event in self.events
        ]
        insert(events)
        return [str(event.pk) for event in events]

    def configure(self, rows: list[Repository]) -> None:
        """Create the rules and the holds, and turn auto-deletion on."""
        namespaces = {row.name: row for row in Namespace.objects.all()}

        def target(scope: int | str) -> dict[str, Any]:
            return {"repository": rows[scope]} if isinstance(scope, int) else {"namespace": namespaces[scope]}

        for rule in self.rules[:-1]:
            age, unit = rule.age or (None, "days")
            DeletionRule.objects.create(
                **({} if rule.scope == "everywhere" else target(rule.scope)),
                category=rule.category,
                age=age,
                age_unit=unit,
                max_events=rule.max_events,
                max_per=rule.max_per,
            )
        turn_on(age=self.rules[-1].age, max_events=self.rules[-1].max_events)
        for scope in self.holds:
            Hold.objects.create(reason="An inquiry", **target(scope))


def turn_on(age: tuple[int, str] | None = None, max_events: int | None = None, archive: bool = False) -> None:
    """Turn on auto-deletion, and set these conditions in the global setting."""
    setting = AutoDeletion.get_solo()
    setting.enabled, setting.archive, setting.max_events = True, archive, max_events
    setting.age, setting.age_unit = age or (None, "months")
    setting.save()


AGES = (
    st.none()
    | st.tuples(st.integers(1, 40), st.sampled_from(["hours", "days"]))
    | st.tuples(st.integers(1, 14), st.sampled_from(["weeks", "months"]))
)
MAX_EVENTS = st.none() | st.integers(1, 4)


def rule_spec(scope: int | str, category: str, age: Any, max_events: int | None, max_per: str) -> RuleSpec:
    """Return a rule. Rules for access, account and system events have no maximum."""
    return RuleSpec(scope, category, age, None if category in MIN_DAYS else max_events, max_per)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    repositories = draw(st.lists(st.sampled_from(["acme", "globex"]), min_size=1, max_size=3))
    numbers = st.integers(0, len(repositories) - 1)
    scopes = numbers | st.sampled_from(["acme", "globex", "everywhere"])
    rules = draw(
        st.lists(
            st.builds(
                rule_spec,
                scopes,
                st.sampled_from(["", *KINDS]),
                AGES,
                MAX_EVENTS,
                st.sampled_from(["repository", "rule"]),
            ),
            unique_by=lambda rule: (rule.scope, rule.category),
            max_size=5,
        )
    )
    return World(
        repositories=repositories,
        rules=[*rules, RuleSpec("global", "", draw(AGES), draw(MAX_EVENTS), "rule")],
        holds=draw(st.lists(numbers | st.sampled_from(["acme", "globex"]), max_size=1)),
        events=draw(
            st.lists(
                st.builds(
                    EventSpec,
                    numbers | st.none(),
                    st.sampled_from(list(KINDS)),
                    st.integers(-48, 2400) | st.integers(0, 60) | st.integers(2160, 11000),
                    st.sampled_from([False, False, False, True]),
                    st.just(False),
                )
                | st.builds(
                    EventSpec,
                    numbers | st.none(),
                    st.sampled_from(list(PERMANENT_KINDS)),
                    st.integers(8000, 30000),
                    st.just(False),
                    st.just(True),
                ),
                max_size=25,
                unique_by=lambda event: event.hours_ago,
            )
        ),
        cutoff=NOW - timedelta(hours=draw(st.integers(0, 48))),
    )


def execute_run(preview: bool = False, cutoff: datetime = NOW) -> Run:
    """Execute a run, check that it finished without an error, and return the run."""
    run = runs.start("a test", preview=preview, cutoff=cutoff)
    runs.execute(run)
    run.refresh_from_db()
    assert (run.state, run.error) == ("finished", "")
    return run


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
