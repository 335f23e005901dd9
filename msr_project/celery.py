"""The Celery application, used by the worker and by beat: `celery -A msr_project worker`."""

import os
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "msr_project.settings")

app = Celery("msr_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Celery warns if the worker runs as root, because a pickled message could run code as root. This project
# serializes messages as JSON, which can't contain code.
warnings.filterwarnings("ignore", category=SecurityWarning)
