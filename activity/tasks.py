"""What Celery's worker does, on its schedule or when asked to in the admin."""

from celery import shared_task
from django.utils import timezone

from activity.deletion import runs
from activity.models import THE_SCHEDULE, AutoDeletion, Run
from activity.storage import partitions, tags, tallies


@shared_task
def delete_events() -> None:
    """Start a run of auto-deletion, if it is on and no other is under way."""
    if AutoDeletion.get_solo().enabled:
        try:
            runs.execute(runs.start(THE_SCHEDULE))
        except runs.UnderWay as reason:
            runs.logger.info("No run was started: %s", reason)


@shared_task
def execute_run(pk: int) -> None:
    """Carry out a run or a preview that was started in the admin."""
    runs.execute(Run.objects.get(pk=pk))


@shared_task
def create_partitions() -> None:
    """Create the partitions of the coming months."""
    partitions.create_ahead(timezone.now())


@shared_task
def fold_tallies() -> None:
    """Fold what was counted since the last time."""
    tallies.fold()
    tags.fold()
