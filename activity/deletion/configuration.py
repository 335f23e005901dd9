"""The configuration of auto-deletion as plain data: its settings, rules, holds and schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Model
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from activity.deletion import rules
from activity.deletion.holds import Holds
from activity.deletion.rules import Rule
from activity.identity import EPOCH
from activity.models import MIN_AGES, AutoDeletion, DeletionRule, Dispute, Hold, Import
from repositories.models import Repository

Key = tuple[type[Model], Any]
Rows = dict[Key, Model]
"""The rows that make up a configuration, by their model and primary key."""

DELETION_TASK = "activity.tasks.delete_events"
SCHEDULE_FIELDS = {
    "crontab": CrontabSchedule,
    "interval": IntervalSchedule,
    "solar": SolarSchedule,
    "clocked": ClockedSchedule,
}
MODELS = (AutoDeletion, DeletionRule, Dispute, Hold, Import, PeriodicTask, *SCHEDULE_FIELDS.values())
"""The models whose rows determine which events are deleted, and when."""


@dataclass(frozen=True)
class Configuration:
    enabled: bool
    archive: bool
    rules: list[Rule]
    """The most specific rule comes first, and the registry-wide setting comes last."""
    holds: Holds
    schedules: list[str]
    """The times at which runs start by themselves."""

    def holds_repository(self, repository: Repository) -> bool:
        """Return whether all events of a repository are held."""
        held_namespaces = self.holds["namespaces"]
        return repository.pk in self.holds["repositories"] or repository.namespace_id in held_namespaces

    def as_json(self) -> dict[str, Any]:
        """Return the configuration in the form in which it is stored with a run."""
        return asdict(self)


def saved_rows() -> Rows:
    """Return the rows that are stored in the database now."""
    tasks = list(PeriodicTask.objects.filter(task=DELETION_TASK))
    rows: list[Model] = [
        *AutoDeletion.objects.all(),
        *DeletionRule.objects.select_related("repository__namespace", "namespace"),
        *Hold.objects.all(),
        *Import.objects.filter(released_at=None),
        *Dispute.objects.filter(lifted_at=None),
        *tasks,
    ]
    for field, model in SCHEDULE_FIELDS.items():
        rows += model._default_manager.filter(
            pk__in={getattr(task, f"{field}_id") for task in tasks} - {None}
        )
    return {(type(row), row.pk): row for row in rows}


def configuration_of(rows: Rows) -> Configuration:
    """Return the configuration that the given rows make up."""

    def all_of(model: type[Model]) -> list[Any]:
        return [row for (each, _), row in rows.items() if each is model]

    setting: AutoDeletion = next(iter(all_of(AutoDeletion)), AutoDeletion())
    holds = all_of(Hold)
    return Configuration(
        enabled=setting.enabled,
        archive=setting.archive,
        rules=rules.in_order([rules.global_rule(setting), *map(rules.rule_from_model, all_of(DeletionRule))]),
        holds={
            "repositories": _sorted(hold.repository_id for hold in holds),
            "namespaces": _sorted(hold.namespace_id for hold in holds),
            "imports": _sorted(each.pk for each in all_of(Import) if each.released_at is None),
            "disputes": _sorted(each.pk for each in all_of(Dispute) if each.lifted_at is None),
        },
        schedules=sorted(
            f"{task.name}: {_schedule_of(task, rows)}"
            for task in all_of(PeriodicTask)
            if task.enabled and task.task == DELETION_TASK
        ),
    )


def _schedule_of(task: PeriodicTask, rows: Rows) -> str:
    ids = {model: getattr(task, f"{field}_id") for field, model in SCHEDULE_FIELDS.items()}
    return ", ".join(str(rows.get((model, pk))) for model, pk in ids.items() if pk)


def _sorted(ids: Iterable[int | None]) -> list[int]:
    return sorted({pk for pk in ids if pk is not None})


# --- Comparing configurations -------------------------------------------------------------------


def common(old: Configuration, new: Configuration, now: datetime) -> Configuration:
    """Return a configuration that deletes no event that only one of the two configurations deletes.

    If one configuration deletes certain events by age and the other by number, the result keeps them.
    """
    return Configuration(
        enabled=old.enabled and new.enabled,
        archive=old.archive or new.archive,
        rules=rules.in_order([merged for merged, _ in _merged_rules(old, new, now)]),
        holds={key: _sorted([*old.holds[key], *new.holds[key]]) for key in new.holds},
        schedules=sorted({*old.schedules} & {*new.schedules}),
    )


def deletes_more(old: Configuration, new: Configuration, now: datetime) -> bool:
    """Return whether the new configuration might delete events that the old one keeps, or sooner."""
    if not new.enabled:
        return False
    both = common(old, new, now)
    own_cells = {_cell(rule) for rule in new.rules}
    return replace(both, rules=[]) != replace(new, rules=[]) or any(
        _conditions(merged) != _conditions(rule) or (rule.max_events and _cell(merged) not in own_cells)
        for merged, rule in _merged_rules(old, new, now)
    )


def _merged_rules(old: Configuration, new: Configuration, now: datetime) -> Iterator[tuple[Rule, Rule]]:
    """Yield a rule for each scope and category, and the rule of the new configuration that applies there."""
    named = {_cell(rule): rule for rule in [*old.rules, *new.rules]}
    categories = {rule.category for rule in named.values()} - {"", *MIN_AGES}
    shared = {_cell(rule) for rule in old.rules} & {_cell(rule) for rule in new.rules}
    for rule in list(named.values()):
        # Where one configuration has no rule, less specific rules apply, which can be different ones for
        # each category.
        if not rule.category and _cell(rule) not in shared:
            for category in sorted(categories):
                finer = replace(rule, name=f"{rule.name}, {category}", category=category)
                named.setdefault(_cell(finer), finer)
    repositories = {rule.repository for rule in named.values() if rule.repository}
    namespaces: dict[int | None, int] = dict(
        Repository.objects.filter(pk__in=repositories).values_list("pk", "namespace")
    )
    old_rules, new_rules = rules.with_defaults(old.rules), rules.with_defaults(new.rules)
    for cell in named.values():
        where = (cell.repository, cell.namespace or namespaces.get(cell.repository), cell.category)
        if cell.name == rules.GLOBAL_RULE_NAME:
            before, after = old.rules[-1], new.rules[-1]
        else:
            before, after = (rules.applicable_rule(each, *where) for each in (old_rules, new_rules))
        yield _merge(cell, before, after, now), after


def _merge(cell: Rule, before: Rule, after: Rule, now: datetime) -> Rule:
    """Return a rule for a cell that deletes only what both other rules delete."""
    by_age = min((after, before), key=lambda rule: rule.oldest(now) or EPOCH)
    return replace(
        cell,
        age=by_age.age if before.age and after.age else None,
        age_unit=by_age.age_unit,
        max_events=(
            max(before.max_events, after.max_events) if before.max_events and after.max_events else None
        ),
        max_per_repository=before.max_per_repository or after.max_per_repository,
    )


def _cell(rule: Rule) -> tuple[int | None, int | None, str, bool]:
    return rule.repository, rule.namespace, rule.category, rule.name == rules.GLOBAL_RULE_NAME


def _conditions(rule: Rule) -> tuple[Any, ...]:
    age = (rule.age, rule.age_unit) if rule.age else None
    return age, (rule.max_events, rule.max_per_repository) if rule.max_events else None
