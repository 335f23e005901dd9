"""Celery tasks, which run on a schedule or are started in the admin."""

from celery import shared_task
from django.utils import timezone

from activity.deletion import runs
from activity.models import SCHEDULE_ACTOR, AutoDeletion, Run
from activity.storage import partitions, tags, tallies


@shared_task
def delete_events() -> None:
    """Execute an auto-deletion run if auto-deletion is enabled and no other run is active."""
    if AutoDeletion.get_solo().enabled:
        try:
            runs.execute(runs.start(SCHEDULE_ACTOR))
        except runs.AlreadyRunning as reason:
            runs.logger.info("Not starting a run: %s", reason)


@shared_task
def execute_run(pk: int) -> None:
    """Execute a run or a preview that was started in the admin."""
    runs.execute(Run.objects.get(pk=pk))


@shared_task
def create_partitions() -> None:
    """Create the event table partitions for the coming months."""
    partitions.create_ahead(timezone.now())


@shared_task
def fold_tallies() -> None:
    """Fold recent changes into the tallies, and recent pulls into the tags."""
    tallies.fold()
    tags.fold()
