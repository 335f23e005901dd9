"""The admin for Celery beat's schedules. MSR admins can change the schedules, and auditors can view them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask


class ScheduledTaskAdmin(PeriodicTaskAdmin):
    """Offers actions only to users who can change schedules.

    The actions of `PeriodicTaskAdmin` don't check permissions, so they would let anyone who can view tasks
    disable them.
    """

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if self.has_change_permission(request) else {}


admin.site.unregister(PeriodicTask)
admin.site.register(PeriodicTask, ScheduledTaskAdmin)
