"""Starts, executes and finishes auto-deletion runs. Only one run is active at a time across all workers."""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

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

logger = logging.getLogger(__name__)

KEPT_RUNS = 200
"""The number of runs to keep. Older runs are deleted."""
COMPARED_PREVIEWS = 20


class AlreadyRunning(Exception):
    """Another run has not finished yet."""


def start(started_by: str, *, preview: bool = False, cutoff: datetime | None = None) -> Run:
    """Create a queued run, to be passed to `execute`. Raises AlreadyRunning if another run is active.

    A run follows the configuration in effect. A preview follows the saved configuration, and thus counts the
    events to delete once all waiting changes have taken effect.
    """
    now = timezone.now()
    with transaction.atomic():
        locked = AutoDeletion.objects.select_for_update()  # serializes concurrent starts
        locked.get_or_create(pk=AutoDeletion.singleton_instance_id)
        waiting = list(changes.waiting(now))
        configuration = changes.saved() if preview else changes.in_effect(now, waiting)
        active = active_runs()
        if current := active.filter(lease_until__gt=now).first():
            raise AlreadyRunning(f"{current}, started by {current.started_by}, has not finished yet.")
        active.update(state=Run.State.ABANDONED, finished_at=now)
        run = Run.objects.create(
            started_by=started_by,
            preview=preview,
            cutoff=cutoff or now,
            started_at=now,
            lease_until=now + LEASE,
            settings=configuration.as_json(),
            waiting=[str(change) for change in waiting],
        )
        Run.objects.filter(pk__lte=run.pk - KEPT_RUNS).delete()
    return run


def execute(run: Run, progress: Progress = lambda run: None) -> None:
    """Execute a queued run, unless another process has already started it, and store its outcome."""
    queued = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED)
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


def record_run(run: Run) -> None:
    """For a run that deleted events, record an event that MSR admins and auditors can see."""
    counts = {rule: entry["events"] for rule, entry in run.report.items()}
    auditing.record_draft(
        Draft(
            kind="delete_events",
            repository_name="",
            occurred_at=timezone.now(),
            source_id=str(uuid4()),
            actor_type=ActorType.SYSTEM if run.started_by.startswith(SYSTEM_ACTORS) else ActorType.USER,
            actor_name=run.started_by,
            details={"run": run.pk, "deleted": run.deleted, "by_rule": counts, "state": run.state},
        )
    )


def fail_queued(run: Run, error: str) -> None:
    """Mark a queued run as failed, so that it does not block other runs."""
    queued = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED)
    queued.update(state=Run.State.FAILED, error=error, finished_at=timezone.now())
