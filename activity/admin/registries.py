"""The admin for registries, which shows when each registry last sent a message."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from activity.models import Registry
from repositories.utils.admin_lookup import LookupMixin


@admin.register(Registry)
class RegistryAdmin(LookupMixin, admin.ModelAdmin):
    """Shows registries. A registry is added when its first message arrives, and it can be deleted here."""

    list_display = ["account", "last_contact_at", "quiet_after", "is_active"]
    list_select_related = ["account"]
    fields = ["account", "last_contact_at", "quiet_after"]
    readonly_fields = ["account", "last_contact_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("active"), boolean=True)
    def is_active(self, registry: Registry) -> Any:
        return not registry.is_quiet
