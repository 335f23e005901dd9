"""Executes runs: a preview counts the events to delete, a deletion deletes them in short transactions."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import Count, F, Max, Min, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from activity.deletion import archives, rules
from activity.deletion.holds import held_events
from activity.identity import first_id, moment_of
from activity.models import Archive, Event, Run
from activity.storage import partitions
from activity.storage.events import delete_days, delete_events
from activity.storage.partitions import Partition
from activity.storage.tallies import DAY, DeletedCounts, floor
from repositories.models import Repository

logger = logging.getLogger(__name__)

BATCH_SIZE = 2_000 if connection.vendor == "sqlite" else 20_000
"""Events deleted in one transaction, which takes tens of milliseconds."""
MAX_EVENTS_OF_DAYS = 100_000
"""Whole days with at most this many events are deleted in one transaction, even if they exceed a batch."""
MAX_MOVED = 20_000
"""The maximum number of events to move out of a partition before dropping it. Takes about 100 ms."""
PAUSE = 0.05 if connection.vendor == "sqlite" else 0.005
"""Seconds between transactions. On SQLite, other writers starve without it."""
LEASE = timedelta(minutes=10)
"""How long a run can go without progress before another run may replace it."""
LEFTOVERS = "Left over from an interrupted run"
REPOSITORIES_SHOWN = 10
"""The number of repositories that a preview lists for each rule."""

Progress = Callable[[Run], None]


class Stopped(Exception):
    """The run was asked to stop."""


class LeaseLost(Exception):
    """The run made no progress for too long, and another run replaced it."""


@dataclass(frozen=True)
class PartitionPlan:
    """How a run deletes the events of a partition, according to its rules and the holds in force.

    It drops the partition, replaces it with one of the few events to keep, or deletes events in batches.
    """

    partition: Partition
    held: Q
    kept: Q
    """The condition for events that may have to be kept: held ones, and those at or above a rule's bound."""
    moved: int | None
    """The number of events to move to a new partition, or None if events are deleted in batches."""

    def __str__(self) -> str:
        if self.moved is None:
            return "events are deleted in batches"
        return f"replaced, events kept: {self.moved}" if self.moved else "dropped"


class Execution:
    """The base class of previews and deletions: renews the lease, and reports by rule and category."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run = run
        self.progress = progress

    @cached_property
    def held_at_start(self) -> Q:
        """The condition for events that are held when the run starts. Deletions call `held_events` again."""
        return self.held_events()

    @cached_property
    def by_rule(self) -> list[rules.Selection]:
        return rules.select_by_rule(self.rules, self.held_at_start, self.run.cutoff)

    @cached_property
    def selections(self) -> list[rules.Selection]:
        return rules.select_all(self.by_rule, self.held_at_start, self.run.cutoff)

    @cached_property
    def rules(self) -> list[rules.Rule]:
        return [rules.Rule(**rule) for rule in self.run.settings["rules"]]

    def held_events(self) -> Q:
        return held_events(self.run.settings["holds"])

    def plans(self) -> Iterator[PartitionPlan]:
        """Yield a plan for each partition, except those that end after the bounds of all rules."""
        bound = max(selection.bound for selection in self.by_rule)
        for partition in partitions.monthly_partitions():
            if partition.bounds[1] <= bound:
                yield self.plan(partition)

    def plan(self, partition: Partition) -> PartitionPlan:
        """Plan a partition: drop it if moving the events to keep is cheaper than deleting the others."""
        held = kept = self.held_events()
        for selection in self.by_rule:
            if selection.bound < partition.bounds[1]:
                kept |= selection.condition & Q(id__gte=selection.bound)
            if selection.rule.matches_all(pulls=partition.is_pull):
                break  # the remaining rules apply to none of these events
        events = partitions.events(partition)
        moved: int | None = events.filter(kept)[: MAX_MOVED + 1].count()
        if moved and (moved > MAX_MOVED or events[: 2 * moved + 1].count() <= 2 * moved):
            moved = None
        return PartitionPlan(partition, held, kept, moved)

    def save(self) -> None:
        """Store the run's counts in the transaction that they belong to, and renew its lease.

        Raises LeaseLost if the run has been abandoned, so that nothing in the transaction is committed.
        """
        values = {name: getattr(self.run, name) for name in ("expected", "deleted", "report", "partitions")}
        running = Run.objects.filter(pk=self.run.pk, state=Run.State.RUNNING)
        if not running.update(lease_until=timezone.now() + LEASE, **values):
            raise LeaseLost

    def pause_and_check_stop(self, seconds: float = 0) -> None:
        """Pause after a transaction that took this many seconds, to let recording and reading proceed.

        Raises Stopped if the run was asked to stop.
        """
        self.pause(seconds)
        if Run.objects.filter(pk=self.run.pk, stop_requested=True).exists():
            raise Stopped

    def pause(self, seconds: float = 0) -> None:
        self.progress(self.run)
        time.sleep(max(PAUSE, seconds / 2))

    def add_to_report(self, rule: str, counts: Counter[str]) -> dict[str, Any]:
        """Add counts by category to a rule's entry in the report, and return the entry."""
        entry = self.run.report.setdefault(rule, {"events": 0, "categories": {}})
        entry["events"] += counts.total()
        entry["categories"] = dict(Counter(entry["categories"]) + counts)
        return entry


class PreviewExecution(Execution):
    """Counts the events to delete, and deletes nothing."""

    def execute(self) -> None:
        self.run.expected = 0
        self.run.partitions = {plan.partition.name: str(plan) for plan in self.plans()}
        self.save()
        by_repository: defaultdict[str, Counter[str]] = defaultdict(Counter)  # for each rule
        for selection in self.selections:
            events = selection.events().filter(~self.held_at_start).order_by()
            groups = events.values("category", "repository_name")
            rule = selection.rule.name
            for group in groups.annotate(
                events=Count("pk"), first=Min("occurred_at"), last=Max("occurred_at")
            ):
                entry = self.add_to_report(rule, Counter({group["category"]: group["events"]}))
                first, last = group["first"].isoformat(), group["last"].isoformat()
                entry["from"] = min(entry.get("from", first), first)
                entry["to"] = max(entry.get("to", last), last)
                by_repository[rule][group["repository_name"]] += group["events"]
            for name, entry in self.run.report.items():
                entry["largest"] = by_repository[name].most_common(REPOSITORIES_SHOWN)
            self.run.expected = sum(entry["events"] for entry in self.run.report.values())
            self.save()
            self.pause_and_check_stop()


class DeletionExecution(Execution):
    """Deletes events: whole partitions first, then the remaining events in batches."""

    def execute(self) -> None:
        if not self.run.settings["enabled"]:
            return
        self.finish_leftover_archives()
        if self.run.settings["archive"]:
            self.count_expected()  # without archives, dropping partitions takes less time than this count
        self.drop_partitions()
        if not self.run.settings["archive"]:
            self.count_expected()
        for selection in self.selections:
            if self.run.settings["archive"]:
                self.archive_and_delete(selection)
            else:
                self.delete_selection(selection)

    def count_expected(self) -> None:
        """Count the events to delete, including those deleted so far."""
        counts = [selection.events().filter(~self.held_at_start).count() for selection in self.selections]
        self.run.expected = self.run.deleted + sum(counts)
        self.save()

    def delete_selection(self, selection: rules.Selection) -> None:
        """Delete the events of a selection, oldest first."""
        lower = rules.EARLIEST
        while lower < selection.bound:
            began = time.monotonic()
            with transaction.atomic():
                lower = self.delete_batch(selection, lower)
            self.pause_and_check_stop(time.monotonic() - began)

    def delete_batch(self, selection: rules.Selection, lower: UUID) -> UUID:
        """Delete the next batch of a selection, or its events of whole days if `_whole_days` finds any.

        Returns the id to continue from, so that the next batch does not scan the dead rows of this one.
        """
        events = selection.events().filter(~self.held_events(), id__gte=lower)
        upper = selection.bound
        if selection.max_size > BATCH_SIZE:
            upper = _ids(events)[BATCH_SIZE : BATCH_SIZE + 1].first() or upper
        if days := _whole_days(selection, events, lower, upper):
            deleted = delete_days(events, selection.is_pull_values, *days)
            upper = first_id(days[1])
        else:
            deleted = delete_events(events.filter(id__lt=upper))
        self.count_deleted(deleted, selection.rule.name)
        return upper

    def archive_and_delete(self, selection: rules.Selection) -> None:
        """Archive and delete the events of a selection, one archive at a time."""
        for archive, ids in self.archive(selection.events()):
            self.delete_archived(archive, ids, selection.rule.name)
            self.pause_and_check_stop()

    def archive(self, events: QuerySet[Event]) -> Iterator[tuple[Archive, list[UUID]]]:
        """Write archives, oldest events first, and yield each one once its events can be deleted."""
        lower = rules.EARLIEST
        while written := archives.write(self.run, events.filter(~self.held_events(), id__gt=lower)):
            archive, ids = written
            try:
                with transaction.atomic():
                    self.save()
                    archive.written_at = timezone.now()
                    archive.save(force_update=True)
            except LeaseLost:  # the run that replaced this one archives these events
                archives.discard(archive)
                raise
            yield written
            lower = ids[-1]

    def delete_archived(self, archive: Archive, ids: list[UUID], rule: str = "") -> None:
        """Delete the events in an archive. Those held by now are removed from the archive instead."""
        for begin in range(0, len(ids), BATCH_SIZE):
            events = Event.objects.filter(_id_in(ids[begin : begin + BATCH_SIZE]))
            with transaction.atomic():
                self.count_deleted(delete_events(events.filter(~self.held_events())), rule)
            self.pause()
        if kept := set(_ids(Event.objects.filter(_id_in(ids)))):
            archives.rewrite_without(archive, kept)
        else:
            archive.deleted_at = timezone.now()
            archive.save(update_fields=["deleted_at"])

    def count_deleted(self, deleted: DeletedCounts, rule: str = "") -> None:
        """Add deleted events to the report, within the transaction that deleted them.

        Without the name of a rule, the applicable rule is determined for each repository and category.
        """
        by_rule: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for (repository, category), number in deleted.items():
            namespace = None if rule else self.namespaces.get(repository)
            name = rule or rules.applicable_rule(self.rules, repository, namespace, category).name
            by_rule[name][category] += number
        for name, counts in by_rule.items():
            self.add_to_report(name, counts)
        self.run.deleted += deleted.total()
        self.save()

    @cached_property
    def namespaces(self) -> dict[int | None, int]:
        """The namespace of each repository, or an empty dict if no rule is for a namespace."""
        if not any(rule.namespace for rule in self.rules):
            return {}
        return dict(Repository.objects.values_list("pk", "namespace"))

    def drop_partitions(self) -> None:
        """Drop the partitions in which few or no events are kept.

        The events of a partition that is in use are deleted in batches instead.
        """
        for plan in self.plans():
            if plan.moved is None:
                continue
            written = self.archive_dropped(plan) if self.run.settings["archive"] else []
            if not self.try_to_drop(plan, written):
                for archive in written:
                    self.delete_archived(archive, archives.event_ids(archive))
            self.pause_and_check_stop()

    def archive_dropped(self, plan: PartitionPlan) -> list[Archive]:
        """Archive the events to delete in a partition. If the run is stopped, discard the archives."""
        written = []
        try:
            for archive, _ in self.archive(partitions.events(plan.partition).exclude(plan.kept)):
                written.append(archive)
                self.pause_and_check_stop()
        except Stopped:
            archives.discard(*written)
            raise
        return written

    def try_to_drop(self, plan: PartitionPlan, written: list[Archive]) -> bool:
        """Drop a partition except for the events to keep, and return whether this succeeded."""
        try:
            return partitions.retry_on_lock(partial(self.drop, plan, written))
        except OperationalError:
            logger.warning("%s is in use: its events are deleted in batches instead.", plan.partition.name)
            return False

    @transaction.atomic
    def drop(self, plan: PartitionPlan, written: list[Archive]) -> bool:
        """Drop a partition and return True, or return False if that is no longer possible.

        By now, too many events may have to be kept, or some events to delete may not be archived.
        """
        # A request to stop also locks the run before the events: the opposite order would be a deadlock.
        # Reloading the run also discards the counts of a failed attempt.
        self.run.refresh_from_db(from_queryset=Run.objects.select_for_update())
        partitions.freeze(plan.partition)
        current = self.plan(plan.partition)
        events = partitions.events(plan.partition)
        archived = sum(archive.events for archive in written)
        # Comparing the numbers is not enough: if a new hold covers archived events, and equally many events
        # were recorded since, the numbers match although the new events are not archived.
        if current.moved is None or (
            self.run.settings["archive"]
            and (current.held != plan.held or events.count() != current.moved + archived)
        ):
            return False
        remaining = events.filter(current.kept) if current.moved else None
        by_repository = any(rule.repository or rule.namespace for rule in self.rules)
        self.count_deleted(partitions.drop(plan.partition, remaining, by_repository=by_repository))
        rows = Archive.objects.filter(pk__in=[archive.pk for archive in written])
        rows.update(deleted_at=timezone.now())
        return True

    def finish_leftover_archives(self) -> None:
        """Discard archives that an interrupted run left incomplete, and delete the events of the others."""
        for archive in Archive.objects.filter(deleted_at=None).order_by(
            F("written_at").asc(nulls_first=True)
        ):
            if archive.written_at is None:
                with transaction.atomic():
                    self.save()  # fails if another run has replaced this one, and may be writing the archive
                    archives.discard(archive)
            else:
                self.delete_archived(archive, archives.event_ids(archive), LEFTOVERS)


def _id_in(ids: list[UUID]) -> Q:
    """Return the condition for events with any of these sorted ids, passed as a single parameter."""
    if connection.vendor == "postgresql":
        listed = RawSQL("SELECT unnest(%s::uuid[])", [ids])
    else:
        listed = RawSQL("SELECT value FROM json_each(%s)", [json.dumps([id.hex for id in ids])])
    return Q(id__gte=ids[0], id__lte=ids[-1], id__in=listed)


def _ids(events: QuerySet[Event]) -> QuerySet:
    return events.order_by("id").values_list("id", flat=True)


def _whole_days(
    selection: rules.Selection, to_delete: QuerySet[Event], lower: UUID, upper: UUID
) -> tuple[datetime, datetime] | None:
    """Return the range of days, from the first event to delete up to an id, for which to use `delete_days`.

    Returns None if there is no whole day, if the days have too many events, if the rule is for neither all
    pulls nor all other events, or if the table isn't partitioned.
    """
    if not (selection.is_pull_values and partitions.is_partitioned()):
        return None
    first = lower if lower > rules.EARLIEST else _ids(to_delete).first() or upper
    start, end = floor(moment_of(first), DAY), floor(moment_of(upper), DAY)
    if upper < selection.bound:
        end = min(end + DAY, floor(moment_of(selection.bound), DAY))
    events = Event.objects.between(start, end).filter(is_pull__in=selection.is_pull_values)
    if start < end and events[: MAX_EVENTS_OF_DAYS + 1].count() <= MAX_EVENTS_OF_DAYS:
        return start, end
    return None
