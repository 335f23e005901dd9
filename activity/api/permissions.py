"""Permissions of the API."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from activity.sources.registries import may_add_events
from repositories.models import AccessToken


def tokens_with_permission() -> QuerySet[AccessToken]:
    """Return all tokens, each with `can_add_events`.

    Registries send hundreds of messages a second, so the permission is loaded with the token, in one query.
    """
    return AccessToken.objects.annotate(can_add_events=may_add_events("user"))


class CanAddEvents(BasePermission):
    """Allows accounts that have the `add_event` permission: registries and other producers."""

    message = "This account can't add events. It needs the permission registry_activity.add_event."

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("registry_activity.add_event"))
