"""Remembers when each registry was last heard from, so that one that has gone quiet is noticed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from activity.models import Registry

PRECISION = timedelta(minutes=1)
"""A registry's row is written at most so often: it may deliver hundreds of messages a second."""


def heard_from(account: Any) -> None:
    """Remember that an account delivered a message just now."""
    now = timezone.now()
    registry = Registry.objects.filter(account=account)
    last = registry.values_list("last_heard_at", flat=True).first()
    if last is None:
        Registry.objects.get_or_create(account=account)
    elif last < now - PRECISION:
        # The condition stands here again, so that of many requests at once one writes.
        registry.filter(last_heard_at=last).update(last_heard_at=now)
