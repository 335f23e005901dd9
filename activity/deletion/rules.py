"""Deletion rules: which rule applies to an event, and which events each rule deletes.

Previews and deletions both get the events to delete from this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import inf
from uuid import UUID

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext_noop

from activity.catalogue import FAILED_LOGIN, OWN_CATEGORIES
from activity.identity import first_id
from activity.models import FAILED_LOGINS, MIN_AGES, AutoDeletion, DeletionRule, Event, subtract_age
from activity.storage import partitions
from repositories.access.levels import Category
from repositories.models import Repository
from repositories.utils.text import untranslated

GLOBAL_RULE_NAME = gettext_noop("Registry-wide setting")
DEFAULT_RULE_NAME = gettext_noop("Default")
EARLIEST = UUID(int=0)
MAX_REPOSITORIES = 50
"""The maximum number of repositories whose events are deleted together."""
MAX_GROUP_EVENTS = 20_000
"""The maximum total number of events in repositories whose events are deleted together.

A repository with more events is handled by itself.
"""


@dataclass(frozen=True)
class Rule:
    """A rule, stored with a run as plain data, so that later changes to the settings don't affect the run."""

    name: str
    repository: int | None = None
    namespace: int | None = None
    category: str = ""
    age: int | None = None
    age_unit: str = "months"
    max_events: int | None = None
    max_per_repository: bool = False

    @property
    def precedence(self) -> tuple[bool, bool, bool, bool, bool]:
        """The sort key: the most specific rule comes first, and the registry-wide setting comes last."""
        return (
            self.repository is None,
            self.namespace is None,
            self.category == "",
            not self.is_for_part_of_category,
            self.name in (GLOBAL_RULE_NAME, DEFAULT_RULE_NAME),
        )

    @property
    def is_for_part_of_category(self) -> bool:
        return self.category == FAILED_LOGINS

    def matching_events(self) -> Q:
        """Return the condition for events that match this rule, even if a more specific rule applies."""
        condition = Q(pk__isnull=False)  # an empty Q matches everything even when negated
        if self.repository is not None:
            condition &= Q(repository=self.repository)
        if self.namespace is not None:
            condition &= Q(repository__in=Repository.objects.filter(namespace=self.namespace).values("pk"))
        if not self.category:
            return condition & ~Q(category__in=sorted(OWN_CATEGORIES))
        if self.category == FAILED_LOGINS:
            return condition & partitions.in_category(Category.ACCOUNT) & Q(kind=FAILED_LOGIN)
        return condition & partitions.in_category(self.category)

    def matches(self, repository: int | None, namespace: int | None, category: str) -> bool:
        """Return whether events of this repository, namespace and category match the rule."""
        return (
            self.repository in (None, repository)
            and self.namespace in (None, namespace)
            and self.category in _matching_rule_categories(category)
        )

    def shares_categories_with(self, other: Rule) -> bool:
        """Return whether an event can match both this rule and another, given their categories."""
        return self.category in _matching_rule_categories(
            other.category
        ) or other.category in _matching_rule_categories(self.category)

    def matches_all(self, group: str) -> bool:
        """Return whether all repository events in a group of partitions match the rule."""
        is_everywhere = self.repository is None and self.namespace is None
        return is_everywhere and (not self.category or partitions.contains_only(group, self.category))

    def oldest(self, cutoff: datetime) -> datetime | None:
        """Return the time of the oldest event that is young enough to keep, or None if there is no limit."""
        if not self.age:
            return None
        oldest = subtract_age(cutoff, self.age, self.age_unit)
        return min(oldest, cutoff - MIN_AGES[self.category]) if self.category in MIN_AGES else oldest


DEFAULT_RULES = [Rule(DEFAULT_RULE_NAME, category=category) for category in sorted(OWN_CATEGORIES)]
"""The rules for access, account and system events, which apply if there is no rule for their category."""


def _matching_rule_categories(category: str) -> tuple[str, ...]:
    """Return the categories of the rules that can match events of a category."""
    if category == FAILED_LOGINS:
        return (FAILED_LOGINS, Category.ACCOUNT)
    return (category,) if category in OWN_CATEGORIES else (category, "")


@dataclass(frozen=True)
class Selection:
    """The events that one rule deletes unless they are held: those that match `matching`, but not `kept`."""

    rule: Rule
    matching: Q
    """The condition for events to which the rule applies."""
    kept: Q
    """The condition for events that are new enough to keep."""
    bound: UUID
    """An id that is higher than all ids of events to delete."""
    max_size: float = inf
    """An upper limit on the number of events, if known."""
    groups: tuple[str, ...] = ()
    """The groups of partitions in which the rule matches all events.

    Events to which a more specific rule applies are disregarded.
    """

    def events(self) -> QuerySet[Event]:
        return Event.objects.filter(self.matching, ~self.kept, id__lt=self.bound)


def in_order(rules: list[Rule]) -> list[Rule]:
    """Return rules with the most specific first."""
    return sorted(rules, key=lambda rule: rule.precedence)


def with_defaults(rules: list[Rule]) -> list[Rule]:
    """Return the given rules and the default rules, the most specific first. Every event matches a rule."""
    return in_order([*rules, *DEFAULT_RULES])


def applicable_rule(rules: list[Rule], repository: int | None, namespace: int | None, category: str) -> Rule:
    """Return the rule that applies to the events of a repository, namespace and category."""
    return next(rule for rule in rules if rule.matches(repository, namespace, category))


def select_by_rule(rules: list[Rule], held: Q, cutoff: datetime) -> list[Selection]:
    """Return one selection for each rule.

    The bound of a selection reflects the rule's maximum age and overall maximum number of events. If the rule
    has a maximum per repository, this maximum is not applied here, but in `select_all`.
    """
    selections = []
    remaining = set(partitions.GROUPS)
    for number, rule in enumerate(rules):
        condition = rule.matching_events()
        for more_specific in filter(rule.shares_categories_with, rules[:number]):
            condition &= ~more_specific.matching_events()
        maximum = None if rule.max_per_repository else rule.max_events
        first_kept = _bound_by_number(maximum, condition & ~held, cutoff)
        oldest = rule.oldest(cutoff)
        bound = max(first_id(oldest) if oldest else EARLIEST, first_kept)
        groups = {group for group in remaining if rule.matches_all(group)}
        remaining -= groups
        kept = _new_enough(oldest, first_kept)
        selections.append(Selection(rule, condition, kept, bound, groups=tuple(sorted(groups))))
    return selections


def _new_enough(oldest: datetime | None, first_kept: UUID) -> Q:
    """Return the condition for events that are new enough to keep by age, and by number.

    An event counts from its receipt if that was later, because the clock of its node may have been behind.
    """
    by_number = Q(id__gte=first_kept)
    if oldest is None:
        return by_number
    by_age = Q(id__gte=first_id(oldest)) | Q(received_at__gte=oldest)
    return by_age if first_kept == EARLIEST else by_number & by_age


def select_all(by_rule: list[Selection], held: Q, cutoff: datetime) -> list[Selection]:
    """Return all events to delete as disjoint selections, given the result of `select_by_rule`."""
    selections: list[Selection] = []
    for selection in by_rule:
        if selection.rule.max_events and selection.rule.max_per_repository:
            selections += _split_by_repository(selection, ~held, cutoff)
        else:
            selections.append(selection)
    return [selection for selection in selections if selection.bound > EARLIEST]


def _split_by_repository(selection: Selection, not_held: Q, cutoff: datetime) -> Iterator[Selection]:
    """Apply a rule's maximum to each repository.

    First yields selections for groups of repositories that have more events than the maximum, with a separate
    bound for each repository. Then yields a selection for all other repositories, whose events are deleted
    only by age. Events without a repository are treated as the events of one repository.
    """
    maximum = selection.rule.max_events or 0
    events = Event.objects.between(before=cutoff).filter(selection.matching, not_held).order_by()
    counts = events.values_list("repository").annotate(events=Count("pk")).filter(events__gt=maximum)
    over_maximum = dict(counts.order_by())
    oldest_kept = events.filter(repository=OuterRef("pk")).order_by("-id").values("id")[maximum - 1 : maximum]
    bounds: dict[int | None, UUID] = dict(
        Repository.objects.filter(pk__in=[pk for pk in over_maximum if pk is not None])
        .order_by()
        .annotate(bound=Subquery(oldest_kept))
        .values_list("pk", "bound")
    )
    for group in _group_repositories(over_maximum):
        in_group, kept, bound = Q(), Q(), EARLIEST
        for repository in group:
            in_repository = Q(repository=repository) if repository else Q(repository__isnull=True)
            first_kept = bounds.get(repository) or _bound_by_number(
                maximum, selection.matching & not_held & in_repository, cutoff
            )
            in_group |= in_repository
            kept |= in_repository & Q(id__gte=first_kept) & selection.kept
            bound = max(bound, first_kept, selection.bound)
        max_size = sum(over_maximum[repository] for repository in group)
        yield Selection(selection.rule, selection.matching & in_group, kept, bound, max_size)
    others = ~Q(repository__in=[pk for pk in over_maximum if pk is not None])
    if None in over_maximum:
        others &= Q(repository__isnull=False)
    yield Selection(selection.rule, selection.matching & others, selection.kept, selection.bound)


def _group_repositories(counts: dict[int | None, int]) -> Iterator[list[int | None]]:
    """Divide repositories into groups with few events. A repository with many events forms its own group."""
    group: list[int | None] = []
    events = 0
    for repository, count in counts.items():
        if group and (events + count > MAX_GROUP_EVENTS or len(group) == MAX_REPOSITORIES):
            yield group
            group, events = [], 0
        group.append(repository)
        events += count
    if group:
        yield group


def _bound_by_number(max_events: int | None, condition: Q, cutoff: datetime) -> UUID:
    """Return the id of the oldest event to keep, or the earliest possible id if all events can be kept."""
    if not max_events:
        return EARLIEST
    events = Event.objects.between(before=cutoff).filter(condition).order_by("-id")
    oldest_and_next = list(events.values_list("id", flat=True)[max_events - 1 : max_events + 1])
    return oldest_and_next[0] if len(oldest_and_next) == 2 else EARLIEST


def global_rule(setting: AutoDeletion) -> Rule:
    """Return the registry-wide setting as a rule."""
    return Rule(GLOBAL_RULE_NAME, age=setting.age, age_unit=setting.age_unit, max_events=setting.max_events)


def rule_from_model(row: DeletionRule) -> Rule:
    """Return a stored rule as plain data."""
    return Rule(
        name=untranslated(row),
        repository=row.repository_id,
        namespace=row.namespace_id,
        category=row.category,
        age=row.age,
        age_unit=row.age_unit,
        max_events=row.max_events,
        max_per_repository=row.max_per == DeletionRule.MaxPer.REPOSITORY,
    )
