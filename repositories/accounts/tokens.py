"""What is known of access tokens besides what Knox keeps: every token has an `AccessToken` beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from knox.crypto import hash_token
from knox.models import get_token_model

from activity.models import AccessToken
from repositories import acting

PRECISION = timedelta(minutes=1)
"""How exactly the last use is known: a token that is used all the time is a row that all would write."""


def describe(sender: Any, instance: Any, created: bool, **_: Any) -> None:
    """Put an `AccessToken` beside a token, whoever made it. Receives `post_save`."""
    if created:
        AccessToken.objects.create(token=instance)


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
    with acting.unrecorded():
        get_token_model().objects.filter(user=user, expiry__lt=timezone.now()).delete()
