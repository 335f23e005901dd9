"""Celery tasks, which run on a schedule or are started in the admin."""

from celery import shared_task
from django.utils import timezone

from activity.deletion import changes, imports, runs, verification
from activity.deletion.archive_files import ArchiveError
from activity.models import ActorType, Run
from activity.sources import auditing, manifest_requests
from activity.storage import failed_logins, heartbeats, messages, partitions, tags, tallies
from repositories.access import grants


@shared_task
def delete_events() -> None:
    """Execute an auto-deletion run if auto-deletion is in effect and no other run is active.

    If a change to the schedule has not taken effect yet, only users can start the task.
    """
    actor_type, name = auditing.current_actor()
    configuration = changes.in_effect()
    if not configuration.enabled:
        return
    if actor_type == ActorType.SYSTEM and configuration.schedules != changes.saved().schedules:
        runs.logger.info("Not starting a run: a change to the schedule has not taken effect yet.")
        return
    _execute(name)


@shared_task
def preview_waiting_changes() -> None:
    """Execute a preview of the saved settings if changes wait and there is no such preview yet."""
    if changes.waiting().exists() and not runs.preview_of(changes.saved()):
        _execute(auditing.current_actor()[1], preview=True)


@shared_task
def execute_run(pk: int) -> None:
    """Execute a run or a preview that was started in the admin."""
    runs.execute(Run.objects.get(pk=pk))


@shared_task
def import_archives(names: list[str]) -> None:
    """Import archives that this installation has written. An archive that can't be imported is an event."""
    for name in names:
        try:
            imports.import_archive(name)
        except (OSError, ArchiveError) as error:
            auditing.record("import_events_failed", subject=name, error=str(error))


@shared_task
def create_partitions() -> None:
    """Create the event table partitions for the coming months."""
    partitions.create_ahead(timezone.now())


@shared_task
def delete_failed_logins() -> None:
    """Delete the counts of failed logins whose events have been deleted."""
    failed_logins.delete_orphans()


@shared_task
def delete_expired_grants() -> None:
    """Delete the grants whose end has come, which have given no access since."""
    grants.delete_expired()


@shared_task
def delete_old_messages() -> None:
    """Delete the messages that have been stored for long enough."""
    messages.delete_old()


@shared_task
def verify_events() -> None:
    """Prove that no events were removed, except by auto-deletion. The admin shows the result."""
    verification.verify(auditing.current_actor()[1])


@shared_task
def fold_tallies() -> None:
    """Fold recent changes into the tallies, and recent pulls into the tags; delete expired requests."""
    tallies.fold()
    tags.fold()
    while manifest_requests.delete_expired() == manifest_requests.MAX_EXPIRED:
        pass
    heartbeats.beat(heartbeats.FOLDING)


def _execute(started_by: str, *, preview: bool = False) -> None:
    try:
        runs.execute(runs.start(started_by, preview=preview))
    except runs.AlreadyRunning as reason:
        runs.logger.info("Not starting a run: %s", reason)
