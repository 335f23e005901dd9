"""Says in words whether everything works. The admin's front page, commands and monitors read the same checks.

Each check is a function that yields what it has found. To add one, write the function and add it to `CHECKS`.
The cost of a check must not grow with the number of events.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any
from uuid import uuid4

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.timesince import timesince
from django_celery_beat.models import PeriodicTask

from activity.config import archive_storage, record_in_request
from activity.deletion import archive_files, changes
from activity.deletion.configuration import DELETION_TASK
from activity.models import (
    DeadLetter,
    Event,
    Heartbeat,
    Registry,
    RegistryNode,
    Run,
    TallyChange,
    Verification,
)
from activity.schedule import SCHEDULE
from activity.sources.registries import may_add_events
from activity.storage import heartbeats, journal, partitions
from repositories.access.levels import AUDITOR_PERMISSIONS, Category
from repositories.access.resolving import Access
from repositories.models import AccessToken, Namespace, Repository

logger = logging.getLogger(__name__)

MAX_COUNTED = 1_000
"""The maximum number of rows to count."""
MAX_NAMED = 20
"""The maximum number of registries or nodes that a check names."""
MAX_NAMESPACES = 3
MAX_QUEUED = timedelta(minutes=2)
MAX_OVERDUE = timedelta(minutes=10)
"""Celery beat stores up to three minutes later that it has started a task."""
MAX_WAITING = timedelta(seconds=30)
"""Messages are usually recorded after a tenth of a second."""
MAX_JOURNAL = 100_000
MAX_UNFOLDED_AGE = timedelta(minutes=5)
MAX_UNFOLDED = 100_000
MAX_CLOCK_DIFFERENCE = timedelta(minutes=1)
PROBE_SIZE = 64 << 10
"""The size of the file, in bytes, that is written to the archive storage to see whether it is writable."""


class State(IntEnum):
    OK = 0
    WARNING = 1
    ERROR = 2

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """Something that a check has found, in words, with the page where something can be done about it."""

    state: State
    words: str
    page: str = ""
    """The name of the page's URL pattern."""
    arguments: tuple[Any, ...] = ()

    @property
    def link(self) -> str:
        """The URL of the page, or an empty string if there is none in this site."""
        try:
            return reverse(self.page, args=self.arguments) if self.page else ""
        except NoReverseMatch:
            return ""


@dataclass(frozen=True)
class Check:
    name: str
    label: str
    find: Callable[[datetime], Iterable[Finding]]
    fine: str
    """What to say if nothing was found."""


@dataclass(frozen=True)
class Result:
    """The findings of a check, the worst first. There is at least one."""

    check: Check
    findings: list[Finding]

    @property
    def state(self) -> State:
        return self.findings[0].state


def report() -> list[Result]:
    """Execute all checks, and return their results, the worst first."""
    now = timezone.now()
    return sorted((_execute(check, now) for check in CHECKS), key=lambda result: -result.state)


def worst(results: Iterable[Result]) -> State:
    return max((result.state for result in results), default=State.OK)


def _execute(check: Check, now: datetime) -> Result:
    try:
        findings = sorted(check.find(now), key=lambda finding: -finding.state)
    except Exception as error:  # the other checks are still worth knowing
        logger.exception("The check %s failed.", check.name)
        findings = [Finding(State.ERROR, f"This could not be checked: {type(error).__name__}: {error}")]
    return Result(check, findings or [Finding(State.OK, check.fine)])


# --- Programs -----------------------------------------------------------------------------------


def check_worker(now: datetime) -> Iterator[Finding]:
    yield from find_silent(heartbeats.WORKER, "The Celery worker", now)


def check_beat(now: datetime) -> Iterator[Finding]:
    yield from find_silent(heartbeats.BEAT, "Celery beat", now)


def find_silent(program: str, name: str, now: datetime) -> Iterator[Finding]:
    """Yield an error if a program that sends heartbeats isn't alive."""
    row = Heartbeat.objects.filter(pk=program).first()
    if row is None:
        yield Finding(State.ERROR, f"{name} is not running: no sign of life yet.")
    elif row.beat_at < now - heartbeats.ALIVE:
        yield Finding(State.ERROR, f"{name} is not running: last sign of life {_ago(row.beat_at, now)}.")


def check_recorder(now: datetime) -> Iterator[Finding]:
    """Find out whether messages wait in the journal for too long, or nobody records them."""
    if not record_in_request():
        yield from find_silent(heartbeats.RECORDER, "The recorder", now)
    oldest = journal.oldest()
    if oldest and oldest < now - MAX_WAITING:
        waiting = journal.count_waiting(MAX_JOURNAL + 1)
        number = f"more than {MAX_JOURNAL:,}" if waiting > MAX_JOURNAL else f"{waiting:,}"
        words = f"Recording is behind: {number} messages wait, the oldest for {_length(now - oldest)}."
        yield Finding(State.ERROR, words)


def check_schedule(now: datetime) -> Iterator[Finding]:
    """Find scheduled tasks that are deleted, switched off or overdue."""
    deletes = changes.saved().enabled
    tasks = list(PeriodicTask.objects.filter(task__in=[task for task, _ in SCHEDULE.values()]))
    for name, (path, _) in SCHEDULE.items():
        if path == DELETION_TASK and not deletes:
            continue
        state = State.ERROR if path == DELETION_TASK else State.WARNING
        what = f"Auto-deletion is on, but its schedule “{name}”" if path == DELETION_TASK else f"“{name}”"
        page = "admin:django_celery_beat_periodictask_changelist"
        found = [task for task in tasks if task.task == path]
        enabled = [task for task in found if task.enabled and not _has_expired(task, now)]
        if not found:
            yield Finding(state, f"{what} was deleted. “manage.py migrate” restores it.", page)
        elif not enabled:
            yield Finding(state, f"{what} is switched off.", page)
        elif all(overdue := [_overdue(task, now) for task in enabled]):
            yield Finding(state, f"{what} is overdue by {_length(min(filter(None, overdue)))}.", page)


def _has_expired(task: PeriodicTask, now: datetime) -> bool:
    return bool(task.expires and task.expires <= now)


def _overdue(task: PeriodicTask, now: datetime) -> timedelta | None:
    """Return how long ago a task should have started, or None if it isn't overdue."""
    since = task.last_run_at or task.date_changed
    late = -task.schedule.remaining_estimate(since)
    return late if late > MAX_OVERDUE else None


def check_runs(now: datetime) -> Iterator[Finding]:
    """Find runs that are stuck, and whether the last one has failed."""

    def finding(run: Run, words: str) -> Finding:
        return Finding(State.ERROR, f"{run} {words}", "admin:registry_activity_run_change", (run.pk,))

    last = {preview: Run.objects.filter(preview=preview).first() for preview in (False, True)}
    for run in filter(None, last.values()):
        since = _length(now - run.started_at)
        if run.state == Run.State.QUEUED and run.started_at < now - MAX_QUEUED:
            yield finding(run, f"has been queued for {since}: no worker has started it.")
        elif run.state == Run.State.RUNNING and run.lease_until < now:
            yield finding(run, "makes no progress. The next run replaces it.")
        elif run.state == Run.State.WAITING:
            yield finding(run, f"waits for a person: {run.error}")
        elif run.state == Run.State.FAILED:
            yield finding(run, f"failed {_ago(run.finished_at or run.started_at, now)}: {run.error}")
        elif run.state == Run.State.ABANDONED:
            yield finding(run, "was abandoned before it had finished.")


def check_folding(now: datetime) -> Iterator[Finding]:
    """Find out whether counts wait to be folded for too long. They remain exact, but reading them is slow."""
    waiting = TallyChange.objects.order_by()[: MAX_UNFOLDED + 1].count()
    folded = Heartbeat.objects.filter(pk=heartbeats.FOLDING).first()
    if waiting > MAX_UNFOLDED:
        yield Finding(State.WARNING, f"Folding is behind: more than {MAX_UNFOLDED:,} counts wait.")
    elif waiting and folded and folded.beat_at < now - MAX_UNFOLDED_AGE:
        yield Finding(
            State.WARNING, f"Folding is behind: counts were last folded {_ago(folded.beat_at, now)}."
        )


# --- Storage ------------------------------------------------------------------------------------


def check_archives(now: datetime) -> Iterator[Finding]:
    """Find out whether archives can be written, by writing a small file."""
    settings = changes.saved()
    if not settings.archive:
        return
    state = State.ERROR if settings.enabled else State.WARNING
    page = "admin:registry_activity_archive_changelist"
    storage = archive_storage()
    name = f"health-check-{uuid4().hex}"
    try:
        content = uuid4().bytes * (PROBE_SIZE // 16)
        try:
            storage.save(name, ContentFile(content))
            with storage.open(name) as file:
                if file.read() != content:
                    raise OSError("a file was not stored correctly")
        finally:
            storage.delete(name)  # if the disk is full, a part of the file may exist
    except Exception as error:  # each storage has exceptions of its own
        yield Finding(state, f"Archives can't be written: {error}", page)
        return
    if isinstance(storage, FileSystemStorage):
        free = shutil.disk_usage(storage.location).free
        if free < archive_files.MAX_SIZE:
            words = f"The disk of the archives is nearly full: {free >> 20} MiB are free."
            yield Finding(State.WARNING, words, page)


def check_partitions(now: datetime) -> Iterator[Finding]:
    """Find months without a partition, whose events would go to the default partition."""
    if not partitions.is_partitioned():
        return
    existing = set(partitions.monthly_partitions())
    for month, state in zip(partitions.months_from(now, 2), (State.ERROR, State.WARNING), strict=True):
        missing = [group for group in partitions.GROUPS if partitions.Partition(group, month) not in existing]
        if missing:
            words = f"The event table has no partition for {month:%B %Y} ({' and '.join(missing)})."
            yield Finding(state, words, "admin:django_celery_beat_periodictask_changelist")


def check_verification(now: datetime) -> Iterator[Finding]:
    """Report what the last `manage.py verify` has found."""
    last = Verification.objects.first()
    if last and last.problems:
        words = f"The verification {_ago(last.finished_at or last.started_at, now)} found: {last.problems[0]}"
        more = f" There are {len(last.problems) - 1} more problems." if len(last.problems) > 1 else ""
        yield Finding(State.ERROR, words + more, "admin:registry_activity_verification_change", (last.pk,))


# --- Registries ---------------------------------------------------------------------------------


def check_registries(now: datetime) -> Iterator[Finding]:
    """Find registries that are cut off, because their account can't deliver anything, or quiet."""
    valid = AccessToken.FOR_NOTIFICATIONS & (Q(expiry=None) | Q(expiry__gt=now))
    tokens = AccessToken.objects.filter(valid, user=OuterRef("account"))
    registries = Registry.objects.select_related("account").annotate(
        has_token=Exists(tokens), has_permission=may_add_events("account")
    )
    for registry in registries[:MAX_NAMED]:
        contact = f"last contact {_ago(registry.last_contact_at, now)}"
        arguments = ("admin:registry_activity_registry_change", (registry.pk,))
        if reason := _why_cut_off(registry):
            yield Finding(State.ERROR, f"{registry} is cut off: {reason}, {contact}.", *arguments)
        elif registry.is_quiet:
            yield Finding(State.WARNING, f"{registry} is quiet: {contact}.", *arguments)


def _why_cut_off(registry: Any) -> str:
    if registry.account is None:
        return "its account was deleted"
    if not registry.account.is_active:
        return "its account is inactive"
    if not registry.has_permission and not registry.account.is_superuser:
        return "its account has lost the permission to add events"
    return "" if registry.has_token else "its account has no valid access token for notifications"


def check_clocks(now: datetime) -> Iterator[Finding]:
    """Find clocks that are wrong: of this machine, of the database's, and of the nodes of registries."""
    if lead := heartbeats.lead(now):
        words = (
            f"The clock of this machine is {_length(lead)} ahead of the last sign of life. "
            "Until somebody says that it is right, auto-deletion deletes nothing."
        )
        yield Finding(State.ERROR, words, "admin:registry_activity_autodeletion_change")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            difference = timezone.now() - cursor.fetchone()[0]
        if abs(difference) > MAX_CLOCK_DIFFERENCE:
            direction = "ahead of" if difference > timedelta() else "behind"
            words = (
                f"The clock of this machine is {_length(abs(difference))} {direction} that of the database."
            )
            yield Finding(State.WARNING, words)
    for node in RegistryNode.objects.exclude(clock_offset=None).select_related("account")[:MAX_NAMED]:
        late = "" if node.is_ahead else " Or its messages arrive late."
        words = f"{node.account}: the clock of {node} is {node.clock_offset_in_words}.{late}"
        yield Finding(State.WARNING, words, "admin:registry_activity_registry_changelist")


# --- What waits for somebody --------------------------------------------------------------------


def check_dead_letters(now: datetime) -> Iterator[Finding]:
    waiting = DeadLetter.objects.filter(DeadLetter.WAITING).order_by()[: MAX_COUNTED + 1].count()
    if waiting:
        number = f"more than {MAX_COUNTED:,}" if waiting > MAX_COUNTED else waiting
        words = f"Messages that could not be recorded: {number} waiting."
        yield Finding(State.WARNING, words, "admin:registry_activity_deadletter_changelist")


def check_namespaces(now: datetime) -> Iterator[Finding]:
    """Find namespaces without an owner, and who has pushed to them."""
    unclaimed = Namespace.objects.filter(Namespace.UNCLAIMED).order_by("-pk")[: MAX_NAMESPACES + 1]
    for number, namespace in enumerate(unclaimed):
        page = "admin:registry_repositories_namespace_change", (namespace.pk,)
        if number == MAX_NAMESPACES:
            yield Finding(State.WARNING, "More namespaces are unclaimed.", f"{page[0]}list")
        else:
            yield Finding(State.WARNING, f"{namespace} is unclaimed. {_pusher(namespace)}".strip(), *page)


def _pusher(namespace: Namespace) -> str:
    """Return who has last pushed to an unclaimed namespace, and whether they can't see it yet."""
    repository = Repository.objects.live().filter(namespace=namespace).order_by("-pk").first()
    # Only MSR admins and auditors see the findings.
    events = Event.objects.visible_to(Access(AUDITOR_PERMISSIONS), repository)
    pushes = events.filter(partitions.in_category(Category.PUSH)).select_related("actor_user")
    push = pushes.order_by("-id").first() if repository else None
    if push is None:
        return "Only MSR admins and auditors can see its repositories."
    user = push.actor_user
    blind = user is None or not Access.for_user(user).sees_everything
    sight = "and can't see it yet" if blind else "and can see it"
    return f"{push.actor_label} pushed to {repository} {sight}."


def _ago(moment: datetime, now: datetime) -> str:
    return f"{_length(now - moment)} ago"


def _length(length: timedelta) -> str:
    """Return a length of time in words, such as `3 minutes`."""
    if length < timedelta(minutes=1):
        return f"{max(0, int(length.total_seconds()))} seconds"
    now = timezone.now()
    return timesince(now - length, now, depth=1).replace("\xa0", " ")


CHECKS = [
    Check("worker", "Worker", check_worker, "The Celery worker is running."),
    Check("beat", "Beat", check_beat, "Celery beat is running."),
    Check("recorder", "Recorder", check_recorder, "Messages are recorded in time."),
    Check("schedule", "Schedule", check_schedule, "The scheduled tasks start on time."),
    Check("runs", "Auto-deletion", check_runs, "No run is stuck, and the last one did not fail."),
    Check("folding", "Folding", check_folding, "Counts are folded in time."),
    Check("archives", "Archives", check_archives, "Archives can be written, or archiving is off."),
    Check("verification", "Verification", check_verification, "The last verification found nothing missing."),
    Check("partitions", "Partitions", check_partitions, "This month and the next have their partitions."),
    Check("registries", "Registries", check_registries, "No registry is quiet or cut off."),
    Check("clocks", "Clocks", check_clocks, "No clock is known to be wrong."),
    Check("dead_letters", "Dead letters", check_dead_letters, "No messages wait."),
    Check("namespaces", "Namespaces", check_namespaces, "Every namespace has an owner."),
]
