"""Permissions of the API."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class CanAddEvents(BasePermission):
    """Allows accounts that have the `add_event` permission: registries and other producers."""

    message = "This account can't add events. It needs the permission registry_activity.add_event."

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("registry_activity.add_event"))
