"""Permissions of the API."""

from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from repositories.accounts.authentication import TokenAuthentication
from repositories.models import AccessToken

ADD_EVENT = Permission.objects.filter(content_type__app_label="registry_activity", codename="add_event")


class ProducerAuthentication(TokenAuthentication):
    """Token authentication for registries, which send hundreds of messages a second.

    One query loads the token, the account, its registry, and whether the account can add events.
    """

    def get_tokens(self) -> QuerySet[AccessToken]:
        holders = Q(user=OuterRef("user")) | Q(group__user=OuterRef("user"))
        return super().get_tokens().annotate(can_add_events=Exists(ADD_EVENT.filter(holders)))


class CanAddEvents(BasePermission):
    """Allows accounts that have the `add_event` permission: registries and other producers."""

    message = "This account can't add events. It needs the permission registry_activity.add_event."

    def has_permission(self, request: Request, view: Any) -> bool:
        if getattr(request.auth, "can_add_events", False):
            return True
        return bool(request.user and request.user.has_perm("registry_activity.add_event"))
