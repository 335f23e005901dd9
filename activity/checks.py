"""System checks for the settings in `activity.config`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from activity import config


@register
def check_settings(**_: Any) -> list[CheckMessage]:
    """Return an error for each missing setting."""
    errors: list[CheckMessage] = []
    if not getattr(settings, "PUBLIC_URL", ""):
        errors.append(
            Error(
                "PUBLIC_URL is not set.",
                hint="Set it to the URL of this site, for example https://audit.example.com.",
                id="registry_activity.E001",
            )
        )
    if config.ARCHIVES not in settings.STORAGES:
        errors.append(
            Error(
                f"STORAGES has no storage named {config.ARCHIVES!r}.",
                hint="Add a storage for the archives of deleted events.",
                id="registry_activity.E002",
            )
        )
    return errors
