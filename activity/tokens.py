"""What is known of access tokens besides what Knox keeps: every token has an `AccessToken` beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from activity.models import AccessToken

PRECISION = timedelta(minutes=1)
"""How exactly the last use is known: a token that is used all the time is a row that all would write."""


def describe(sender: Any, instance: Any, created: bool, **_: Any) -> None:
    """Put an `AccessToken` beside a token, whoever made it. Receives `post_save`."""
    if created:
        AccessToken.objects.create(token=instance)


def mark_used(token: Any) -> None:
    """Remember that a token was used just now, once a minute at most; else only a row is read."""
    now = timezone.now()
    stale = AccessToken.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lt=now - PRECISION), token=token.pk
    )
    if stale.exists():
        stale.update(last_used_at=now)
