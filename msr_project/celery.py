"""The Celery application, run by the worker and by beat: `celery -A msr_project worker`."""

import os
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "msr_project.settings")

app = Celery("msr_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Celery warns when its worker runs as root, since a message could then run code as root. Tasks are serialized as JSON
# here, which can't run code.
warnings.filterwarnings("ignore", category=SecurityWarning)
