"""Executes runs: a preview counts the events to delete, and a deletion deletes them in short transactions."""

from __future__ import annotations

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
from repositories.utils.among import among

logger = logging.getLogger(__name__)

BATCH_SIZE = 2_000 if connection.vendor == "sqlite" else 20_000
"""The number of events to delete in one transaction. Such a transaction takes tens of milliseconds."""
MAX_EVENTS_OF_DAYS = 100_000
"""Whole days with at most this many events are deleted in one transaction, regardless of `BATCH_SIZE`."""
MAX_MOVED = 20_000
"""The maximum number of events to move out of a partition before dropping it. The move takes about 100 ms."""
PAUSE = 0.05 if connection.vendor == "sqlite" else 0
"""Seconds to pause between transactions. Other writers would starve without the pause on SQLite."""
LEASE = timedelta(minutes=10)
"""How long a run can go without progress before another run may replace it."""
REPOSITORIES_SHOWN = 10
"""The maximum number of repositories that a preview lists for each rule."""

Progress = Callable[[Run], None]


class Stopped(Exception):
    """The run was asked to stop."""


class LeaseLost(Exception):
    """The run made no progress for too long, and another run replaced it."""


@dataclass(frozen=True)
class PartitionPlan:
    """How a run deletes the events of a partition, according to its rules and the holds in force.

    The run drops the partition, replaces it with a partition that contains only the few events to keep, or
    deletes its events in batches.
    """

    partition: Partition
    held: Q
    kept: Q
    """The condition for events that may have to be kept: held events, and events that a rule keeps."""
    moved: int | None
    """The number of events to move to a new partition, or None if events are deleted in batches."""

    def __str__(self) -> str:
        if self.moved is None:
            return "events are deleted in batches"
        return f"replaced, events kept: {self.moved}" if self.moved else "dropped"


class Execution:
    """The base class of previews and deletions.

    It renews the lease of the run, and reports the number of events by rule and category.
    """

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run = run
        self.progress = progress
        self.cause = f"run {run.pk}"

    @cached_property
    def held_at_start(self) -> Q:
        """The condition for events that are held when the run starts.

        Deletions call `held_events` again, to include holds that were set later.
        """
        return self.held_events()

    @cached_property
    def by_rule(self) -> list[rules.Selection]:
        return rules.select_by_rule(self.rules, self.held_at_start, self.run.cutoff)

    @cached_property
    def selections(self) -> list[rules.Selection]:
        return rules.select_all(self.by_rule, self.held_at_start, self.run.cutoff)

    @cached_property
    def rules(self) -> list[rules.Rule]:
        return rules.with_defaults([rules.Rule(**rule) for rule in self.run.settings["rules"]])

    def held_events(self) -> Q:
        return held_events(self.run.settings["holds"])

    def plans(self) -> Iterator[PartitionPlan]:
        """Yield a plan for each partition whose ids are all below the bound of at least one rule."""
        bound = max(selection.bound for selection in self.by_rule)
        for partition in partitions.monthly_partitions():
            if partition.bounds[1] <= bound:
                yield self.plan(partition)

    def plan(self, partition: Partition) -> PartitionPlan:
        """Return the plan for a partition.

        The partition is dropped only if moving the events to keep is cheaper than deleting all others.
        """
        held = kept = self.held_events()
        for selection in self.by_rule:
            if selection.rule.is_for_part_of_category:
                kept |= selection.matching  # a dropped partition is counted only by category
            else:
                kept |= selection.kept & selection.matching
            if selection.rule.matches_all(partition.group):
                break  # the remaining rules apply to none of these events
        events = partitions.events(partition)
        moved: int | None = events.filter(kept)[: MAX_MOVED + 1].count()
        if moved and (moved > MAX_MOVED or events[: 2 * moved + 1].count() <= 2 * moved):
            moved = None
        return PartitionPlan(partition, held, kept, moved)

    def save(self) -> None:
        """Store the counts of the run and renew its lease.

        Deletions call this in the transaction that deletes the counted events.

        Raises LeaseLost if the run has been abandoned, so that nothing in the transaction is committed.
        """
        values = {name: getattr(self.run, name) for name in ("expected", "deleted", "report", "partitions")}
        running = Run.objects.filter(pk=self.run.pk, state=Run.State.RUNNING)
        if not running.update(lease_until=timezone.now() + LEASE, **values):
            raise LeaseLost

    def pause_and_check_stop(self, seconds: float = 0) -> None:
        """Report the progress, and pause after a transaction that took `seconds`, if needed.

        Raises Stopped if the run was asked to stop.
        """
        self.pause(seconds)
        if Run.objects.filter(pk=self.run.pk, stop_requested=True).exists():
            raise Stopped

    def pause(self, seconds: float = 0) -> None:
        """Report the progress, and on SQLite, let others write between transactions."""
        self.progress(self.run)
        if PAUSE:
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
            self.count_expected()
        self.drop_partitions()
        # Without archives, counting takes longer than dropping partitions, so it is done afterwards.
        if not self.run.settings["archive"]:
            self.count_expected()
        for selection in self.selections:
            if self.run.settings["archive"]:
                self.archive_and_delete(selection)
            else:
                self.delete_selection(selection)

    def count_expected(self) -> None:
        """Count the events to delete, including events that have already been deleted."""
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
        """Delete the next batch of a selection, or all its events on the days that `_whole_days` returns.

        Returns the id to continue from, so that the next batch does not scan the dead rows of this batch.
        """
        events = selection.events().filter(~self.held_events(), id__gte=lower)
        upper = selection.bound
        if selection.max_size > BATCH_SIZE:
            upper = _ids(events)[BATCH_SIZE : BATCH_SIZE + 1].first() or upper
        if days := _whole_days(selection, events, lower, upper):
            deleted = delete_days(events, selection.groups, *days, self.cause)
            upper = first_id(days[1])
        else:
            deleted = delete_events(events.filter(id__lt=upper), self.cause)
        self.count_deleted(deleted, selection.rule.name)
        return upper

    def archive_and_delete(self, selection: rules.Selection) -> None:
        """Archive and delete the events of a selection, one archive at a time."""
        for archive, ids in self.archive(selection.events(), [selection.rule]):
            self.delete_archived(archive, ids, selection.rule.name)
            self.pause_and_check_stop()

    def archive(
        self, events: QuerySet[Event], deleting: list[rules.Rule]
    ) -> Iterator[tuple[Archive, list[UUID]]]:
        """Write archives, oldest events first, and yield each one once its events can be deleted."""
        lower = rules.EARLIEST
        while written := archives.write(
            self.run, events.filter(~self.held_events(), id__gt=lower), [rule.name for rule in deleting]
        ):
            archive, ids = written
            try:
                with transaction.atomic():
                    self.save()
                    archive.written_at = timezone.now()
                    archive.save(force_update=True)
            except LeaseLost:  # another run has replaced this run and archives these events
                archives.discard(archive)
                raise
            yield written
            lower = ids[-1]

    def delete_archived(self, archive: Archive, ids: list[UUID], rule: str) -> None:
        """Delete events that were just archived from the database.

        Events that are held in the meantime are removed from the archive instead.
        """
        archives.verify(archive)
        number = 0
        for begin in range(0, len(ids), BATCH_SIZE):
            events = Event.objects.filter(_id_in(ids[begin : begin + BATCH_SIZE]))
            with transaction.atomic():
                deleted = delete_events(events.filter(~self.held_events()), self.cause)
                self.count_deleted(deleted, rule)
                number += deleted.total()
                archive.deletion_started_at = archive.deletion_started_at or timezone.now()
                archive.save(update_fields=["deletion_started_at"])
            self.pause()
        self.finish_archive(archive, ids if number < len(ids) else [])

    def finish_archive(self, archive: Archive, ids: list[UUID]) -> None:
        """Remove the events that still exist from an archive. `ids` are the ids of those that may exist."""
        if ids and (kept := set(_ids(Event.objects.filter(_id_in(ids))))):
            archives.rewrite_without(archive, kept)
        else:
            archive.deleted_at = timezone.now()
            archive.save(update_fields=["deleted_at"])

    def count_deleted(self, deleted: DeletedCounts, rule: str = "") -> None:
        """Add deleted events to the report, within the transaction that deleted them.

        If no rule is given, the applicable rule is determined for each repository and category.
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
        """The namespace of each repository, or an empty dict if there are no namespace rules."""
        if not any(rule.namespace for rule in self.rules):
            return {}
        return dict(Repository.objects.values_list("pk", "namespace"))

    def drop_partitions(self) -> None:
        """Drop the partitions in which few or no events are kept.

        If a partition is in use, its events are deleted in batches instead.
        """
        for plan in self.plans():
            if plan.moved is None:
                continue
            written = self.archive_dropped(plan) if self.run.settings["archive"] else []
            if not self.try_to_drop(plan, written):
                archives.discard(*written)  # the events are archived again in batches
            self.pause_and_check_stop()

    def archive_dropped(self, plan: PartitionPlan) -> list[Archive]:
        """Archive the events to delete from a partition. If the run is stopped, discard the archives."""
        written = []
        events = partitions.events(plan.partition).exclude(plan.kept)
        deleting = [rule for rule in self.rules if rule.age or rule.max_events]
        try:
            for archive, _ in self.archive(events, deleting):
                written.append(archive)
                self.pause_and_check_stop()
        except Stopped:
            archives.discard(*written)
            raise
        return written

    def try_to_drop(self, plan: PartitionPlan, written: list[Archive]) -> bool:
        """Try to drop a partition after moving the events to keep, and return whether it was dropped."""
        for archive in written:
            archives.verify(archive)
        try:
            return partitions.retry_on_lock(partial(self.drop, plan, written))
        except OperationalError:
            logger.warning("%s is in use, so its events are deleted in batches.", plan.partition.name)
            return False

    @transaction.atomic
    def drop(self, plan: PartitionPlan, written: list[Archive]) -> bool:
        """Drop a partition and return True, or return False if it can no longer be dropped.

        A partition can't be dropped if too many events must be kept, or if an event to delete isn't archived.
        """
        # A request to stop the run locks the run first and then the events. Use the same order here, because
        # the opposite order could cause a deadlock.
        # Reloading the run also discards the counts of a failed attempt.
        self.run.refresh_from_db(from_queryset=Run.objects.select_for_update())
        partitions.freeze(plan.partition)
        current = self.plan(plan.partition)
        events = partitions.events(plan.partition)
        archived = sum(archive.events for archive in written)
        # Comparing the numbers of events is not enough. If a new hold covers archived events, and the same
        # number of new events has been recorded, the numbers match although the new events aren't archived.
        if current.moved is None or (
            self.run.settings["archive"]
            and (current.held != plan.held or events.count() != current.moved + archived)
        ):
            return False
        remaining = events.filter(current.kept) if current.moved else None
        by_repository = any(rule.repository or rule.namespace for rule in self.rules)
        deleted = partitions.drop(plan.partition, remaining, by_repository=by_repository, cause=self.cause)
        self.count_deleted(deleted)
        rows = Archive.objects.filter(pk__in=[archive.pk for archive in written])
        rows.update(deleted_at=timezone.now())
        return True

    def finish_leftover_archives(self) -> None:
        """Finish the archives of interrupted runs, without deleting any events.

        The archives of which no event has been deleted are discarded. Those of which some events have been
        deleted keep these events. The rules of this run decide about all others.
        """
        for archive in Archive.objects.filter(deleted_at=None).order_by(
            F("written_at").asc(nulls_first=True)
        ):
            if archive.written_at and archive.deletion_started_at:
                self.finish_archive(archive, archives.event_ids(archive))
                continue
            with transaction.atomic():
                # This fails if another run, which may be writing the archive, has replaced this run.
                self.save()
                archives.discard(archive)


def _id_in(ids: list[UUID]) -> Q:
    """Return the condition for events with any of the given ids, which must be sorted."""
    return Q(id__gte=ids[0], id__lte=ids[-1], id__in=among(ids))


def _ids(events: QuerySet[Event]) -> QuerySet:
    return events.order_by("id").values_list("id", flat=True)


def _whole_days(
    selection: rules.Selection, to_delete: QuerySet[Event], lower: UUID, upper: UUID
) -> tuple[datetime, datetime] | None:
    """Return the range of whole days whose events should be deleted with `delete_days`, or None.

    The range begins on the day of `lower`, or on the day of the first event to delete if `lower` is the
    earliest possible id. It includes the day of `upper` only if the bound of the selection is on a later day.
    Returns None if there is no whole day, if the days have too many events, if the rule covers no whole group
    of partitions, or if the table isn't partitioned.
    """
    if not (selection.groups and partitions.is_partitioned()):
        return None
    first = lower if lower > rules.EARLIEST else _ids(to_delete).first() or upper
    start, end = floor(moment_of(first), DAY), floor(moment_of(upper), DAY)
    if upper < selection.bound:
        end = min(end + DAY, floor(moment_of(selection.bound), DAY))
    events = Event.objects.between(start, end).filter(partitions.in_groups(selection.groups))
    if start < end and events[: MAX_EVENTS_OF_DAYS + 1].count() <= MAX_EVENTS_OF_DAYS:
        return start, end
    return None
