"""Finds out whether an app's tables are up to date, which they aren't between deployment and `migrate`."""

from __future__ import annotations

import logging
import pkgutil
from importlib import import_module
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

logger = logging.getLogger(__name__)

_migrated: set[str] = set()
"""The labels of the apps whose migrations have all been applied, which is looked up only once."""


def is_migrated(label: str) -> bool:
    """Return whether all migrations of an app have been applied. If not, log a warning.

    What the app does on its own account, such as recording a login, has to wait until then. Otherwise the
    pages of the site that cause it would fail.
    """
    if label not in _migrated:
        package = import_module(f"{apps.get_app_config(label).name}.migrations")
        wanted = {(label, module.name) for module in pkgutil.iter_modules(package.__path__)}
        if not wanted <= MigrationRecorder(connection).applied_migrations().keys():
            logger.warning("Nothing is recorded, because `manage.py migrate %s` has not been run.", label)
            return False
        _migrated.add(label)
    return True


def mark_migrated(app_config: Any, plan: Any = (), **_: Any) -> None:
    """Remember that an app's migrations have been applied, or removed. Receiver for `post_migrate`."""
    if any(backwards for migration, backwards in plan if migration.app_label == app_config.label):
        _migrated.discard(app_config.label)
    else:
        _migrated.add(app_config.label)
