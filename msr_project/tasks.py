"""Maintenance tasks for the host project, run by Celery beat."""

from celery import shared_task
from django.core.management import call_command


@shared_task
def clear_expired_sessions() -> None:
    """Delete expired sessions, which Django leaves in the database."""
    call_command("clearsessions")
