"""Checks whether everything works. The admin's front page, commands and monitors read the same checks.

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
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InvalidStorageError, Storage
from django.db import OperationalError, connection
from django.db.models import Exists, OuterRef, Q
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
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

BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
"""A site whose `CELERY_BEAT_SCHEDULER` has this value uses Celery."""
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
MAX_VERIFYING = timedelta(days=1)
MAX_UNVERIFIED = timedelta(days=8)
"""A week, and a day for a verification that takes long."""
MAX_UNFOLDED_AGE = timedelta(minutes=5)
MAX_UNFOLDED = 100_000
MAX_CLOCK_DIFFERENCE = timedelta(minutes=1)
PROBE_SIZE = 64 << 10
"""How many bytes are written to the archive storage, and removed, to see whether that works."""
MESSAGE_SIZE = 8 << 10
"""How many bytes are written to the journal, and removed, to see whether messages can be stored."""
PROBE_INTERVAL = 30
"""How long the result is used, in seconds, so that looking at pages doesn't keep the storage busy."""
ARCHIVES_KEY, DATABASE_KEY = "registry_activity:archive_storage", "registry_activity:database"
MIN_FREE = 64 << 20
"""The number of bytes that should be free on the disk of an SQLite database."""


class State(IntEnum):
    OK = 0
    WARNING = 1
    ERROR = 2

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """A problem that a check found, and the page where it can be fixed."""

    state: State
    text: str
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
    label: Promise
    find: Callable[[datetime], Iterable[Finding]]
    all_clear: Promise
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
        text = gettext("This could not be checked: %(error)s")
        findings = [Finding(State.ERROR, text % {"error": f"{type(error).__name__}: {error}"})]
    return Result(check, findings or [Finding(State.OK, str(check.all_clear))])


# --- Programs -----------------------------------------------------------------------------------


def check_worker(now: datetime) -> Iterator[Finding]:
    if _is_expected(heartbeats.WORKER):
        yield from find_silent(heartbeats.WORKER, gettext("The Celery worker"), now)
    else:
        yield Finding(State.OK, gettext("No Celery worker is in use."))


def check_beat(now: datetime) -> Iterator[Finding]:
    if _is_expected(heartbeats.BEAT):
        yield from find_silent(heartbeats.BEAT, gettext("Celery beat"), now)
    else:
        yield Finding(State.OK, gettext("Celery beat isn't in use."))


def _is_expected(program: str) -> bool:
    """Return whether the worker or beat has to run. Both are optional, but auto-deletion needs them."""
    return (
        getattr(settings, "CELERY_BEAT_SCHEDULER", None) == BEAT_SCHEDULER
        or changes.saved().enabled
        or Heartbeat.objects.filter(pk=program).exists()
    )


def find_silent(program: str, name: str, now: datetime) -> Iterator[Finding]:
    """Yield an error if a program that sends heartbeats isn't alive."""
    row = Heartbeat.objects.filter(pk=program).first()
    if row is None:
        yield Finding(
            State.ERROR, gettext("%(program)s is not running: no heartbeat yet.") % {"program": name}
        )
    elif row.beat_at < now - heartbeats.ALIVE:
        text = gettext("%(program)s is not running: last heartbeat %(time)s ago.")
        yield Finding(State.ERROR, text % {"program": name, "time": _length(now - row.beat_at)})


def check_recorder(now: datetime) -> Iterator[Finding]:
    """Find out whether messages wait in the journal for too long, or nobody records them."""
    if not record_in_request():
        yield from find_silent(heartbeats.RECORDER, gettext("The recorder"), now)
    oldest = journal.oldest()
    if oldest and oldest < now - MAX_WAITING:
        waiting = journal.count_waiting(MAX_JOURNAL + 1)
        text = gettext("Recording is behind: %(number)s messages wait, the oldest for %(time)s.")
        values = {"number": _up_to(waiting, MAX_JOURNAL), "time": _length(now - oldest)}
        yield Finding(State.ERROR, text % values)


def check_schedule(now: datetime) -> Iterator[Finding]:
    """Find scheduled tasks that are deleted, switched off or overdue."""
    if not _is_expected(heartbeats.BEAT):
        yield Finding(State.OK, gettext("Celery beat isn't in use, so no tasks are scheduled."))
        return
    deletes = changes.saved().enabled
    tasks = list(PeriodicTask.objects.filter(task__in=[task for task, _ in SCHEDULE.values()]))
    for name, (path, _schedule) in SCHEDULE.items():
        if path == DELETION_TASK and not deletes:
            continue
        state = State.ERROR if path == DELETION_TASK else State.WARNING
        page = "admin:django_celery_beat_periodictask_changelist"
        found = [task for task in tasks if task.task == path]
        enabled = [task for task in found if task.enabled and not _has_expired(task, now)]
        overdue = [_overdue(task, now) for task in enabled]
        if not found:
            text = gettext("“%(name)s” was deleted. “manage.py migrate” restores it.")
            if path == DELETION_TASK:
                text = gettext(
                    "Auto-deletion is on, but its schedule “%(name)s” was deleted. “manage.py migrate”"
                    " restores it."
                )
            yield Finding(state, text % {"name": name}, page)
        elif not enabled:
            text = gettext("“%(name)s” is switched off.")
            if path == DELETION_TASK:
                text = gettext("Auto-deletion is on, but its schedule “%(name)s” is switched off.")
            yield Finding(state, text % {"name": name}, page)
        elif all(overdue):
            text = gettext("“%(name)s” is overdue by %(time)s.")
            if path == DELETION_TASK:
                text = gettext("Auto-deletion is on, but its schedule “%(name)s” is overdue by %(time)s.")
            late = _length(min(filter(None, overdue)))
            yield Finding(state, text % {"name": name, "time": late}, page)


def _has_expired(task: PeriodicTask, now: datetime) -> bool:
    return bool(task.expires and task.expires <= now)


def _overdue(task: PeriodicTask, now: datetime) -> timedelta | None:
    """Return how long ago a task should have started, or None if it isn't overdue."""
    since = task.last_run_at or task.date_changed
    late = -task.schedule.remaining_estimate(since)
    return late if late > MAX_OVERDUE else None


def check_runs(now: datetime) -> Iterator[Finding]:
    """Find runs that are stuck, and whether the last one has failed."""

    def finding(run: Run, text: str, **values: str) -> Finding:
        page = "admin:registry_activity_run_change"
        return Finding(State.ERROR, text % {"run": run, **values}, page, (run.pk,))

    last = {preview: Run.objects.filter(preview=preview).first() for preview in (False, True)}
    for run in filter(None, last.values()):
        since = _length(now - run.started_at)
        if run.state == Run.State.QUEUED and run.started_at < now - MAX_QUEUED:
            yield finding(
                run, gettext("%(run)s has been queued for %(time)s: no worker has started it."), time=since
            )
        elif run.state == Run.State.RUNNING and run.lease_until < now:
            yield finding(run, gettext("%(run)s makes no progress. The next run replaces it."))
        elif run.state == Run.State.WAITING:
            yield finding(run, gettext("%(run)s waits for a person: %(error)s"), error=run.error)
        elif run.state == Run.State.FAILED:
            yield finding(
                run,
                gettext("%(run)s failed %(time)s ago: %(error)s"),
                time=_length(now - (run.finished_at or run.started_at)),
                error=run.error,
            )
        elif run.state == Run.State.ABANDONED:
            yield finding(run, gettext("%(run)s was abandoned before it had finished."))


def check_folding(now: datetime) -> Iterator[Finding]:
    """Find out whether counts wait to be folded for too long. They remain exact, but reading them is slow."""
    waiting = TallyChange.objects.order_by()[: MAX_UNFOLDED + 1].count()
    folded = Heartbeat.objects.filter(pk=heartbeats.FOLDING).first()
    if waiting > MAX_UNFOLDED:
        text = gettext("Folding is behind: more than %(number)s counts wait.")
        yield Finding(State.WARNING, text % {"number": intcomma(MAX_UNFOLDED)})
    elif waiting and folded and folded.beat_at < now - MAX_UNFOLDED_AGE:
        text = gettext("Folding is behind: counts were last folded %(time)s ago.")
        yield Finding(State.WARNING, text % {"time": _length(now - folded.beat_at)})


# --- Storage ------------------------------------------------------------------------------------


def check_space(now: datetime) -> Iterator[Finding]:
    """Find out whether the disk of the database is full.

    PostgreSQL's disk can be that of another machine, so a message is stored and taken back. SQLite would keep
    it in memory, so its disk is looked at instead.
    """
    if connection.vendor == "postgresql":
        if problem := cache.get_or_set(DATABASE_KEY, _storing_problem, PROBE_INTERVAL):
            text = gettext("The database can't store messages: %(error)s")
            yield Finding(State.ERROR, text % {"error": problem})
        return
    free = shutil.disk_usage(Path(connection.settings_dict["NAME"]).parent).free
    if free < MIN_FREE:
        state = State.ERROR if free < PROBE_SIZE else State.WARNING
        text = gettext("The disk of the database is nearly full: %(number)s MiB are free.")
        yield Finding(state, text % {"number": intcomma(free >> 20)})


def _storing_problem() -> str:
    """Return why the database can't store messages, or an empty string."""
    try:
        journal.probe(MESSAGE_SIZE)
    except OperationalError as error:
        return str(error)
    return ""


def check_archives(now: datetime) -> Iterator[Finding]:
    """Find out whether archives can be written, by writing a small file, at most twice a minute."""
    configuration = changes.saved()
    if not configuration.archive:
        return
    state = State.ERROR if configuration.enabled else State.WARNING
    page = "admin:registry_activity_archive_changelist"
    try:
        storage = archive_storage()
    except InvalidStorageError as error:
        yield Finding(state, gettext("Archives can't be written: %(error)s") % {"error": error}, page)
        return
    if problem := cache.get_or_set(ARCHIVES_KEY, lambda: _write_problem(storage), PROBE_INTERVAL):
        yield Finding(state, gettext("Archives can't be written: %(error)s") % {"error": problem}, page)
        return
    if isinstance(storage, FileSystemStorage):
        free = shutil.disk_usage(storage.location).free
        if free < archive_files.MAX_SIZE:
            text = gettext("The disk of the archives is nearly full: %(number)s MiB are free.")
            yield Finding(State.WARNING, text % {"number": intcomma(free >> 20)}, page)


def _write_problem(storage: Storage) -> str:
    """Return why a small file can't be written and read again, or an empty string."""
    name = f"health-check-{uuid4().hex}"
    content = uuid4().bytes * (PROBE_SIZE // 16)
    try:
        try:
            storage.save(name, ContentFile(content))
            with storage.open(name) as file:
                return "" if file.read() == content else "a file was not stored correctly"
        finally:
            storage.delete(name)  # if the disk is full, a part of the file may exist
    except Exception as error:  # each storage has exceptions of its own
        return str(error) or type(error).__name__


def check_partitions(now: datetime) -> Iterator[Finding]:
    """Find months without a partition, whose events would go to the default partition."""
    if not partitions.is_partitioned():
        return
    existing = set(partitions.monthly_partitions())
    this_month = State.ERROR if _is_expected(heartbeats.BEAT) else State.WARNING
    for month, state in zip(partitions.months_from(now, 2), (this_month, State.WARNING), strict=True):
        missing = [group for group in partitions.GROUPS if partitions.Partition(group, month) not in existing]
        if missing:
            text = gettext("The event table has no partition for %(month)s (%(groups)s).")
            values = {
                "month": date_format(month, "YEAR_MONTH_FORMAT"),
                "groups": gettext(" and ").join(missing),
            }
            yield Finding(state, text % values, "admin:django_celery_beat_periodictask_changelist")


def check_verification(now: datetime) -> Iterator[Finding]:
    """Report what the last verification has found, and whether it is overdue."""
    last = Verification.objects.first()
    if last is None:
        return
    page = "admin:registry_activity_verification_change", (last.pk,)
    more = len(last.problems) - 1
    values = {
        "time": _length(now - (last.finished_at or last.started_at)),
        "problem": last.problems[0] if last.problems else "",
        "more": intcomma(more),
    }
    if last.problems:
        sentences = [gettext("The verification %(time)s ago found: %(problem)s")]
        if more:
            sentences.append(
                ngettext("There is %(more)s more problem.", "There are %(more)s more problems.", more)
            )
        yield Finding(State.ERROR, " ".join(sentences) % values, *page)
    elif last.finished_at:
        text = gettext("The last verification, %(time)s ago, found nothing missing.")
        yield Finding(State.OK, text % values, *page)
    elif last.started_at < now - MAX_VERIFYING:
        text = gettext("The verification that began %(time)s ago has not finished.")
        yield Finding(State.WARNING, text % values, *page)
    if last.started_at < now - MAX_UNVERIFIED:
        text = gettext("The last verification of the events was %(time)s ago.")
        yield Finding(State.WARNING, text % values, *page)


# --- Registries ---------------------------------------------------------------------------------


def check_registries(now: datetime) -> Iterator[Finding]:
    """Find registries that are cut off, because their account can't deliver anything, or quiet."""
    valid = AccessToken.FOR_NOTIFICATIONS & (Q(expiry=None) | Q(expiry__gt=now))
    tokens = AccessToken.objects.filter(valid, user=OuterRef("account"))
    registries = Registry.objects.select_related("account").annotate(
        has_token=Exists(tokens), has_permission=may_add_events("account")
    )
    for registry in registries[:MAX_NAMED]:
        values = {"registry": registry, "time": _length(now - registry.last_contact_at)}
        arguments = ("admin:registry_activity_registry_change", (registry.pk,))
        if reason := _why_cut_off(registry):
            text = gettext("%(registry)s is cut off: %(reason)s, last contact %(time)s ago.")
            yield Finding(State.ERROR, text % {**values, "reason": reason}, *arguments)
        elif registry.is_quiet:
            text = gettext("%(registry)s is quiet: last contact %(time)s ago.")
            yield Finding(State.WARNING, text % values, *arguments)


def _why_cut_off(registry: Any) -> str:
    if registry.account is None:
        return gettext("its account was deleted")
    if not registry.account.is_active:
        return gettext("its account is inactive")
    if not registry.has_permission and not registry.account.is_superuser:
        return gettext("its account has lost the permission to add events")
    return "" if registry.has_token else gettext("its account has no valid access token for notifications")


def check_clocks(now: datetime) -> Iterator[Finding]:
    """Find clocks that are wrong: of this machine, of the database's, and of the nodes of registries."""
    if _is_expected(heartbeats.WORKER) and (lead := heartbeats.lead(now)):
        text = gettext(
            "The clock of this machine is %(time)s ahead of the last event, heartbeat or run. Until"
            " an MSR admin confirms the clock, auto-deletion deletes nothing."
        )
        yield Finding(
            State.ERROR, text % {"time": _length(lead)}, "admin:registry_activity_autodeletion_change"
        )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            difference = timezone.now() - cursor.fetchone()[0]
        if abs(difference) > MAX_CLOCK_DIFFERENCE:
            if difference > timedelta():
                text = gettext("The clock of this machine is %(time)s ahead of that of the database.")
            else:
                text = gettext("The clock of this machine is %(time)s behind that of the database.")
            yield Finding(State.WARNING, text % {"time": _length(abs(difference))})
    for node in RegistryNode.objects.exclude(clock_offset=None).select_related("account")[:MAX_NAMED]:
        text = gettext("%(account)s: the clock of %(node)s is %(offset)s.")
        if not node.is_ahead:
            text = gettext("%(account)s: the clock of %(node)s is %(offset)s. Or its messages arrive late.")
        values = {"account": node.account, "node": node, "offset": node.clock_offset_in_words}
        yield Finding(State.WARNING, text % values, "admin:registry_activity_registry_changelist")


# --- What waits for somebody --------------------------------------------------------------------


def check_dead_letters(now: datetime) -> Iterator[Finding]:
    waiting = DeadLetter.objects.filter(DeadLetter.WAITING).order_by()[: MAX_COUNTED + 1].count()
    if waiting:
        text = gettext("Messages that could not be recorded: %(number)s waiting.")
        values = {"number": _up_to(waiting, MAX_COUNTED)}
        yield Finding(State.WARNING, text % values, "admin:registry_activity_deadletter_changelist")


def check_namespaces(now: datetime) -> Iterator[Finding]:
    """Find namespaces without an owner, and who has pushed to them."""
    unclaimed = Namespace.objects.filter(Namespace.UNCLAIMED).order_by("-pk")[: MAX_NAMESPACES + 1]
    for number, namespace in enumerate(unclaimed):
        page = "admin:registry_repositories_namespace_change", (namespace.pk,)
        if number == MAX_NAMESPACES:
            yield Finding(State.WARNING, gettext("More namespaces are unclaimed."), f"{page[0]}list")
        else:
            text = gettext("%(namespace)s is unclaimed.") % {"namespace": namespace}
            yield Finding(State.WARNING, f"{text} {_pusher(namespace)}".strip(), *page)


def _pusher(namespace: Namespace) -> str:
    """Return who has last pushed to an unclaimed namespace, and whether they can't see it yet."""
    repository = Repository.objects.live().filter(namespace=namespace).order_by("-pk").first()
    # Only MSR admins and auditors see the findings.
    events = Event.objects.visible_to(Access(AUDITOR_PERMISSIONS), repository)
    pushes = events.filter(partitions.in_category(Category.PUSH)).select_related("actor_user")
    push = pushes.order_by("-id").first() if repository else None
    if push is None:
        return gettext("Only MSR admins and auditors can see its repositories.")
    user = push.actor_user
    if user is None or not Access.for_user(user).sees_everything:
        text = gettext("%(actor)s pushed to %(repository)s and can't see it yet.")
    else:
        text = gettext("%(actor)s pushed to %(repository)s and can see it.")
    return text % {"actor": push.actor_label, "repository": repository}


def _up_to(number: int, maximum: int) -> str:
    """Return a number, or say that it is more than the maximum."""
    if number > maximum:
        return gettext("more than %(number)s") % {"number": intcomma(maximum)}
    return intcomma(number)


def _length(length: timedelta) -> str:
    """Return a length of time as text, such as `3 minutes`."""
    if length < timedelta(minutes=1):
        seconds = max(0, int(length.total_seconds()))
        return ngettext("%(number)s second", "%(number)s seconds", seconds) % {"number": seconds}
    now = timezone.now()
    return timesince(now - length, now, depth=1).replace("\xa0", " ")


CHECKS = [
    Check("worker", _("Worker"), check_worker, _("The Celery worker is running.")),
    Check("beat", _("Beat"), check_beat, _("Celery beat is running.")),
    Check("recorder", _("Recorder"), check_recorder, _("Messages are recorded in time.")),
    Check("schedule", _("Schedule"), check_schedule, _("The scheduled tasks start on time.")),
    Check("runs", _("Auto-deletion"), check_runs, _("No run is stuck or has failed.")),
    Check("folding", _("Folding"), check_folding, _("Counts are folded in time.")),
    Check("space", _("Disk space"), check_space, _("The database has room for more events.")),
    Check("archives", _("Archives"), check_archives, _("Archives can be written, or archiving is off.")),
    Check(
        "verification",
        _("Verification"),
        check_verification,
        _("No verification has found anything missing."),
    ),
    Check("partitions", _("Partitions"), check_partitions, _("No partition is missing.")),
    Check("registries", _("Registries"), check_registries, _("No registry is quiet or cut off.")),
    Check("clocks", _("Clocks"), check_clocks, _("No clock is known to be wrong.")),
    Check("dead_letters", _("Dead letters"), check_dead_letters, _("No messages wait.")),
    Check("namespaces", _("Namespaces"), check_namespaces, _("Every namespace has an owner.")),
]
