"""Limit how often a minute each access token may read.

Each process of the web server counts by itself, in memory: a counter in the database or in a cache of files
would cost more than many of the requests that it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from threading import Lock
from time import monotonic

from repositories import config
from repositories.models import AccessToken

PERIOD = 60.0
"""The seconds after which a count begins again. A period begins with the first request."""
MAX_COUNTS = 10_000

_lock = Lock()
_counts: dict[str, tuple[float, int]] = {}
"""For each token, the end of its period, and the number of requests so far."""


@dataclass(frozen=True)
class Allowance:
    """What a token may still read in its period, after the request that has been counted."""

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
    limit, now = config.reads_per_minute(), monotonic()
    if limit is None:
        return None
    with _lock:
        end, used = _counts.get(token.pk, (0.0, 0))
        if end <= now:
            end, used = now + PERIOD, 0
        if len(_counts) >= MAX_COUNTS:
            for key in [key for key, (end_of_other, _) in _counts.items() if end_of_other <= now]:
                del _counts[key]
        _counts[token.pk] = end, used + 1
    return Allowance(limit, used + 1, ceil(end - now))
