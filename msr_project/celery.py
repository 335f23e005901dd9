"""The Celery application that worker and beat run: `celery -A msr_project worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "msr_project.settings")

app = Celery("msr_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
