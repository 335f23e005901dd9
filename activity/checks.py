"""System checks of the settings in `config`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from activity import config


@register
def check_settings(**_: Any) -> list[CheckMessage]:
    """Return an error for each setting that is missing, with a hint."""
    errors: list[CheckMessage] = []
    if not getattr(settings, "PUBLIC_URL", ""):
        errors.append(
            Error(
                "PUBLIC_URL is not set.",
                hint="Set it to the address of this site, such as https://audit.example.com.",
                id="registry_activity.E001",
            )
        )
    if config.ARCHIVES not in settings.STORAGES:
        errors.append(
            Error(
                f"STORAGES has no storage named {config.ARCHIVES!r}.",
                hint="Add one: events are archived to it before they are deleted.",
                id="registry_activity.E002",
            )
        )
    return errors
