"""The project's settings, with django-auditlog installed beside it."""

from msr_project.settings import *  # noqa: F403
from msr_project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "auditlog"]
