"""Access tokens of all users: made for those whom one may manage, revoked, never changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from knox.admin import AuthTokenAdmin
from knox.models import AuthToken

from repositories.access.delegation import users_within


class TokenAdmin(AuthTokenAdmin):
    """Knox's own makes tokens for anybody, superusers too, and gives those that there are to others."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = users_within(request.user)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.unregister(AuthToken)
admin.site.register(AuthToken, TokenAdmin)
