"""Random rules, holds and events for property tests of auto-deletion, and which events must be kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dateutil.relativedelta import relativedelta
from hypothesis import strategies as st

from activity.deletion import runs
from activity.models import AutoDeletion, DeletionRule, Hold, Import, Run
from activity.storage.events import insert
from repositories.models import Namespace, Repository
from tests import factories

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
