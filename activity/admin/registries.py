"""Registries, and whether they were heard from, for MSR admins and auditors."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from activity.models import Registry


@admin.register(Registry)
class RegistryAdmin(admin.ModelAdmin):
    """Each is listed from its first delivery on, until it is deleted here."""

    list_display = ["account", "last_heard_at", "quiet_after", "heard_from"]
    list_select_related = ["account"]
    fields = ["account", "last_heard_at", "quiet_after"]
    readonly_fields = ["account", "last_heard_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description="heard from", boolean=True)
    def heard_from(self, registry: Registry) -> Any:
        return not registry.is_quiet
