"""The default schedule of Celery beat. Migrations create it, and the admin edits it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.apps import apps as installed_apps
from django.db import connection
from django.db.models import Q

from repositories.accounts import current_request

Schedule = dict[str, tuple[str, dict[str, str]]]
"""The names of the scheduled tasks, each with its path and the fields of its crontab."""

SCHEDULE: Schedule = {
    "Auto-delete events": ("activity.tasks.delete_events", {"hour": "0", "minute": "0"}),
    "Create partitions of the event table": (
        "activity.tasks.create_partitions",
        {"hour": "3", "minute": "15"},
    ),
    "Preview waiting changes to auto-deletion": (
        "activity.tasks.preview_waiting_changes",
        {"hour": "*", "minute": "*"},
    ),
    "Delete counts of failed logins": ("activity.tasks.delete_failed_logins", {"hour": "3", "minute": "30"}),
    "Delete expired grants": ("activity.tasks.delete_expired_grants", {"hour": "*", "minute": "*"}),
    "Delete old messages": ("activity.tasks.delete_old_messages", {"hour": "3", "minute": "45"}),
    "Verify the events": ("activity.tasks.verify_events", {"day_of_week": "0", "hour": "4", "minute": "0"}),
    "Fold tallies": ("activity.tasks.fold_tallies", {"hour": "*", "minute": "*"}),
}


def restore(schedule: Schedule, apps: Any = installed_apps) -> None:
    """Create the tasks of a schedule that don't exist. Existing tasks stay as they are.

    That deleted tasks are restored is recorded, but not that the app has been installed.
    """
    tasks = apps.get_model("django_celery_beat", "PeriodicTask")._default_manager
    crontabs = apps.get_model("django_celery_beat", "CrontabSchedule")._default_manager
    if tasks.model._meta.db_table not in connection.introspection.table_names():
        return
    # The models of migrations send no signals, so what migrations do isn't recorded anyway.
    has_events = (
        apps is installed_apps and apps.get_model("registry_activity", "Event")._base_manager.exists()
    )
    with nullcontext() if has_events else current_request.auditing_disabled():
        for name, (task, when) in schedule.items():
            if not tasks.filter(Q(task=task) | Q(name=name)).exists():
                every_day = {"day_of_week": "*", "day_of_month": "*", "month_of_year": "*"}
                crontab = crontabs.filter(timezone="UTC", **{**every_day, **when}).first()
                crontab = crontab or crontabs.create(timezone="UTC", **when)
                tasks.create(name=name, task=task, crontab=crontab)
