"""Runs of auto-deletion: one at a time, over all workers, with a record that is the job log."""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from activity.deletion import rules
from activity.deletion.jobs import LEASE, Deletion, LeaseLost, Preview, Progress, Stopped
from activity.models import PROGRAMS, ActorType, AutoDeletion, Run
from activity.recording.drafts import Draft
from activity.recording.record import record_events

logger = logging.getLogger(__name__)

KEPT_RUNS = 200
"""Job logs that are kept; older ones go."""


class UnderWay(Exception):
    """Another run has not ended yet."""


def start(started_by: str, *, preview: bool = False, cutoff: datetime | None = None) -> Run:
    """Make the record of a run, which `execute` then carries out. Raises UnderWay if there is one."""
    now = timezone.now()
    with transaction.atomic():
        AutoDeletion.get_solo()
        setting = AutoDeletion.objects.select_for_update().get()  # one start at a time
        active = active_runs()
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
        job.breathe()  # it may have been asked to stop while it waited
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


def active_runs() -> QuerySet[Run]:
    return Run.objects.filter(state__in=[Run.State.QUEUED, Run.State.RUNNING])


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
