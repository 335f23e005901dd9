"""Who the caller is, and what they may do."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from activity.api.base import ANY_SCOPE, ApiView, document
from activity.api.permissions import CanAddEvents
from activity.feed.filters import check_parameters
from repositories.access.resolving import registry_role
from repositories.models import AccessToken, Scope

ROLES = {"administer_registry": "msr_admin", "audit_registry": "auditor"}


class TokenSerializer(serializers.ModelSerializer):
    """The access token of a request."""

    digits = serializers.CharField(help_text="The first digits of the token, which identify it.")
    scopes = serializers.SerializerMethodField()
    restricted_to = serializers.SerializerMethodField(
        help_text="The only namespaces (`acme/*`) and repositories where it can be used. Empty for all."
    )
    expires_at = serializers.DateTimeField(source="expiry", allow_null=True)

    class Meta:
        model = AccessToken
        fields = ["name", "digits", "scopes", "restricted_to", "expires_at"]

    @extend_schema_field({"type": "array", "items": {"type": "string", "enum": Scope.values}})
    def get_scopes(self, token: AccessToken) -> list[str]:
        return sorted(token.scopes)

    def get_restricted_to(self, token: AccessToken) -> list[str]:
        return token.restricted_to.splitlines()


class CallerSerializer(serializers.Serializer):
    """The caller."""

    username = serializers.CharField(source="user.get_username")
    role = serializers.ChoiceField(
        list(ROLES.values()), allow_null=True, help_text="Null for people who see only some repositories."
    )
    can_add_events = serializers.BooleanField(help_text="Whether the caller may send events.")
    token = TokenSerializer(allow_null=True, help_text="Null if the caller is logged in instead.")


class CallerView(ApiView):
    """Say who the caller is, and what they may do."""

    scopes = {"GET": ANY_SCOPE}

    @document(responses=CallerSerializer)
    def get(self, request: Request) -> Response:
        """Say who the caller is, and what they may do."""
        check_parameters(request, self)
        token = request.auth if isinstance(request.auth, AccessToken) else None
        can_add_events = CanAddEvents().has_permission(request, self)
        caller: dict[str, Any] = {
            "user": request.user,
            "role": ROLES.get(registry_role(request.user)),
            "can_add_events": can_add_events and (token is None or token.can_write),
            "token": token,
        }
        return Response(CallerSerializer(caller).data)
