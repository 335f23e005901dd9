"""Runs of auto-deletion: one at a time, in short transactions, and finished by the next if one dies."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import OperationalError, connection, transaction
from django.db.models import Case, Count, Max, Min, Q, QuerySet, Value, When
from django.db.models.expressions import RawSQL
from django.db.models.sql import DeleteQuery
from django.utils import timezone

from activity import partitions
from activity.deletion import archives, rules
from activity.deletion.models import Archive, AutoDeletion, Run
from activity.drafts import Draft
from activity.models import PROGRAMS, ActorType, Event
from activity.partitions import Partition
from activity.recording import record_events

logger = logging.getLogger(__name__)

BATCH = 2_000 if connection.vendor == "sqlite" else 20_000
"""Events deleted in one transaction: some tens of milliseconds."""
PAUSE = 0.05 if connection.vendor == "sqlite" else 0.005
"""Seconds between transactions. On SQLite other writers starve without it."""
LEASE = timedelta(minutes=10)
KEPT_RUNS = 200
"""Job logs that are kept; older ones go."""
LEFT_OVER = "Left over from a run that died"
LARGEST = 10
"""Repositories that a preview names for each rule."""

Progress = Callable[[Run], None]


class UnderWay(Exception):
    """Another run has not ended yet."""


class Stopped(Exception):
    """The run was asked to stop."""


class LeaseLost(Exception):
    """The run showed no progress for too long, and another took its place."""


def start(started_by: str, *, preview: bool = False, cutoff: datetime | None = None) -> Run:
    """Make the record of a run, which `execute` then carries out. Raises UnderWay if there is one."""
    now = timezone.now()
    with transaction.atomic():
        AutoDeletion.get_solo()
        setting = AutoDeletion.objects.select_for_update().get()  # one start at a time
        active = Run.objects.filter(state__in=[Run.State.QUEUED, Run.State.RUNNING])
        if current := active.filter(lease_until__gt=now).first():
            raise UnderWay(f"{current}, started by {current.started_by}, is under way.")
        active.update(state=Run.State.ABANDONED, finished_at=now)
        settings = {**rules.snapshot(), "enabled": setting.enabled, "archive": setting.archive}
        run = Run.objects.create(
            started_by=started_by,
            preview=preview,
            cutoff=cutoff or now,
            started_at=now,
            lease_until=now + LEASE,
            settings=settings,
        )
        Run.objects.filter(pk__lte=run.pk - KEPT_RUNS).delete()
    return run


def execute(run: Run, progress: Progress = lambda run: None) -> None:
    """Carry a run out, if nobody else has begun to. How it ended is in its record."""
    queued = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED)
    if not queued.update(state=Run.State.RUNNING, lease_until=timezone.now() + LEASE):
        return
    run.refresh_from_db()
    state, error = Run.State.FINISHED, ""
    try:
        job = (Preview if run.preview else Deletion)(run, progress)
        job.breathe()
        job.carry_out()
    except Stopped:
        state = Run.State.STOPPED
    except LeaseLost:
        logger.warning("%s was given up, and another took its place.", run)
        return
    except Exception as problem:
        logger.exception("%s failed.", run)
        state, error = Run.State.FAILED, f"{type(problem).__name__}: {problem}"
    finish(run, state, error)


@transaction.atomic
def finish(run: Run, state: Run.State, error: str) -> None:
    """Say how a run ended, with the counts of what it committed."""
    mine = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING)
    if mine.update(state=state, error=error, finished_at=timezone.now()):
        run.refresh_from_db()
        if run.deleted:
            record_run(run)


def record_run(run: Run) -> None:
    """Record a run that deleted something as an event, which MSR admins see."""
    counts = {rule: entry["events"] for rule, entry in run.report.items()}
    record_events(
        [
            Draft(
                kind="delete_events",
                repository_name="",
                occurred_at=timezone.now(),
                source_id=str(uuid4()),
                actor_type=ActorType.SYSTEM if run.started_by in PROGRAMS else ActorType.USER,
                actor_name=run.started_by,
                details={"run": run.pk, "deleted": run.deleted, "by_rule": counts, "state": run.state},
            )
        ]
    )


def give_up(run: Run, error: str) -> None:
    """Say that a run never began, so that it doesn't keep others from starting."""
    mine = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED)
    mine.update(state=Run.State.FAILED, error=error, finished_at=timezone.now())


class Job:
    """What a deletion and its preview have in common: a lease, and a report by rule and category."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run = run
        self.progress = progress

    def portions(self) -> Iterator[rules.Portion]:
        return rules.portions(self.run.settings, self.run.cutoff)

    def save(self) -> None:
        """Store the counts, in the transaction that made them, and renew the lease.

        Raises LeaseLost if the run was given up meanwhile: nothing of the transaction is committed.
        """
        values = {"expected": self.run.expected, "deleted": self.run.deleted, "report": self.run.report}
        mine = Run.objects.filter(pk=self.run.pk, state=Run.State.RUNNING)
        if not mine.update(lease_until=timezone.now() + LEASE, **values):
            raise LeaseLost

    def breathe(self) -> None:
        """Let recording and reading through between two transactions. Raises Stopped if asked to stop."""
        self.pause()
        if Run.objects.filter(pk=self.run.pk, stop_requested=True).exists():
            raise Stopped

    def pause(self) -> None:
        self.progress(self.run)
        time.sleep(PAUSE)

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
        for portion in self.portions():
            groups = portion.events().order_by().values("category", "repository_name")
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
    """Deletes what goes: whole partitions first, then the rest in batches."""

    def carry_out(self) -> None:
        if not self.run.settings["enabled"]:
            return
        self.finish_leftovers()
        if self.run.settings["archive"]:
            self.expect()  # without archives, partitions are dropped in less time than this count takes
        self.drop_partitions()
        self.expect()
        for portion in self.portions():
            if self.run.settings["archive"]:
                self.archive_and_delete(portion)
            else:
                self.delete(portion)

    def expect(self) -> None:
        """Count how many events are to go, together with those that are gone."""
        self.run.expected = self.run.deleted + sum(portion.events().count() for portion in self.portions())
        self.save()

    def delete(self, portion: rules.Portion) -> None:
        """Delete a portion, the oldest events first."""
        events, lower = portion.events(), rules.EARLIEST
        while upper := _last_of(events.filter(id__gt=lower), BATCH):
            with transaction.atomic():
                self.remove(portion.rule.name, events.filter(id__gt=lower, id__lte=upper))
            lower = upper  # not again through the remains of what was deleted
            self.breathe()
        with transaction.atomic():
            self.remove(portion.rule.name, events.filter(id__gt=lower))
        self.breathe()

    def archive_and_delete(self, portion: rules.Portion) -> None:
        """Archive and delete a portion, as many events at a time as an archive holds."""
        for archive in self.archive(portion.events()):
            self.delete_archived(archive, portion.rule.name)
            self.breathe()

    def archive(self, events: QuerySet[Event], partition: str = "") -> Iterator[Archive]:
        """Write archives, the oldest events first, and yield each once its events may be deleted."""
        lower = rules.EARLIEST
        while archive := archives.write(self.run, events.filter(id__gt=lower), partition):
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

    def delete_archived(self, archive: Archive, rule: str) -> None:
        """Delete just the events that an archive holds, but for those that are held by now."""
        ids = archives.ids_of(archive)
        exempt = rules.held(self.run.settings["holds"])
        for begin in range(0, len(ids), BATCH):
            with transaction.atomic():
                self.remove(rule, Event.objects.filter(_among(ids[begin : begin + BATCH]), ~exempt))
            self.pause()
        archive.deleted_at = timezone.now()
        archive.save(update_fields=["deleted_at"])

    def remove(self, rule: str, events: QuerySet[Event]) -> None:
        """Delete events within a transaction, and count what was deleted of each category."""
        if counts := _delete(events):
            self.count(rule, counts)
            self.run.deleted += counts.total()
        self.save()

    def drop_partitions(self) -> None:
        """Drop the partitions in which no event stays. What is kept from its lock is deleted instead."""
        ranges = rules.ranges(self.run.settings, self.run.cutoff)
        for partition in partitions.attached():
            low, high = partition.bounds
            events = Event.objects.filter(is_pull=partition.is_pull, id__gte=low, id__lt=high)
            if (
                high > max(portion.bound for portion in ranges)
                or events.filter(self.staying(ranges)).exists()
            ):
                continue
            try:
                partitions.detach(partition)
            except OperationalError:
                logger.warning("%s is in use, so its events are deleted one by one.", partition.name)
            else:
                self.archive_and_drop(partition, ranges)
            self.breathe()

    def staying(self, ranges: list[rules.Portion]) -> Q:
        """Return the condition of events that stay, or may: those held, and those from a bound on."""
        staying = rules.held_now(self.run.settings["holds"])
        for portion in ranges:
            staying |= portion.condition & Q(id__gte=portion.bound)
        return staying

    def archive_and_drop(self, partition: Partition, ranges: list[rules.Portion]) -> None:
        """Archive, if so set, and drop a partition that was detached.

        What came, or was held, since it was looked at goes back first: once detached, nothing comes.
        """
        events = partitions.events(partition)
        written = Archive.objects.filter(partition=partition.name, deleted_at=None)
        last = written.order_by("-last_id").values_list("last_id", flat=True).first() or rules.EARLIEST
        with transaction.atomic():
            partitions.put_back(partition, self.staying(ranges) & Q(id__gt=last))
            self.save()
        if self.run.settings["archive"]:
            for _ in self.archive(events.filter(id__gt=last), partition.name):
                self.progress(self.run)
        with transaction.atomic():
            partitions.put_back(partition, rules.held_now(self.run.settings["holds"]))
            self.count_by_rule(events)
            partitions.drop(partition)
            written.update(deleted_at=timezone.now())
            self.save()

    def count_by_rule(self, events: QuerySet[Event]) -> None:
        """Count events that all go, by rule and category."""
        deciding = [rules.Rule(**rule) for rule in self.run.settings["rules"]]
        first = Case(*(When(rule.covers(), then=Value(number)) for number, rule in enumerate(deciding)))
        groups = events.order_by().annotate(rule=first).values_list("rule", "category")
        for number, category, count in groups.annotate(Count("pk")):
            self.count(deciding[number].name, Counter({category: count}))
            self.run.deleted += count

    def finish_leftovers(self) -> None:
        """Finish what a run that died had begun: archives half written, or whose events are still there."""
        for archive in Archive.objects.filter(deleted_at=None).order_by("pk"):
            if archive.written_at is None:
                with transaction.atomic():
                    self.save()  # it isn't being written by a run that took over from this one
                    archives.discard(archive)
            elif not archive.partition:
                self.delete_archived(archive, LEFT_OVER)
        for partition in partitions.detached():
            self.archive_and_drop(partition, rules.ranges(self.run.settings, self.run.cutoff))


def _delete(events: QuerySet[Event]) -> Counter[str]:
    """Delete events, and return how many of each category."""
    delete, params = events.order_by().query.chain(DeleteQuery).get_compiler(events.db).as_sql()
    delete += " RETURNING category"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # spares the way of each row
            delete = f"WITH gone AS ({delete}) SELECT category, COUNT(*) FROM gone GROUP BY category"  # noqa: S608
            cursor.execute(delete, params)
            return Counter(dict(cursor.fetchall()))
        cursor.execute(delete, params)
        return Counter(category for (category,) in cursor.fetchall())


def _among(ids: list[UUID]) -> Q:
    """Return the condition of being one of many ids, given in order, as a single parameter."""
    if connection.vendor == "postgresql":
        listed = RawSQL("SELECT unnest(%s::uuid[])", [ids])
    else:
        listed = RawSQL("SELECT value FROM json_each(%s)", [json.dumps([id.hex for id in ids])])
    return Q(id__gte=ids[0], id__lte=ids[-1], id__in=listed)


def _last_of(events: QuerySet[Event], count: int) -> UUID | None:
    """Return the id of the last of the `count` oldest events, None if there are fewer."""
    return events.order_by("id").values_list("id", flat=True)[count - 1 : count].first()
