"""Remembers when each registry was last heard from, so that one that has gone quiet is noticed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from activity.models import Registry

PRECISION = timedelta(minutes=1)
"""A registry's row is written at most so often: it may deliver hundreds of messages a second."""


def heard_from(account: Any) -> None:
    """Remember that an account delivered a message just now. `tokens.find` has loaded its registry."""
    now = timezone.now()
    registry = getattr(account, "registry", None)
    if registry is None:
        Registry.objects.get_or_create(account=account)
    elif registry.last_heard_at < now - PRECISION:
        # The condition stands here again, so that of many requests at once one writes.
        stale = Registry.objects.filter(pk=registry.pk, last_heard_at=registry.last_heard_at)
        stale.update(last_heard_at=now)
