"""Permissions of the API."""

from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from repositories.models import AccessToken

ADD_EVENT = Permission.objects.filter(content_type__app_label="registry_activity", codename="add_event")


def tokens_with_permission() -> QuerySet[AccessToken]:
    """Return all tokens, each with `can_add_events`.

    Registries send hundreds of messages a second, so the permission is loaded with the token, in one query.
    """
    holders = Q(user=OuterRef("user")) | Q(group__user=OuterRef("user"))
    return AccessToken.objects.annotate(can_add_events=Exists(ADD_EVENT.filter(holders)))


class CanAddEvents(BasePermission):
    """Allows accounts that have the `add_event` permission: registries and other producers."""

    message = "This account can't add events. It needs the permission registry_activity.add_event."

    def has_permission(self, request: Request, view: Any) -> bool:
        if getattr(request.auth, "can_add_events", False):
            return True
        return bool(request.user and request.user.has_perm("registry_activity.add_event"))
