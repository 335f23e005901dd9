"""The host project: settings, addresses, web server and Celery."""

from msr_project.celery import app as celery_app

__all__ = ["celery_app"]
