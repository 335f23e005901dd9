"""The admin for Celery beat's schedules. MSR admins can change the schedules, and auditors can view them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_celery_beat.admin import CrontabScheduleAdmin as BeatCrontabAdmin
from django_celery_beat.admin import PeriodicTaskAdmin as BeatAdmin
from django_celery_beat.admin import PeriodicTaskForm
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from kombu.exceptions import OperationalError as QueueError

from activity.admin.actions import report
from activity.sources import auditing
from repositories.utils.admin_lookup import LookupMixin
from repositories.utils.text import is_storable

CLEANUP_TASK = "celery.backend_cleanup"
"""The only one of Celery's own tasks that is scheduled: Celery beat does so by itself."""


class ScheduledTaskForm(PeriodicTaskForm):
    """Accepts tasks without message headers. `PeriodicTask` would store NULL, which the database rejects."""

    def clean(self) -> dict[str, Any]:
        self.cleaned_data.setdefault("task", "")  # `PeriodicTaskForm` expects it, even if it was invalid
        cleaned = super().clean()
        # Some of them call the tasks in their arguments, unnoticed by whatever looks for the names of tasks.
        if cleaned["task"].startswith("celery.") and cleaned["task"] != CLEANUP_TASK:
            raise ValidationError(gettext("Celery's own tasks can't be scheduled."))
        return cleaned

    def clean_regtask(self) -> str:
        """Reject what the field accepts as the name of a task, although no database can store it."""
        if not is_storable(name := self.cleaned_data["regtask"]):
            raise ValidationError(gettext("There is no such task."))
        return name

    def clean_headers(self) -> str:
        return self._clean_json("headers") if self.cleaned_data["headers"] else "{}"


class PeriodicTaskAdmin(LookupMixin, BeatAdmin):
    """Offers the actions of Celery beat's admin only to users who can change schedules, and records them.

    The actions of Celery beat's admin don't check permissions, so they would let anyone who can view tasks
    disable them. They also update tasks without sending signals, so no event would be recorded.
    """

    form = ScheduledTaskForm

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if self.has_change_permission(request) else {}

    @admin.action(description=_("Enable selected tasks"))
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, lambda task: True)

    @admin.action(description=_("Disable selected tasks"))
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, lambda task: False)

    @admin.action(description=_("Toggle activity of selected tasks"))
    def toggle_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, lambda task: not task.enabled)

    @transaction.atomic
    def _switch(
        self, request: HttpRequest, tasks: QuerySet[PeriodicTask], is_enabled: Callable[[PeriodicTask], bool]
    ) -> None:
        """Enable or disable each task, depending on the result of `is_enabled`."""
        changed = [task for task in tasks if task.enabled != is_enabled(task)]
        for task in changed:
            task.enabled = not task.enabled
            if not task.enabled:
                task.last_run_at = None  # Celery beat would otherwise catch up once the task is enabled again
            task.save()
        report(request, gettext("Changed: %(number)s."), len(changed))

    @admin.action(description=_("Run selected tasks"))
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        try:
            with transaction.atomic():
                for task in queryset:
                    auditing.record("run_periodic_task", subject=str(task))
                super().run_tasks(request, queryset)
        except (QueueError, OSError) as error:
            self.message_user(
                request,
                gettext("The task queue is unreachable: %(error)s") % {"error": error},
                messages.ERROR,
            )


class CrontabScheduleAdmin(LookupMixin, BeatCrontabAdmin):
    """Describes only valid schedules in words. Celery beat's admin fails to show an invalid form again."""

    @admin.display(description=_("Human readable"))
    def human_readable(self, schedule: CrontabSchedule) -> str:
        try:
            schedule.clean_fields()
        except ValidationError:
            return "-"
        return schedule.human_readable
