"""Which rule decides for an event, and which events go by it. Everything that deletes asks here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from math import inf
from typing import Any
from uuid import UUID

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from activity.identity import first_id
from activity.models import AutoDeletion, DeletionRule, Event, Hold, Import, oldest_kept
from repositories.access.levels import Category
from repositories.models import Repository

GLOBAL = "The global setting"
EARLIEST = UUID(int=0)
GROUP = 50
"""Repositories at most of which events are deleted together."""
GROUP_EVENTS = 20_000
"""Events that such repositories have together, unless it is one."""

Holds = dict[str, list[int]]
"""The ids of repositories, namespaces and imports that are held."""


@dataclass(frozen=True)
class Rule:
    """A rule as a run keeps it: plain data that outlives changes of the settings."""

    name: str
    repository: int | None = None
    namespace: int | None = None
    category: str = ""
    age: int | None = None
    age_unit: str = "months"
    max_events: int | None = None
    max_per_repository: bool = False

    @property
    def precedence(self) -> tuple[bool, bool, bool, bool]:
        """Sorts the most specific rule first, and the global setting last."""
        return (self.repository is None, self.namespace is None, self.category == "", self.name == GLOBAL)

    def covers(self) -> Q:
        """Return the condition of events that this rule could decide for."""
        condition = Q(pk__isnull=False)  # so that its negation is nothing: that of an empty Q is everything
        if self.repository is not None:
            condition &= Q(repository=self.repository)
        if self.namespace is not None:
            condition &= Q(repository__in=Repository.objects.filter(namespace=self.namespace).values("pk"))
        if self.category:
            # Whether it is a pull follows; saying so spares PostgreSQL the other partitions.
            condition &= Q(category=self.category, is_pull=self.category == Category.PULL)
        return condition

    def decides_for(self, repository: int | None, namespace: int | None, category: str) -> bool:
        """Tell whether an event of this repository, namespace and category is covered."""
        return (
            self.repository in (None, repository)
            and self.namespace in (None, namespace)
            and self.category in ("", category)
        )

    def decides_for_all(self, *, pulls: bool) -> bool:
        """Tell whether all pulls, or all others, are covered."""
        is_everywhere = self.repository is None and self.namespace is None
        return is_everywhere and self.category in ("", *([Category.PULL] if pulls else []))

    def age_bound(self, cutoff: datetime) -> UUID:
        """Return the id from which on events are young enough to stay."""
        return first_id(oldest_kept(cutoff, self.age, self.age_unit)) if self.age else EARLIEST


@dataclass(frozen=True)
class Portion:
    """Events that go by one rule, unless they are held: a set-based condition, and up to which id they go."""

    rule: Rule
    condition: Q
    bound: UUID
    """The first id that stays."""
    most: float = inf
    """How many events it is of at most, if that is known."""
    lanes: tuple[bool, ...] = ()
    """Whether it is of all pulls (True), and of all else (False), but for what other rules decide about."""

    def events(self) -> QuerySet[Event]:
        return Event.objects.filter(self.condition, id__lt=self.bound)


def current_rules() -> list[Rule]:
    """Return the rules in force, the most specific first."""
    setting = AutoDeletion.get_solo()
    rules = [
        rule_of(row) for row in DeletionRule.objects.select_related("repository__namespace", "namespace")
    ]
    rules.append(Rule(GLOBAL, age=setting.age, age_unit=setting.age_unit, max_events=setting.max_events))
    return sorted(rules, key=lambda rule: rule.precedence)


def current_holds() -> Holds:
    """Return what is held now: repositories, namespaces, and imports not released."""
    rows: dict[str, QuerySet] = {
        "repositories": Hold.objects.exclude(repository=None).values_list("repository", flat=True),
        "namespaces": Hold.objects.exclude(namespace=None).values_list("namespace", flat=True),
        "imports": Import.objects.filter(released_at=None).values_list("pk", flat=True),
    }
    return {key: list(row) for key, row in rows.items()}


def holds_on(repository: Repository) -> QuerySet[Hold]:
    """Return the holds that exempt a repository's events."""
    return Hold.objects.filter(Q(repository=repository) | Q(namespace=repository.namespace_id))


def snapshot() -> dict[str, Any]:
    """Return the settings as a run keeps them."""
    return {"rules": [asdict(rule) for rule in current_rules()], "holds": current_holds()}


def deciding_rule(rules: list[Rule], repository: Repository, category: str) -> Rule:
    """Return the one rule that decides for a repository's events of a category."""
    return next(r for r in rules if r.decides_for(repository.pk, repository.namespace_id, category))


def held(holds: Holds) -> Q:
    """Return the condition of events that are exempt now: by the holds given, and by those set since.

    It names rows by their ids, so that PostgreSQL finds them, or that there are none, by an index.
    """
    now = current_holds()
    either = {key: {*holds[key], *now[key]} for key in now}
    repositories = Repository.objects.filter(namespace__in=either["namespaces"]).values_list("pk", flat=True)
    exempt = Q(repository__in=sorted(either["repositories"].union(repositories)))
    return exempt | Q(imported__in=sorted(either["imports"]))


def ranges(settings: dict[str, Any], cutoff: datetime) -> list[Portion]:
    """Return, for each rule of a `snapshot`, what it decides for, and up to where all of that goes.

    Where a rule keeps a number of events for each repository, more than that goes: see `portions`.
    """
    exempt = held(settings["holds"])
    rules = [Rule(**rule) for rule in settings["rules"]]
    found = []
    lanes = {False, True}
    for number, rule in enumerate(rules):
        condition = rule.covers()
        for decided_before in rules[:number]:
            condition &= ~decided_before.covers()
        maximum = None if rule.max_per_repository else rule.max_events
        bound = max(rule.age_bound(cutoff), _max_bound(maximum, condition & ~exempt, cutoff))
        its_lanes = {is_pull for is_pull in lanes if rule.decides_for_all(pulls=is_pull)}
        lanes -= its_lanes
        found.append(Portion(rule, condition, bound, lanes=tuple(sorted(its_lanes))))
    return found


def portions(ranges: list[Portion], holds: Holds, cutoff: datetime) -> list[Portion]:
    """Return all that goes. No event is in two of them."""
    found: list[Portion] = []
    for portion in ranges:
        if portion.rule.max_events and portion.rule.max_per_repository:
            found += _by_repository(portion, ~held(holds), cutoff)
        else:
            found.append(portion)
    return [portion for portion in found if portion.bound > EARLIEST]


def _by_repository(portion: Portion, not_held: Q, cutoff: datetime) -> Iterator[Portion]:
    """Yield what goes by a maximum for each repository: of those that have more, some at a time, and of
    the others by age. Events without a repository count as of one.
    """
    maximum = portion.rule.max_events or 0
    events = Event.objects.filter(portion.condition, not_held, id__lt=first_id(cutoff)).order_by()
    counts = events.values_list("repository").annotate(events=Count("pk")).filter(events__gt=maximum)
    crowded = dict(counts.order_by())
    oldest_kept = events.filter(repository=OuterRef("pk")).order_by("-id").values("id")[maximum - 1 : maximum]
    bounds: dict[int | None, UUID] = dict(
        Repository.objects.filter(pk__in=[pk for pk in crowded if pk is not None])
        .annotate(bound=Subquery(oldest_kept))
        .values_list("pk", "bound")
    )
    for group in _groups(crowded):
        those, bound = Q(), EARLIEST
        for repository in group:
            its = Q(repository=repository) if repository else Q(repository__isnull=True)
            first_kept = bounds.get(repository) or _max_bound(
                maximum, portion.condition & not_held & its, cutoff
            )
            those |= its & Q(id__lt=max(first_kept, portion.bound))
            bound = max(bound, first_kept, portion.bound)
        most = sum(crowded[repository] for repository in group)
        yield Portion(portion.rule, portion.condition & those, bound, most)
    others = ~Q(repository__in=[pk for pk in crowded if pk is not None])
    if None in crowded:
        others &= Q(repository__isnull=False)
    yield Portion(portion.rule, portion.condition & others, portion.bound)


def _groups(crowded: dict[int | None, int]) -> Iterator[list[int | None]]:
    """Divide repositories into groups that have few events, or a single one that has many."""
    group: list[int | None] = []
    events = 0
    for repository, count in crowded.items():
        if group and (events + count > GROUP_EVENTS or len(group) == GROUP):
            yield group
            group, events = [], 0
        group.append(repository)
        events += count
    if group:
        yield group


def _max_bound(max_events: int | None, condition: Q, cutoff: datetime) -> UUID:
    """Return the id of the oldest event to be kept, the earliest possible if all may be."""
    if not max_events:
        return EARLIEST
    events = Event.objects.filter(condition, id__lt=first_id(cutoff)).order_by("-id")
    oldest_and_next = list(events.values_list("id", flat=True)[max_events - 1 : max_events + 1])
    return oldest_and_next[0] if len(oldest_and_next) == 2 else EARLIEST


def rule_of(row: DeletionRule) -> Rule:
    """Return a stored rule as plain data."""
    return Rule(
        name=str(row),
        repository=row.repository_id,
        namespace=row.namespace_id,
        category=row.category,
        age=row.age,
        age_unit=row.age_unit,
        max_events=row.max_events,
        max_per_repository=row.max_per == DeletionRule.MaxPer.REPOSITORY,
    )
