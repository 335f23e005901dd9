"""The host project: settings, URLs, the WSGI application and the Celery application."""

from msr_project.celery import app as celery_app

__all__ = ["celery_app"]
