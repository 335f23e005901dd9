"""Counts events one by one, for lists that are narrowed by what no tally knows: tags, types, actors."""

from __future__ import annotations

from bisect import bisect
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from activity import tallies
from activity.feed import BY_TIME
from activity.identity import MILLISECOND, moment_of
from activity.models import Event

MOST = 10_000
"""Events that are counted for one page, in some 50 ms."""


def by_time(
    events: QuerySet[Event], after: datetime | None, before: datetime | None, most: int = MOST
) -> tuple[list[tallies.Bucket], datetime | None]:
    """Return how many of these events there are, bucket by bucket, and where counting ended, if it did.

    Only the newest `most` are counted: the buckets then begin where it ended. `after` and `before` are
    the bounds that the events are already narrowed to. One query.
    """
    ordered = events.order_by(*(key.ordering(reverse=False) for key in BY_TIME.keys))
    counted = [
        (moment_of(id), category) for id, category in ordered.values_list("id", "category")[: most + 1]
    ]
    ended = None
    if len(counted) > most:
        ended = counted[-1][0] + MILLISECOND  # within a millisecond nothing can be cut
        counted = [(moment, category) for moment, category in counted if moment >= ended]
    if not counted:
        return [], ended
    start = ended or after or counted[-1][0]
    buckets = tallies.divide(start, before or max(timezone.now(), counted[0][0] + MILLISECOND))
    starts = [bucket.start for bucket in buckets]
    for moment, category in counted:
        buckets[bisect(starts, max(moment, start)) - 1].counts[category] += 1
    return buckets, ended
