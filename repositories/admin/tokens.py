"""The admin for all users' access tokens. Tokens can be created and revoked, but not changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from knox.admin import AuthTokenAdmin

from repositories.access.delegation import can_manage, manageable_users
from repositories.models import AccessToken
from repositories.utils.admin_lookup import LookupMixin


@admin.register(AccessToken)
class TokenAdmin(LookupMixin, AuthTokenAdmin):
    """Lets the viewer create and revoke only the tokens of users that they can manage, and forbids changes.

    With Knox's own admin, tokens can be created for any user, even for superusers, and existing tokens
    can be revoked, or assigned to other users.
    """

    list_display = [
        "__str__",
        "digits",
        "user",
        "can_read",
        "can_write",
        "restricted_to",
        "created",
        "expiry",
        "last_used_at",
        "last_used_from",
    ]
    search_fields = ["name", *AuthTokenAdmin.search_fields]
    fields = ["name", "user", "can_read", "can_write", "restricted_to", "expiry"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        use = ["digits", "created", "last_used_at", "last_used_from"] if obj else []
        return [*self.fields, *use]

    @admin.display(description=_("First digits"))
    def digits(self, token: AccessToken) -> str:
        return f"{token.digits}…"

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = manageable_users(request.user)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or can_manage(request.user, obj.user))
