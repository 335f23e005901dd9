"""Checks of the programs: whether they run, and whether they keep up with their work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext
from django_celery_beat.models import PeriodicTask

from activity.config import record_in_request
from activity.deletion import changes
from activity.deletion.configuration import DELETION_TASK
from activity.health.findings import Finding, State, duration_in_words, number_in_words
from activity.models import Heartbeat, Run, TallyChange
from activity.schedule import SCHEDULE
from activity.storage import heartbeats, journal

BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
"""A site whose `CELERY_BEAT_SCHEDULER` has this value uses Celery."""
MAX_QUEUED = timedelta(minutes=2)
MAX_OVERDUE = timedelta(minutes=10)
"""Celery beat stores up to three minutes later that it has started a task."""
MAX_WAITING = timedelta(seconds=30)
"""Messages are usually recorded after a tenth of a second."""
MAX_JOURNAL = 100_000
"""The maximum number of waiting messages to count."""
MAX_UNFOLDED_AGE = timedelta(minutes=5)
MAX_UNFOLDED = 100_000


def check_worker(now: datetime) -> Iterator[Finding]:
    if is_expected(heartbeats.WORKER):
        yield from find_silent(heartbeats.WORKER, gettext("The Celery worker"), now)
    else:
        yield Finding(State.OK, gettext("No Celery worker is in use."))


def check_beat(now: datetime) -> Iterator[Finding]:
    if is_expected(heartbeats.BEAT):
        yield from find_silent(heartbeats.BEAT, gettext("Celery beat"), now)
    else:
        yield Finding(State.OK, gettext("Celery beat isn't in use."))


def is_expected(program: str) -> bool:
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
        yield Finding(State.ERROR, text % {"program": name, "time": duration_in_words(now - row.beat_at)})


def check_recorder(now: datetime) -> Iterator[Finding]:
    """Find out whether messages wait in the journal for too long, or nobody records them."""
    if not record_in_request():
        yield from find_silent(heartbeats.RECORDER, gettext("The recorder"), now)
    oldest = journal.oldest()
    if oldest and oldest < now - MAX_WAITING:
        waiting = journal.count_waiting(MAX_JOURNAL + 1)
        text = gettext("Recording is behind: %(number)s messages wait, the oldest for %(time)s.")
        values = {"number": number_in_words(waiting, MAX_JOURNAL), "time": duration_in_words(now - oldest)}
        yield Finding(State.ERROR, text % values)


def check_schedule(now: datetime) -> Iterator[Finding]:
    """Find scheduled tasks that are deleted, switched off or overdue."""
    if not is_expected(heartbeats.BEAT):
        yield Finding(State.OK, gettext("Celery beat isn't in use, so no tasks are scheduled."))
        return
    deletes = changes.saved().enabled
    tasks = list(PeriodicTask.objects.filter(task__in=[task for task, _ in SCHEDULE.values()]))
    for name, (path, _schedule) in SCHEDULE.items():
        if path == DELETION_TASK and not deletes:
            continue
        state = State.ERROR if path == DELETION_TASK else State.WARNING
        if problem := _schedule_problem(name, path, [task for task in tasks if task.task == path], now):
            yield Finding(state, problem, "admin:django_celery_beat_periodictask_changelist")


def _schedule_problem(name: str, path: str, tasks: list[PeriodicTask], now: datetime) -> str:
    """Return why a task isn't started on time, or an empty string. `tasks` are its schedules."""
    enabled = [task for task in tasks if task.enabled and not (task.expires and task.expires <= now)]
    overdue = [_overdue(task, now) for task in enabled]
    if not tasks:
        text = gettext("“%(name)s” was deleted. “manage.py migrate” restores it.")
        if path == DELETION_TASK:
            text = gettext(
                "Auto-deletion is on, but its schedule “%(name)s” was deleted. “manage.py migrate”"
                " restores it."
            )
    elif not enabled:
        text = gettext("“%(name)s” is switched off.")
        if path == DELETION_TASK:
            text = gettext("Auto-deletion is on, but its schedule “%(name)s” is switched off.")
    elif all(overdue):
        text = gettext("“%(name)s” is overdue by %(time)s.")
        if path == DELETION_TASK:
            text = gettext("Auto-deletion is on, but its schedule “%(name)s” is overdue by %(time)s.")
    else:
        return ""
    late = min(filter(None, overdue), default=timedelta())
    return text % {"name": name, "time": duration_in_words(late)}


def _overdue(task: PeriodicTask, now: datetime) -> timedelta | None:
    """Return how long ago a task should have started, or None if it isn't overdue."""
    since = task.last_run_at or task.date_changed
    late = -task.schedule.remaining_estimate(since)
    return late if late > MAX_OVERDUE else None


def check_runs(now: datetime) -> Iterator[Finding]:
    """Find runs that are stuck, and whether the last one has failed."""
    for preview in (False, True):
        run = Run.objects.filter(preview=preview).first()
        if run and (text := _run_problem(run, now)):
            since = duration_in_words(now - (run.finished_at or run.started_at))
            values = {"run": run, "time": since, "error": run.error}
            yield Finding(State.ERROR, text % values, "admin:registry_activity_run_change", (run.pk,))


def _run_problem(run: Run, now: datetime) -> str:
    """Return what is wrong with a run, or an empty string."""
    if run.state == Run.State.QUEUED and run.started_at < now - MAX_QUEUED:
        return gettext("%(run)s has been queued for %(time)s: no worker has started it.")
    if run.state == Run.State.RUNNING and run.lease_until < now:
        return gettext("%(run)s makes no progress. The next run replaces it.")
    if run.state == Run.State.WAITING:
        return gettext("%(run)s waits for a person: %(error)s")
    if run.state == Run.State.FAILED:
        return gettext("%(run)s failed %(time)s ago: %(error)s")
    return (
        gettext("%(run)s was abandoned before it had finished.") if run.state == Run.State.ABANDONED else ""
    )


def check_folding(now: datetime) -> Iterator[Finding]:
    """Find out whether counts wait to be folded for too long. They remain exact, but reading them is slow."""
    waiting = TallyChange.objects.order_by()[: MAX_UNFOLDED + 1].count()
    folded = Heartbeat.objects.filter(pk=heartbeats.FOLDING).first()
    if waiting > MAX_UNFOLDED:
        text = gettext("Folding is behind: more than %(number)s counts wait.")
        yield Finding(State.WARNING, text % {"number": intcomma(MAX_UNFOLDED)})
    elif waiting and folded and folded.beat_at < now - MAX_UNFOLDED_AGE:
        text = gettext("Folding is behind: counts were last folded %(time)s ago.")
        yield Finding(State.WARNING, text % {"time": duration_in_words(now - folded.beat_at)})
