"""Limit how staff manage users in the admin: nobody can grant permissions that they don't have.

By default, Django lets anyone with permission to change users make themselves a superuser, or take over a
superuser's account by setting a new password. Here, staff who aren't superusers can change only users whose
permissions are a subset of their own, and can grant only permissions that they have themselves.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest


def permissions_of(user: Any) -> QuerySet[Permission]:
    """Return the permissions that a user has, or would have if they were active."""
    if user.is_superuser:
        return Permission.objects.all()
    return Permission.objects.filter(Q(user=user) | Q(group__user=user)).distinct()


def can_manage(manager: Any, user: Any) -> bool:
    """Return whether `manager` has every permission that `user` has."""
    return manageable_users(manager).filter(pk=user.pk).exists()


def manageable_users(manager: Any) -> QuerySet[Any]:
    """Return the users who have no permission that `manager` lacks."""
    users = get_user_model()._default_manager.all()
    if manager.is_superuser:
        return users
    missing = _missing_permissions(manager)
    return users.filter(is_superuser=False).exclude(
        Q(user_permissions__in=missing) | Q(groups__permissions__in=missing)
    )


def assignable_groups(manager: Any) -> QuerySet[Group]:
    """Return the groups that have no permission that `manager` lacks."""
    return Group.objects.exclude(permissions__in=_missing_permissions(manager))


def _missing_permissions(manager: Any) -> QuerySet:
    return Permission.objects.exclude(pk__in=permissions_of(manager).values("pk")).values("pk")


class DelegationMixin:
    """A mixin for the user admin. It prevents staff from granting permissions that they don't have."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))  # type: ignore[misc]
        return fields if request.user.is_superuser else [*fields, "is_superuser"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)  # type: ignore[misc]
        return allowed and (obj is None or can_manage(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)  # type: ignore[misc]
        return allowed and (obj is None or can_manage(request.user, obj))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs["queryset"] = assignable_groups(request.user)
        elif db_field.name == "user_permissions":  # the widget displays their content types
            kwargs["queryset"] = permissions_of(request.user).select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]
