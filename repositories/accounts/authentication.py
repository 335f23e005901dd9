"""Checks access tokens: `Authorization: Bearer <token>`, or as the password of HTTP Basic for feed readers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.crypto import hash_token
from knox.models import get_token_model
from rest_framework import authentication, exceptions

from repositories.accounts import current_request
from repositories.models import AccessToken

PRECISION = timedelta(minutes=1)
"""How exactly the last use is known: a token that is used all the time is a row that all would write."""


class TokenAuthentication(authentication.TokenAuthentication):
    """`Authorization: Bearer <token>`, checked in one query. Independent of the host's Knox settings."""

    keyword = "Bearer"

    def authenticate_credentials(self, key: str) -> Any:
        token = find(key)
        if token is None or not token.user.is_active:
            raise exceptions.AuthenticationFailed("Invalid token.")
        mark_used(token)
        return token.user, token


class BasicTokenAuthentication(authentication.BasicAuthentication):
    """HTTP Basic with the user's name and a token of theirs, never their password."""

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> Any:
        user, token = TokenAuthentication().authenticate_credentials(password)
        if user.get_username() != userid:
            raise exceptions.AuthenticationFailed("Invalid token.")
        return user, token


class TokenScheme(OpenApiAuthenticationExtension):
    """Describes the tokens in the OpenAPI schema."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


def find(text: str) -> Any:
    """Return a token that hasn't expired, or None; with its user, and when both were last heard of.

    That is all that a registry's message asks of them, in one query.
    """
    loaded = get_token_model().objects.select_related("access_token", "user__registry")
    token = loaded.filter(digest=hash_token(text)).first()
    if token and token.expiry and token.expiry < timezone.now():
        _remove_expired(token.user)
        return None
    return token


def mark_used(token: Any) -> None:
    """Remember that a token was used just now, once a minute at most."""
    now = timezone.now()
    described = getattr(token, "access_token", None)
    if described is None or (described.last_used_at and described.last_used_at >= now - PRECISION):
        return
    # The condition stands here, too, so that of many requests at once one writes.
    AccessToken.objects.filter(pk=described.pk, last_used_at=described.last_used_at).update(last_used_at=now)
    _remove_expired(token.user)


def _remove_expired(user: Any) -> None:
    """Remove the expired tokens of a user: nobody's act, as Create Token has told when they end."""
    with current_request.auditing_disabled():
        get_token_model().objects.filter(user=user, expiry__lt=timezone.now()).delete()
