from typing import Any

from django.apps import AppConfig, apps
from django.contrib import admin
from django.contrib.admin import apps as admin_apps
from django.db.models import Q
from django.db.models.signals import post_migrate

from activity import schedule

SCHEDULE = {
    "Clear expired sessions": (
        "msr_project.tasks.clear_expired_sessions",
        {"hour": "4", "minute": "30"},
    ),
}
"""The tasks of the host project that Celery beat starts."""
USERS = Q(content_type__app_label="auth", codename__endswith="_user")
SCHEDULES = Q(content_type__app_label="django_celery_beat")
"""Permissions that the admin of the host project makes safe to give."""


class ProjectConfig(AppConfig):
    name = "msr_project"

    def ready(self) -> None:
        from msr_project import checks  # noqa: F401  # registers the checks
        from repositories import extensions

        extensions.MANAGED |= USERS | SCHEDULES

        # Django sends the signal only for apps with models.
        post_migrate.connect(restore_schedule, sender=apps.get_app_config("registry_activity"))


def restore_schedule(apps: Any = apps, **_: Any) -> None:
    """Restore the scheduled tasks of the host project that were deleted. Receiver for `post_migrate`.

    `apps` contains the models that exist after a migration, which may have removed those of the audit trail.
    """
    if apps.all_models["registry_activity"]:
        schedule.restore(SCHEDULE)


class AdminConfig(admin_apps.AdminConfig):
    """Replaces Django's admin site with the host project's admin site."""

    default = False  # this isn't the configuration for `msr_project` itself
    default_site = "msr_project.admin.AdminSite"

    def ready(self) -> None:
        super().ready()
        from django.contrib.auth import get_user_model
        from django.contrib.auth.models import Group
        from django_celery_beat.models import CrontabSchedule, PeriodicTask
        from knox.models import AuthToken

        from activity.admin.schedules import CrontabScheduleAdmin, PeriodicTaskAdmin
        from msr_project.people import GroupAdmin, UserAdmin

        admin.site.unregister([AuthToken, Group, get_user_model(), PeriodicTask, CrontabSchedule])
        admin.site.register(Group, GroupAdmin)
        admin.site.register(get_user_model(), UserAdmin)
        admin.site.register(PeriodicTask, PeriodicTaskAdmin)
        admin.site.register(CrontabSchedule, CrontabScheduleAdmin)
