"""Sets up Django outside pytest, for benchmarks and screenshots."""

import os

import django

from tests.plugin import SETTINGS


def configure(**environment: str) -> None:
    """Start Django with these environment variables, ignoring the developer's own settings."""
    for setting in SETTINGS:
        os.environ.pop(setting, None)
    os.environ.update(environment, DJANGO_SETTINGS_MODULE="msr_project.settings")
    django.setup()
