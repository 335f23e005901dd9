"""Authentication by access token.

Clients send the token as a bearer token. Feed readers can send it as an HTTP Basic password instead.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.crypto import hash_token
from rest_framework import authentication, exceptions

from repositories.accounts import current_request
from repositories.accounts.tokens import attach
from repositories.models import AccessToken

logger = logging.getLogger(__name__)

PRECISION = timedelta(minutes=1)
"""The minimum time between updates of `last_used_at`. An update on every request would be a bottleneck."""


class TokenAuthentication(authentication.TokenAuthentication):
    """Authentication with the `Authorization: Bearer <token>` header.

    Knox's own class isn't used, because its token prefix and model depend on the host site's settings.
    """

    keyword = "Bearer"

    def __init__(self, tokens: QuerySet[AccessToken] | None = None) -> None:
        """`tokens` is a queryset that loads further data with each token."""
        self.tokens = AccessToken.objects.all() if tokens is None else tokens

    def authenticate(self, request: Any) -> Any:
        found = super().authenticate(request)
        if found is not None:
            mark_used(found[1], current_request.client_address(request))
        return found

    def authenticate_credentials(self, key: str) -> Any:
        token = find_token(key, self.tokens.select_related("user__registry"))
        if token is None or not token.user.is_active:
            raise exceptions.AuthenticationFailed(_("Invalid token."))
        attach(token)
        return token.user, token


class BasicTokenAuthentication(authentication.BasicAuthentication):
    """HTTP Basic authentication with one of the user's access tokens instead of their password."""

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> Any:
        user, token = TokenAuthentication().authenticate_credentials(password)
        if user.get_username() != userid:
            raise exceptions.AuthenticationFailed(_("Invalid token."))
        mark_used(token, current_request.client_address(request))
        return user, token


class TokenScheme(OpenApiAuthenticationExtension):
    """The description of token authentication in the OpenAPI schema."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


def find_token(text: str, tokens: QuerySet[AccessToken]) -> AccessToken | None:
    """Return the token with this text from `tokens`, or None if it doesn't exist or has expired."""
    token = tokens.filter(digest=hash_token(text)).first()
    if token and token.is_expired:
        _delete_expired(token.user)
        return None
    return token


def mark_used(token: AccessToken, address: str) -> None:
    """Store when and from which address the token was used last, at most once per PRECISION.

    If the database is read-only or its disk is full, the token can be used nevertheless.
    """
    now = timezone.now()
    if token.last_used_at and token.last_used_at >= now - PRECISION:
        return
    # Filter by the old value, so that only one of many concurrent requests updates the row.
    unchanged = AccessToken.objects.filter(pk=token.pk, last_used_at=token.last_used_at)
    try:
        with transaction.atomic():
            unchanged.update(last_used_at=now, last_used_from=address or None)
            _delete_expired(token.user)
    except OperationalError as error:
        logger.warning("The last use of an access token can't be stored: %s", error)


def _delete_expired(user: Any) -> None:
    """Delete a user's expired tokens.

    The deletion isn't recorded as an event, because the Create Token event already includes the expiry date.
    """
    with current_request.auditing_disabled():
        AccessToken.objects.filter(user=user, expiry__lt=timezone.now()).delete()
