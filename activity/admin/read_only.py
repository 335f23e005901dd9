"""The base class for read-only admin pages."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from repositories.utils.admin_lookup import LookupMixin


class ReadOnlyAdmin(LookupMixin, admin.ModelAdmin):
    """Lets MSR admins and auditors view objects. Nobody can add, change or delete them."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("registry_repositories.audit_registry")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
