"""What a run does: a preview counts what would go, a deletion deletes it, in short transactions."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import Count, F, Max, Min, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from activity.deletion import archives, rules
from activity.deletion.rules import Holds
from activity.identity import first_id, moment_of
from activity.models import Archive, Event, Run
from activity.storage import partitions
from activity.storage.events import Gone, remove, remove_days
from activity.storage.partitions import Partition
from activity.storage.tallies import DAY, floor
from repositories.models import Repository

logger = logging.getLogger(__name__)

BATCH = 2_000 if connection.vendor == "sqlite" else 20_000
"""Events deleted in one transaction: some tens of milliseconds."""
DAY_BATCH = 100_000
"""Events that days may have of which as many as a batch, or more, are deleted in one transaction."""
MOVED = 20_000
"""Events that are moved at most, out of a partition that is dropped: some 100 milliseconds."""
PAUSE = 0.05 if connection.vendor == "sqlite" else 0.005
"""Seconds between transactions. On SQLite other writers starve without it."""
LEASE = timedelta(minutes=10)
LEFT_OVER = "Left over from a run that died"
LARGEST = 10
"""Repositories that a preview names for each rule."""

Progress = Callable[[Run], None]


class Stopped(Exception):
    """The run was asked to stop."""


class LeaseLost(Exception):
    """The run showed no progress for too long, and another took its place."""


class Job:
    """What a deletion and its preview have in common: a lease, and a report by rule and category."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run = run
        self.progress = progress

    @cached_property
    def ranges(self) -> list[rules.Portion]:
        return rules.ranges(self.run.settings, self.run.cutoff)

    @cached_property
    def portions(self) -> list[rules.Portion]:
        return rules.portions(self.ranges, self.run.settings["holds"], self.run.cutoff)

    def held(self) -> Q:
        return rules.held(self.run.settings["holds"])

    def save(self) -> None:
        """Store the counts, in the transaction that made them, and renew the lease.

        Raises LeaseLost if the run was given up meanwhile: nothing of the transaction is committed.
        """
        values = {"expected": self.run.expected, "deleted": self.run.deleted, "report": self.run.report}
        mine = Run.objects.filter(pk=self.run.pk, state=Run.State.RUNNING)
        if not mine.update(lease_until=timezone.now() + LEASE, **values):
            raise LeaseLost

    def breathe(self, seconds: float = 0) -> None:
        """Let recording and reading through after a transaction that took so many seconds.

        Raises Stopped if asked to stop.
        """
        self.pause(seconds)
        if Run.objects.filter(pk=self.run.pk, stop_requested=True).exists():
            raise Stopped

    def pause(self, seconds: float = 0) -> None:
        self.progress(self.run)
        time.sleep(max(PAUSE, seconds / 2))

    def count(self, rule: str, counts: Counter[str]) -> dict[str, Any]:
        """Add counts by category to the report's entry of a rule, and return the entry."""
        entry = self.run.report.setdefault(rule, {"events": 0, "categories": {}})
        entry["events"] += counts.total()
        entry["categories"] = dict(Counter(entry["categories"]) + counts)
        return entry


class Preview(Job):
    """Counts what would go, and deletes nothing."""

    def __init__(self, run: Run, progress: Progress) -> None:
        super().__init__(run, progress)
        self.sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """For each rule, the events that would go of each repository."""

    def carry_out(self) -> None:
        self.run.expected = 0
        self.save()
        exempt = self.held()
        for portion in self.portions:
            groups = portion.events().filter(~exempt).order_by().values("category", "repository_name")
            for group in groups.annotate(
                events=Count("pk"), first=Min("occurred_at"), last=Max("occurred_at")
            ):
                entry = self.count(portion.rule.name, Counter({group["category"]: group["events"]}))
                self._extend(entry, group)
                self.sizes[portion.rule.name][group["repository_name"]] += group["events"]
            for rule, entry in self.run.report.items():
                entry["largest"] = self.sizes[rule].most_common(LARGEST)
            self.run.expected = sum(entry["events"] for entry in self.run.report.values())
            self.save()
            self.breathe()

    def _extend(self, entry: dict[str, Any], group: Any) -> None:
        """Extend an entry's time range."""
        first, last = group["first"].isoformat(), group["last"].isoformat()
        entry["from"] = min(entry.get("from", first), first)
        entry["to"] = max(entry.get("to", last), last)


class Deletion(Job):
    """Deletes what goes: partitions first, then the rest in batches."""

    def carry_out(self) -> None:
        if not self.run.settings["enabled"]:
            return
        self.finish_leftovers()
        if self.run.settings["archive"]:
            self.expect()  # without archives, partitions are dropped in less time than this count takes
        self.drop_partitions()
        if not self.run.settings["archive"]:
            self.expect()
        for portion in self.portions:
            if self.run.settings["archive"]:
                self.archive_and_delete(portion)
            else:
                self.delete(portion)

    def expect(self) -> None:
        """Count how many events are to go, together with those that are gone."""
        exempt = self.held()
        to_go = sum(portion.events().filter(~exempt).count() for portion in self.portions)
        self.run.expected = self.run.deleted + to_go
        self.save()

    def delete(self, portion: rules.Portion) -> None:
        """Delete a portion, the oldest events first."""
        lower = rules.EARLIEST
        while lower < portion.bound:
            began = time.monotonic()
            with transaction.atomic():
                lower = self.delete_some(portion, lower)
            self.breathe(time.monotonic() - began)

    def delete_some(self, portion: rules.Portion, lower: UUID) -> UUID:
        """Delete the next events of a portion, those of whole days if nearly all of these go.

        Returns the id to go on from, so as not to go through the remains of what was deleted again.
        """
        going, upper = portion.events().filter(~self.held(), id__gte=lower), portion.bound
        if portion.most > BATCH:
            upper = _ids(going)[BATCH : BATCH + 1].first() or upper
        if portion.lanes and partitions.is_partitioned() and (days := _whole_days(portion, going, upper)):
            gone = remove_days(going, portion.lanes, *days)
            upper = first_id(days[1])
        else:
            gone = remove(going.filter(id__lt=upper))
        self.count_gone(gone, portion.rule.name)
        return upper

    def archive_and_delete(self, portion: rules.Portion) -> None:
        """Archive and delete a portion, as many events at a time as an archive holds."""
        for archive in self.archive(portion.events()):
            self.delete_archived(archive, portion.rule.name)
            self.breathe()

    def archive(self, events: QuerySet[Event]) -> Iterator[Archive]:
        """Write archives, the oldest events first, and yield each once its events may be deleted."""
        lower = rules.EARLIEST
        while archive := archives.write(self.run, events.filter(~self.held(), id__gt=lower)):
            try:
                with transaction.atomic():
                    self.save()
                    archive.written_at = timezone.now()
                    archive.save(force_update=True)
            except LeaseLost:  # whoever took over archives these events
                archives.discard(archive)
                raise
            yield archive
            lower = archive.last_id or lower

    def delete_archived(self, archive: Archive, rule: str = "") -> None:
        """Delete just the events that an archive holds. Those that are held by now it holds no longer."""
        ids = archives.ids_of(archive)
        kept: list[UUID] = []
        for begin in range(0, len(ids), BATCH):
            among = Event.objects.filter(_among(ids[begin : begin + BATCH]))
            with transaction.atomic():
                self.count_gone(remove(among.filter(~self.held())), rule)
            kept += among.values_list("pk", flat=True)
            self.pause()
        if kept:
            archives.leave_out(archive, set(kept))
        else:
            archive.deleted_at = timezone.now()
            archive.save(update_fields=["deleted_at"])

    def count_gone(self, gone: Gone, rule: str) -> None:
        """Count what went by a rule, in the transaction that deleted it.

        Without its name, the one that decides is found for each repository and category.
        """
        if rule and gone:
            self.count(rule, _by_category(gone))
            self.run.deleted += gone.total()
        else:
            self.count_by_rule(gone)
        self.save()

    @cached_property
    def rules(self) -> list[rules.Rule]:
        return [portion.rule for portion in self.ranges]

    def namespaces(self) -> dict[int | None, int]:
        """Return the namespace of each repository, if any rule asks for it."""
        if not any(rule.namespace for rule in self.rules):
            return {}
        return dict(Repository.objects.values_list("pk", "namespace"))

    def count_by_rule(self, gone: Gone) -> None:
        """Count what went by the rules that decided for it."""
        by_rule: defaultdict[str, Counter[str]] = defaultdict(Counter)
        namespaces = self.namespaces()
        for (repository, category), number in gone.items():
            namespace = namespaces.get(repository)
            rule = next(rule for rule in self.rules if rule.decides_for(repository, namespace, category))
            by_rule[rule.name][category] += number
        for name, counts in by_rule.items():
            self.count(name, counts)
        self.run.deleted += gone.total()

    def drop_partitions(self) -> None:
        """Drop the partitions of which nothing stays, or little. What is in use is deleted later instead."""
        for partition in partitions.attached():
            if not self.is_to_be_dropped(partition):
                continue
            holds = rules.current_holds()
            written = self.archive_partition(partition) if self.run.settings["archive"] else []
            if not self.drop(partition, written, holds):
                for archive in written:
                    self.delete_archived(archive)
            self.breathe()

    def is_to_be_dropped(self, partition: Partition) -> bool:
        """Tell whether so few events stay that moving these costs less than deleting the rest."""
        if partition.bounds[1] > max(portion.bound for portion in self.ranges):
            return False
        events = partitions.events(partition)
        staying = events.filter(self.stays(partition))[: MOVED + 1].count()
        return not staying or (staying <= MOVED and events[: 2 * staying + 1].count() > 2 * staying)

    def stays(self, partition: Partition) -> Q:
        """Return the condition of events of a partition that stay, or may: held ones, or from a bound on."""
        stays = self.held()
        for portion in self.ranges:
            if portion.bound < partition.bounds[1]:
                stays |= portion.condition & Q(id__gte=portion.bound)
            if portion.rule.decides_for_all(pulls=partition.is_pull):
                break  # the rules after it decide for none of these
        return stays

    def archive_partition(self, partition: Partition) -> list[Archive]:
        """Archive what goes of a partition. If asked to stop, leave no archive."""
        written = []
        try:
            for archive in self.archive(partitions.events(partition).filter(~self.stays(partition))):
                written.append(archive)
                self.breathe()
        except Stopped:
            archives.discard(*written)
            raise
        return written

    def drop(self, partition: Partition, written: list[Archive], holds: Holds) -> bool:
        """Drop a partition but for what stays, and tell whether that was done.

        `holds` were in force when it began to be archived.
        """
        try:
            return partitions.trying(partial(self.drop_now, partition, written, holds))
        except OperationalError:
            logger.warning("%s is in use, so its events are deleted one by one.", partition.name)
            return False

    @transaction.atomic
    def drop_now(self, partition: Partition, written: list[Archive], holds: Holds) -> bool:
        """Drop it unless more stays by now, or not all that goes is archived."""
        # Whoever asks to stop locks the run, too, before the events: another order would be a deadlock.
        # And what was counted by a try that failed is forgotten.
        self.run.refresh_from_db(from_queryset=Run.objects.select_for_update())
        partitions.freeze(partition)
        events = partitions.events(partition)
        staying = events.filter(self.stays(partition))
        number = staying[: MOVED + 1].count()
        archived = sum(archive.events for archive in written)
        # Where what a new hold keeps is archived, and as much that came since is not, the sums agree.
        if number > MOVED or (
            self.run.settings["archive"]
            and (rules.current_holds() != holds or events.count() != number + archived)
        ):
            return False
        by_repository = any(rule.repository or rule.namespace for rule in self.rules)
        self.count_by_rule(partitions.drop(partition, staying, by_repository=by_repository))
        them = Archive.objects.filter(pk__in=[archive.pk for archive in written])
        them.update(deleted_at=timezone.now())
        self.save()
        return True

    def finish_leftovers(self) -> None:
        """Finish what a run that died had begun: archives half written, or whose events are still there."""
        for archive in Archive.objects.filter(deleted_at=None).order_by(
            F("written_at").asc(nulls_first=True)
        ):
            if archive.written_at is None:
                with transaction.atomic():
                    self.save()  # it isn't being written by a run that took over from this one
                    archives.discard(archive)
            else:
                self.delete_archived(archive, LEFT_OVER)


def _by_category(gone: Gone) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (_, category), number in gone.items():
        counts[category] += number
    return counts


def _among(ids: list[UUID]) -> Q:
    """Return the condition of being one of many ids, given in order, as a single parameter."""
    if connection.vendor == "postgresql":
        listed = RawSQL("SELECT unnest(%s::uuid[])", [ids])
    else:
        listed = RawSQL("SELECT value FROM json_each(%s)", [json.dumps([id.hex for id in ids])])
    return Q(id__gte=ids[0], id__lte=ids[-1], id__in=listed)


def _ids(events: QuerySet[Event]) -> QuerySet:
    return events.order_by("id").values_list("id", flat=True)


def _whole_days(
    portion: rules.Portion, going: QuerySet[Event], upper: UUID
) -> tuple[datetime, datetime] | None:
    """Return the days up to an id of those events of a portion that go; None if they aren't whole or few."""
    first = _ids(going).first() or upper
    start, end = floor(moment_of(first), DAY), floor(moment_of(upper), DAY)
    if upper < portion.bound:
        end = min(end + DAY, floor(moment_of(portion.bound), DAY))
    there = Event.objects.filter(is_pull__in=portion.lanes, id__gte=first_id(start), id__lt=first_id(end))
    return (start, end) if start < end and there[: DAY_BATCH + 1].count() <= DAY_BATCH else None
