"""Starts, executes and finishes auto-deletion runs. Only one run is active at a time across all workers."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from activity.deletion import changes
from activity.deletion.configuration import Configuration
from activity.deletion.execution import (
    LEASE,
    DeletionExecution,
    LeaseLost,
    PreviewExecution,
    Progress,
    Stopped,
)
from activity.models import SYSTEM_ACTORS, ActorType, AutoDeletion, Run
from activity.recording.drafts import Draft
from activity.sources import auditing
from activity.storage import heartbeats
from repositories.utils.text import storable_text, untranslated

logger = logging.getLogger(__name__)

KEPT_RUNS = 200
"""The number of runs to keep. Older runs are deleted, except those that have deleted events."""
MAX_ERROR_LENGTH = 500
COMPARED_PREVIEWS = 20


class AlreadyRunning(Exception):
    """Another run has not finished yet."""


def start(
    started_by: str, *, preview: bool = False, in_effect: bool = False, cutoff: datetime | None = None
) -> Run:
    """Create a queued run, to be passed to `execute`. Raises AlreadyRunning if another run is active.

    A run follows the configuration in effect. A preview follows the saved configuration, and thus counts the
    events to delete once all waiting changes have taken effect, unless `in_effect` is true.
    """
    now = timezone.now()
    with transaction.atomic():
        locked = AutoDeletion.objects.select_for_update()  # serializes concurrent starts
        locked.get_or_create(pk=AutoDeletion.singleton_instance_id)
        waiting = list(changes.waiting(now))
        follows_saved = preview and not in_effect
        configuration = changes.saved() if follows_saved else changes.in_effect(now, waiting)
        # A preview deletes nothing, so a deletion doesn't wait for it.
        active = active_runs() if preview else active_runs().filter(preview=False)
        if current := active.filter(lease_until__gt=now).first():
            text = gettext("%(run)s, started by %(person)s, has not finished yet.")
            raise AlreadyRunning(text % {"run": current, "person": current.started_by})
        for abandoned in active:
            active.filter(pk=abandoned.pk).update(state=Run.State.ABANDONED, finished_at=now)
            record_failure(abandoned, "It made no progress, and another run replaced it.")
        if not preview:
            _replace_waiting_run(now)
        run = Run.objects.create(
            started_by=started_by,
            preview=preview,
            cutoff=cutoff or now,
            started_at=now,
            lease_until=now + LEASE,
            settings=configuration.as_json(),
            waiting=[untranslated(change) for change in waiting],
        )
        Run.objects.filter(pk__lte=run.pk - KEPT_RUNS, deleted=0, archives=None).delete()
    return run


def _replace_waiting_run(now: datetime) -> None:
    """Abandon a run that waits because of the clock. Raises AlreadyRunning if the clock is still ahead."""
    waiting = Run.objects.filter(state=Run.State.WAITING)
    if (current := waiting.first()) and heartbeats.lead(now):
        text = gettext("%(run)s waits until somebody confirms that the clock is right.")
        raise AlreadyRunning(text % {"run": current})
    waiting.update(state=Run.State.ABANDONED, finished_at=now)


def execute(run: Run, progress: Progress = lambda run: None) -> None:
    """Execute a queued run, unless another process has already started it, and store its outcome.

    A run doesn't start while the clock is too far ahead of the last event, heartbeat or run, because it would
    delete events that are not as old as they seem. It waits until a person confirms that the clock is right.
    """
    queued = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED)
    if not run.preview:
        if lead := heartbeats.lead(max(timezone.now(), run.cutoff)):
            queued.update(state=Run.State.WAITING, error=_lead_in_words(lead))
            return
        heartbeats.beat(heartbeats.RUNS)
    if not queued.update(state=Run.State.RUNNING, lease_until=timezone.now() + LEASE):
        return
    run.refresh_from_db()
    state, error = Run.State.FINISHED, ""
    try:
        execution = (PreviewExecution if run.preview else DeletionExecution)(run, progress)
        execution.pause_and_check_stop()  # the run may have been asked to stop while it was queued
        execution.execute()
    except Stopped:
        state = Run.State.STOPPED
    except LeaseLost:
        logger.warning("%s was abandoned, and another run replaced it.", run)
        return
    except Exception as exception:
        logger.exception("%s failed.", run)
        state, error = Run.State.FAILED, f"{type(exception).__name__}: {exception}"
    finish(run, state, error)


def _lead_in_words(lead: timedelta) -> str:
    return (
        f"The clock is {lead.days} days ahead of the last event, heartbeat or run. "
        "If it is wrong, events that are still young would be deleted."
    )


@transaction.atomic
def resume(run: Run) -> bool:
    """Queue a run that waits, since a person confirms that the clock is right. Returns whether it waited."""
    heartbeats.trust_clock()
    waiting = Run.objects.filter(pk=run.pk, state=Run.State.WAITING)
    waited = bool(waiting.update(state=Run.State.QUEUED, lease_until=timezone.now() + LEASE, error=""))
    if waited:
        auditing.record("trust_clock", run=run.pk)
    return waited


@transaction.atomic
def request_stop(run: Run) -> bool:
    """Ask a run to stop after its current batch. Returns whether this was the first request."""
    unfinished = Run.objects.filter(pk=run.pk, finished_at=None)
    is_first = bool(unfinished.filter(stop_requested=False).update(stop_requested=True))
    if is_first:
        auditing.record("stop_deletion", run=run.pk)
    unfinished.filter(state=Run.State.WAITING).update(state=Run.State.STOPPED, finished_at=timezone.now())
    return is_first


def preview_of(configuration: Configuration) -> Run | None:
    """Return the newest preview of a configuration, or None if there is none among the last previews."""
    settings = configuration.as_json()
    previews = Run.objects.filter(preview=True)[:COMPARED_PREVIEWS]
    return next((run for run in previews if run.settings == settings), None)


def active_runs() -> QuerySet[Run]:
    return Run.objects.filter(state__in=[Run.State.QUEUED, Run.State.RUNNING])


@transaction.atomic
def finish(run: Run, state: Run.State, error: str) -> None:
    """Store the outcome of a run, and record an event if it deleted anything."""
    running = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING)
    if running.update(state=state, error=error, finished_at=timezone.now()):
        run.refresh_from_db()
        if run.deleted:
            record_run(run)
        if state == Run.State.FAILED:
            record_failure(run, error)


def record_run(run: Run) -> None:
    """Record an event about a run that has deleted events."""
    counts = {rule: entry["events"] for rule, entry in run.report.items()}
    _record(run, "delete_events", deleted=run.deleted, by_rule=counts, state=run.state)


def record_failure(run: Run, error: str) -> None:
    """Record an event about a run that has failed."""
    _record(
        run, "delete_events_failed", subject=untranslated(run), error=storable_text(error, MAX_ERROR_LENGTH)
    )


def _record(run: Run, kind: str, **details: Any) -> None:
    """Record an event about a run, which MSR admins and auditors can see."""
    auditing.record_draft(
        Draft(
            kind=kind,
            repository_name="",
            occurred_at=timezone.now(),
            source_id=str(uuid4()),
            actor_type=ActorType.SYSTEM if run.started_by.startswith(SYSTEM_ACTORS) else ActorType.USER,
            actor_name=run.started_by,
            details={"run": run.pk, **details},
        )
    )


@transaction.atomic
def fail_queued(run: Run, error: str) -> None:
    """Mark a queued run as failed, so that it does not block other runs."""
    queued = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED)
    if queued.update(state=Run.State.FAILED, error=error, finished_at=timezone.now()):
        record_failure(run, error)
