"""Limit how often something may fail, such as guesses of a password or of a username.

The counters are rows in the database, so that all processes share them without Redis, and nobody can evict
them by filling a cache. Their keys are hashes, because people type passwords into fields for names. A use of
an exhausted limit is refused without writing anything, and expired counters are deleted by later uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from repositories.models import Counter

Result = TypeVar("Result")

MAX_DELETED = 20
"""The number of expired counters to delete per use. A use adds at most 4."""


class LimitExceeded(Exception):
    """A limit is exhausted."""


@dataclass(frozen=True)
class Limit:
    """At most `allowed` failures in each period. A period begins with the first failure."""

    name: str
    allowed: int
    period: timedelta

    def of(self, *subject: object) -> Quota:
        """Return the quota of a subject, for example of a username."""
        text = "\0".join([self.name, *map(str, subject)])
        return Quota(self, hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest())


@dataclass(frozen=True)
class Quota:
    """A limit, applied to one subject."""

    limit: Limit
    key: str

    def is_used_up(self, counter: Counter) -> bool:
        return counter.count >= self.limit.allowed and counter.expires_at > timezone.now()


def attempt(quotas: Sequence[Quota], action: Callable[[], Result]) -> Result:
    """Call `action` and return its result. A falsy result counts as a failure against all the quotas.

    Raises LimitExceeded without calling `action` if a quota is used up. An attempt is counted before it is
    made, so that simultaneous attempts can't exceed a limit.
    """
    if is_used_up(*quotas) or not _take(quotas):
        raise LimitExceeded
    if result := action():
        keys = [quota.key for quota in quotas]
        Counter.objects.filter(key__in=keys, count__gt=0).update(count=F("count") - 1)
    return result


def is_used_up(*quotas: Quota) -> bool:
    """Return whether any of the quotas is used up."""
    counters = _load(quotas)
    return any(quota.key in counters and quota.is_used_up(counters[quota.key]) for quota in quotas)


def reset(quota: Quota) -> None:
    """Forget the failures of a subject."""
    Counter.objects.filter(key=quota.key).delete()


def use_up(quota: Quota) -> None:
    """Use up a quota for one period from now on."""
    _upsert(
        [Counter(key=quota.key, count=quota.limit.allowed, expires_at=timezone.now() + quota.limit.period)],
        ["count", "expires_at"],
    )


def _take(quotas: Sequence[Quota]) -> bool:
    """Count an attempt against all the quotas, unless one is used up. Return whether it was counted."""
    now = timezone.now()
    with transaction.atomic():
        # Updating the keys locks the rows. The rows are sorted, so that concurrent attempts can't deadlock.
        sorted_quotas = sorted(quotas, key=lambda quota: quota.key)
        _upsert([Counter(key=q.key, expires_at=now + q.limit.period) for q in sorted_quotas], ["key"])
        counters = _load(quotas)
        if any(quota.is_used_up(counters[quota.key]) for quota in quotas):
            return False
        for quota in quotas:
            counter = counters[quota.key]
            if counter.expires_at <= now:
                counter.count, counter.expires_at = 0, now + quota.limit.period
            counter.count += 1
        Counter.objects.bulk_update(counters.values(), ["count", "expires_at"])
    _delete_expired()
    return True


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
