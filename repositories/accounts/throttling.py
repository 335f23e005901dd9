"""Limit how often a minute each access token may read.

Requests are counted in the site's default cache, so all processes that share the cache share the counts, too.
A request is never refused because of a fault of the cache.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import ceil
from time import time

from django.core.cache import cache

from repositories import config
from repositories.models import AccessToken

PERIOD = 60
"""The seconds after which a count begins again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allowance:
    """What a token may still read in the current period, after the request that has been counted."""

    limit: int
    count: int
    reset: int
    """The number of seconds until the period ends."""

    @property
    def is_exceeded(self) -> bool:
        return self.count > self.limit

    @property
    def headers(self) -> dict[str, str]:
        """The response headers that report the allowance (draft-ietf-httpapi-ratelimit-headers-07)."""
        headers = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(0, self.limit - self.count)),
            "RateLimit-Reset": str(self.reset),
        }
        return {**headers, "Retry-After": str(self.reset)} if self.is_exceeded else headers


def count(token: AccessToken) -> Allowance | None:
    """Count a request that reads. Return what the token may still read, or None if there is no limit."""
    limit = config.reads_per_minute()
    if limit is None:
        return None
    period, elapsed = divmod(time(), PERIOD)
    try:
        used = _add_one(f"registry-reads:{token.pk}:{period:.0f}")
    except Exception:  # each kind of cache raises exceptions of its own
        logger.warning("The cache can't count requests of access tokens, so they aren't limited.")
        return None
    return Allowance(limit, used, ceil(PERIOD - elapsed))


def _add_one(key: str) -> int:
    """Count a request in the cache, and return the count."""
    try:
        return cache.incr(key)
    except ValueError:  # this is the first request
        return 1 if cache.add(key, 1, timeout=PERIOD) else cache.incr(key)
