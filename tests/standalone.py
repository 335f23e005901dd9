"""Sets up Django outside pytest, for benchmarks and screenshots."""

import os

import django

from tests.plugin import ENVIRONMENT_VARIABLES


def configure(**environment: str) -> None:
    """Set up Django with these environment variables, ignoring the developer's own values."""
    for name in ENVIRONMENT_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update({"DJANGO_SETTINGS_MODULE": "msr_project.settings", **environment})
    django.setup()
