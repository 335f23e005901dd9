"""Authentication by access token, sent as a bearer token or, by feed readers, as an HTTP Basic password."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.crypto import hash_token
from rest_framework import authentication, exceptions

from repositories.accounts import current_request
from repositories.models import AccessToken

PRECISION = timedelta(minutes=1)
"""How often to store when a token was last used. Doing so for every request would be a bottleneck."""


class TokenAuthentication(authentication.TokenAuthentication):
    """`Authorization: Bearer <token>`. Knox's own class takes prefix and model from the host's settings."""

    keyword = "Bearer"

    def authenticate_credentials(self, key: str) -> Any:
        token = find_token(key)
        if token is None or not token.user.is_active:
            raise exceptions.AuthenticationFailed("Invalid token.")
        mark_used(token)
        return token.user, token


class BasicTokenAuthentication(authentication.BasicAuthentication):
    """HTTP Basic with the username, and one of the user's tokens instead of their password."""

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> Any:
        user, token = TokenAuthentication().authenticate_credentials(password)
        if user.get_username() != userid:
            raise exceptions.AuthenticationFailed("Invalid token.")
        return user, token


class TokenScheme(OpenApiAuthenticationExtension):
    """The description of token authentication in the OpenAPI schema."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


def find_token(text: str) -> AccessToken | None:
    """Return a token that hasn't expired, or None.

    The query also loads the token's user and the user's registry, because notifications need them.
    """
    tokens = AccessToken.objects.select_related("user__registry")
    token = tokens.filter(digest=hash_token(text)).first()
    if token and token.is_expired:
        _delete_expired(token.user)
        return None
    return token


def mark_used(token: AccessToken) -> None:
    """Store the current time as the token's last use, at most once per PRECISION."""
    now = timezone.now()
    if token.last_used_at and token.last_used_at >= now - PRECISION:
        return
    # Filter by the old value, so that only one of many concurrent requests writes.
    AccessToken.objects.filter(pk=token.pk, last_used_at=token.last_used_at).update(last_used_at=now)
    _delete_expired(token.user)


def _delete_expired(user: Any) -> None:
    """Delete a user's expired tokens.

    No event is recorded, because the Create Token event already includes the expiry date.
    """
    with current_request.auditing_disabled():
        AccessToken.objects.filter(user=user, expiry__lt=timezone.now()).delete()
