"""Limit how often something may fail, such as guesses of a password or of a username.

The counters are rows in the database, so that all processes share them without Redis, and nobody can evict
them by filling a cache. Their keys are hashes, because people type passwords into fields for names. A use of
an exhausted limit is refused without writing anything, and expired counters are deleted by later uses.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone

from repositories.models import Counter

Result = TypeVar("Result")

MAX_DELETED = 20
"""The number of expired counters to delete per use. A use adds at most 4."""


@dataclass(frozen=True)
class Limit:
    """At most `allowed` failures in each period. A period begins with the first failure."""

    name: str
    allowed: int
    period: timedelta

    def of(self, *subject: object, group: str = "") -> Quota:
        """Return the quota of a subject, for example of a username. See `group_of` for groups."""
        return Quota(self, _hash(self.name, *subject), group)


@dataclass(frozen=True)
class Quota:
    """A limit, applied to one subject."""

    limit: Limit
    key: str
    group: str = ""

    def is_used_up(self, counter: Counter) -> bool:
        return counter.count >= self.limit.allowed and counter.expires_at > timezone.now()


class LimitExceeded(Exception):
    """A limit is exhausted until a certain time."""

    def __init__(self, limit: Limit, until: datetime) -> None:
        super().__init__(f"{limit.name}, until {until}")
        self.limit, self.until = limit, until

    @property
    def minutes(self) -> int:
        """How many minutes to wait."""
        return max(1, math.ceil((self.until - timezone.now()).total_seconds() / 60))


def group_of(*subject: object) -> str:
    """Return the name of a group of quotas, which `release` resets together."""
    return _hash("group", *subject)


def _hash(*subject: object) -> str:
    return hashlib.sha256("\0".join(map(str, subject)).encode(errors="surrogatepass")).hexdigest()


def attempt(quotas: Sequence[Quota], action: Callable[[], Result]) -> Result:
    """Call `action` and return its result. A falsy result counts as a failure against all the quotas.

    Raises LimitExceeded without calling `action` if a quota is used up. An attempt is counted before it is
    made, so that simultaneous attempts can't exceed a limit.
    """
    if exceeded := find_exceeded(*quotas) or _take(quotas):
        raise exceeded
    if result := action():
        keys = [quota.key for quota in quotas]
        Counter.objects.filter(key__in=keys, count__gt=0).update(count=F("count") - 1)
    return result


def find_exceeded(*quotas: Quota) -> LimitExceeded | None:
    """Return the limit that is exhausted for the longest time, or None if no quota is used up."""
    return _longest(quotas, _load(quotas))


def _longest(quotas: Sequence[Quota], counters: dict[str, Counter]) -> LimitExceeded | None:
    used_up = [each for each in quotas if each.key in counters and each.is_used_up(counters[each.key])]
    if not used_up:
        return None
    longest = max(used_up, key=lambda quota: counters[quota.key].expires_at)
    return LimitExceeded(longest.limit, counters[longest.key].expires_at)


def find_exceeded_in(group: str, limit: Limit) -> LimitExceeded | None:
    """Return the quota of a limit that is exhausted for the longest time in a group, or None."""
    used_up = Counter.objects.filter(group=group, count__gte=limit.allowed, expires_at__gt=timezone.now())
    until = used_up.aggregate(until=Max("expires_at"))["until"]
    return LimitExceeded(limit, until) if until else None


def release(group: str) -> None:
    """Forget the failures of a group. All its quotas are of one limit."""
    Counter.objects.filter(group=group).delete()


def reset(quota: Quota) -> None:
    """Forget the failures of a subject."""
    Counter.objects.filter(key=quota.key).delete()


def use_up(quota: Quota) -> None:
    """Use up a quota for one period from now on."""
    _upsert([_new_counter(quota, quota.limit.allowed)], ["count", "expires_at"])


def _take(quotas: Sequence[Quota]) -> LimitExceeded | None:
    """Count an attempt against all the quotas, unless one is used up, which is returned."""
    now = timezone.now()
    with transaction.atomic():
        # Updating the keys locks the rows. The rows are sorted, so that concurrent attempts can't deadlock.
        sorted_quotas = sorted(quotas, key=lambda quota: quota.key)
        _upsert([_new_counter(q) for q in sorted_quotas], ["key"])
        counters = _load(quotas)
        if exceeded := _longest(quotas, counters):
            return exceeded
        for quota in quotas:
            counter = counters[quota.key]
            if counter.expires_at <= now:
                counter.count, counter.expires_at = 0, now + quota.limit.period
            counter.count += 1
        Counter.objects.bulk_update(counters.values(), ["count", "expires_at"])
    _delete_expired()
    return None


def _new_counter(quota: Quota, count: int = 0) -> Counter:
    expires_at = timezone.now() + quota.limit.period
    return Counter(key=quota.key, group=quota.group, count=count, expires_at=expires_at)


def _load(quotas: Sequence[Quota]) -> dict[str, Counter]:
    return Counter.objects.in_bulk([quota.key for quota in quotas], field_name="key")


def _upsert(counters: list[Counter], update_fields: list[str]) -> None:
    Counter.objects.bulk_create(
        counters, update_conflicts=True, unique_fields=["key"], update_fields=update_fields
    )


@transaction.atomic
def _delete_expired() -> None:
    expired = Counter.objects.filter(expires_at__lte=timezone.now()).order_by("expires_at")
    ids = expired.select_for_update(skip_locked=True).values_list("pk", flat=True)[:MAX_DELETED]
    Counter.objects.filter(pk__in=list(ids)).delete()
