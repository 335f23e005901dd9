"""The accounts that deliver notifications, which are checked at most every two seconds.

Registries send hundreds of messages a second with the same token. A token, account or permission that is
revoked is still accepted until the check is repeated.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import NotAuthenticated, PermissionDenied

from activity.api.permissions import CanAddEvents, tokens_with_permission
from activity.sources import registries
from repositories.accounts.authentication import TokenAuthentication

LIFETIME = 2.0
"""For how long the result of a check is used, in seconds."""
MAX_SENDERS = 1_000
UNFIT_TOKEN = _("Notifications need an access token that can write events, without a restriction.")


class Sender(NamedTuple):
    """An account that may add events, and the beginning of the token that it uses."""

    account_id: int
    token_key: str


_checked: dict[str, tuple[float, Sender]] = {}
"""The senders that have been accepted, and when, by the Authorization header."""


def authenticate(request: HttpRequest) -> Sender:
    """Return who sends a request. Raises an APIException if they may not add events."""
    header, now = request.META.get("HTTP_AUTHORIZATION", ""), time.monotonic()
    checked_at, sender = _checked.get(header, (-LIFETIME, None))
    if sender is None or now >= checked_at + LIFETIME:
        sender = _check(request)
        if len(_checked) >= MAX_SENDERS:
            _checked.clear()
        _checked[header] = (now, sender)
    return sender


def forget() -> None:
    """Check all senders again."""
    _checked.clear()


def _check(request: Any) -> Sender:
    found = TokenAuthentication(tokens_with_permission()).authenticate(request)
    if found is None:
        raise NotAuthenticated
    account, token = found
    if not token.can_deliver_notifications:
        raise PermissionDenied(UNFIT_TOKEN)
    if not (getattr(token, "can_add_events", False) or account.has_perm("registry_activity.add_event")):
        raise PermissionDenied(CanAddEvents.message)
    registries.update_last_contact(account)
    return Sender(account.pk, token.token_key)
