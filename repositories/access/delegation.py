"""Nobody gives what they don't have: how staff who aren't superusers manage users in the admin.

Django lets whoever may change users make themselves superuser, or take over a superuser's account by a new
password. Here they manage those who have no permission that they lack, and hand on what they have.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest


def permissions_of(user: Any) -> QuerySet[Permission]:
    """Return what a user holds, or would hold if they were active."""
    if user.is_superuser:
        return Permission.objects.all()
    return Permission.objects.filter(Q(user=user) | Q(group__user=user)).distinct()


def may_manage(manager: Any, user: Any) -> bool:
    """Tell whether a user holds nothing that `manager` lacks."""
    return users_within(manager).filter(pk=user.pk).exists()


def users_within(manager: Any) -> QuerySet[Any]:
    """Return the users who hold nothing that `manager` lacks."""
    users = get_user_model()._default_manager.all()
    if manager.is_superuser:
        return users
    lacking = _lacking(manager)
    return users.filter(is_superuser=False).exclude(
        Q(user_permissions__in=lacking) | Q(groups__permissions__in=lacking)
    )


def groups_within(manager: Any) -> QuerySet[Group]:
    """Return the groups that give nothing that `manager` lacks."""
    return Group.objects.exclude(permissions__in=_lacking(manager))


def _lacking(manager: Any) -> QuerySet:
    return Permission.objects.exclude(pk__in=permissions_of(manager).values("pk")).values("pk")


class DelegationMixin:
    """For the admin of users."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))  # type: ignore[misc]
        return fields if request.user.is_superuser else [*fields, "is_superuser"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)  # type: ignore[misc]
        return allowed and (obj is None or may_manage(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)  # type: ignore[misc]
        return allowed and (obj is None or may_manage(request.user, obj))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs["queryset"] = groups_within(request.user)
        elif db_field.name == "user_permissions":  # each is shown with its content type
            kwargs["queryset"] = permissions_of(request.user).select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]
