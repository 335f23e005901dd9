"""Who may send events."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class MayAddEvents(BasePermission):
    """Accounts of registries and other producers, by Django's own permission."""

    message = "This account may not add events: give it the permission registry_activity.add_event."

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("registry_activity.add_event"))
