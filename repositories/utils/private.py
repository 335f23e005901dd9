"""Keep responses out of caches, because they depend on who asks."""

from __future__ import annotations

from typing import Any

from django.views.decorators.cache import cache_control


def make_private(patterns: list[Any]) -> None:
    """Let no browser and no proxy store the responses of these URL patterns' views.

    Otherwise, the browser of a shared computer could show stored pages after its user has logged out.
    """
    for pattern in patterns:
        pattern.callback = cache_control(private=True, no_store=True)(pattern.callback)
