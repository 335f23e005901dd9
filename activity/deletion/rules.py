"""Which rule decides for an event, and which events go by it. Everything that deletes asks here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from activity.deletion.models import AutoDeletion, DeletionRule, Hold, Import, oldest_kept
from activity.identity import first_id
from activity.models import Event
from repositories.levels import Category
from repositories.models import Repository

GLOBAL = "The global setting"
EARLIEST = UUID(int=0)


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

    def decides_for(self, repository: int, namespace: int, category: str) -> bool:
        """Tell whether an event of this repository, namespace and category is covered."""
        return (
            self.repository in (None, repository)
            and self.namespace in (None, namespace)
            and self.category in ("", category)
        )

    def age_bound(self, cutoff: datetime) -> UUID:
        """Return the id from which on events are young enough to stay."""
        return first_id(oldest_kept(cutoff, self.age, self.age_unit)) if self.age else EARLIEST


@dataclass(frozen=True)
class Portion:
    """Events that go by one rule: a set-based condition, with an id up to which they go."""

    rule: Rule
    condition: Q
    bound: UUID
    """The first id that stays."""

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


def current_holds() -> dict[str, list[int]]:
    """Return what is held now: repositories, namespaces, and imports not released."""
    return {key: list(rows) for key, rows in _live_holds().items()}


def _live_holds() -> dict[str, QuerySet]:
    return {
        "repositories": Hold.objects.exclude(repository=None).values_list("repository", flat=True),
        "namespaces": Hold.objects.exclude(namespace=None).values_list("namespace", flat=True),
        "imports": Import.objects.filter(released_at=None).values_list("pk", flat=True),
    }


def holds_on(repository: Repository) -> QuerySet[Hold]:
    """Return the holds that exempt a repository's events."""
    return Hold.objects.filter(Q(repository=repository) | Q(namespace=repository.namespace_id))


def snapshot() -> dict[str, Any]:
    """Return the settings as a run keeps them."""
    return {"rules": [asdict(rule) for rule in current_rules()], "holds": current_holds()}


def deciding_rule(rules: list[Rule], repository: Repository, category: str) -> Rule:
    """Return the one rule that decides for a repository's events of a category."""
    return next(r for r in rules if r.decides_for(repository.pk, repository.namespace_id, category))


def portions(settings: dict[str, Any], cutoff: datetime) -> Iterator[Portion]:
    """Yield what goes, rule by rule, by the settings of a `snapshot`. No event is in two of them."""
    for rule, condition in _decided(settings):
        for part, maximum in _counted_apart(rule, condition, cutoff):
            bound = max(rule.age_bound(cutoff), _max_bound(maximum, part, cutoff))
            if bound > EARLIEST:
                yield Portion(rule, part, bound)


def ranges(settings: dict[str, Any], cutoff: datetime) -> list[Portion]:
    """Return, for each rule, what it decides for, and up to where all of that goes.

    So an event that isn't held, and isn't before the bound of its rule's range, may stay: where a rule
    keeps a number of events for each repository, what goes by that isn't told from what stays.
    """
    found = []
    for rule, condition in _decided(settings):
        maximum = None if rule.max_per_repository else rule.max_events
        bound = max(rule.age_bound(cutoff), _max_bound(maximum, condition, cutoff))
        found.append(Portion(rule, condition, bound))
    return found


def _decided(settings: dict[str, Any]) -> Iterator[tuple[Rule, Q]]:
    """Yield each rule with the condition of the events that it decides for."""
    rules = [Rule(**rule) for rule in settings["rules"]]
    exempt = held(settings["holds"])
    for number, rule in enumerate(rules):
        condition = rule.covers() & ~exempt
        for decided_before in rules[:number]:
            condition &= ~decided_before.covers()
        yield rule, condition


def held(holds: dict[str, list[int]]) -> Q:
    """Return the condition of events that are exempt: by the holds given, and by those set since.

    The latter are looked up whenever the condition is, so a hold counts from the next batch on.
    """
    return _exempt(holds, _live_holds())


def held_now(holds: dict[str, list[int]]) -> Q:
    """Return the same as it is at the moment: nothing to look up, and so no rows to read if none are held."""
    return _exempt(holds, current_holds())


def _exempt(*several: Mapping[str, Any]) -> Q:
    exempt = Q()
    for held in several:
        in_namespaces = Repository.objects.filter(namespace__in=held["namespaces"]).values("pk")
        exempt |= Q(repository__in=held["repositories"]) | Q(repository__in=in_namespaces)
        exempt |= Q(imported__in=held["imports"])
    return exempt


def _counted_apart(rule: Rule, condition: Q, cutoff: datetime) -> Iterator[tuple[Q, int | None]]:
    """Yield conditions that together are the given one, each with the maximum that counts for it.

    Where that counts for each repository, they are one for each repository that has more events, and
    one for all the others. Those without a repository count as one.
    """
    if not rule.max_events or not rule.max_per_repository:
        yield condition, rule.max_events
        return
    events = Event.objects.filter(condition, id__lt=first_id(cutoff)).order_by().values("repository")
    crowded = events.annotate(events=Count("pk")).filter(events__gt=rule.max_events)
    repositories = list(crowded.values_list("repository", flat=True))
    for repository in repositories:
        yield condition & Q(repository=repository), rule.max_events
    if None in repositories:
        condition &= Q(repository__isnull=False)
    yield condition & ~Q(repository__in=repositories), None


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
