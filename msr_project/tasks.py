"""Housekeeping of the host project, run by Celery beat."""

from celery import shared_task
from django.core.management import call_command


@shared_task
def clear_expired_sessions() -> None:
    """Remove log-in sessions that have expired; Django leaves them in the database."""
    call_command("clearsessions")
