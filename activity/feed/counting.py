"""Counts events by time, for charts: by the tallies, or one by one where no tally tells what is asked."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import TruncMinute
from django.utils import timezone

from activity import gating
from activity.feed.ordering import BY_TIME
from activity.identity import MILLISECOND, first_id, moment_of
from activity.models import Event, Tally, TallyChange
from activity.storage import tallies
from activity.storage.tallies import DAY, HOUR, WEEK, floor
from repositories.access.resolving import Access
from repositories.models import Repository

MINUTES = [timedelta(minutes=number) for number in (1, 2, 5, 10)]
WIDTHS = [HOUR * number for number in (1, 2, 3, 6, 12)] + [DAY * number for number in (1, 2, 7, 14, 28, 91)]
MAX_BUCKETS = 60
BY_EVENTS = 3 * HOUR
"""Ranges up to this are counted event by event."""
BY_HOURS = 10 * DAY
"""Ranges up to this are counted by hours."""
BY_DAYS = 120 * DAY
"""Ranges up to this are counted by days, longer ones by weeks: their buckets are as wide."""
MOST = 10_000
"""Events that are counted one by one for a page, in some 50 ms."""
CELL = ("start", "category", "number")

Range = tuple[datetime, datetime]


@dataclass(frozen=True)
class Bucket:
    """A stretch of time, and the number of events in it, by category."""

    start: datetime
    end: datetime
    counts: Counter[str] = field(default_factory=Counter)


def by_tallies(
    access: Access,
    *,
    repository: Repository | None = None,
    within: QuerySet[Repository] | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
    exclude_pull: bool = False,
) -> list[Bucket]:
    """Return how many events a viewer could list, bucket by bucket: of a repository, of some, or of all.

    The buckets cover the range, from the first event on if it has no beginning, and are empty if there
    are no events. Their bounds are whole hours, days or weeks in UTC, but for those of the range itself
    and for ranges of up to three hours. At most `MAX_BUCKETS` and one more. A fixed number of queries.
    """
    scope = _Scope(access, repository, within, exclude_pull or not gating.sees_pulls(access, repository))
    if after is None or before is None:
        first, last = scope.extent()
        if first is None or last is None:
            return []
        after = after or first
        before = before or max(timezone.now(), last)
    if after >= before:
        return []
    buckets = divide(after, before)
    starts = [bucket.start for bucket in buckets]
    for moment, category, number in scope.cells(after, before):
        # A cell is labelled by its beginning, which that of the first bucket may follow.
        buckets[bisect(starts, max(moment, after)) - 1].counts[category] += int(number)
    return buckets


def by_events(
    events: QuerySet[Event], after: datetime | None, before: datetime | None, most: int = MOST
) -> tuple[list[Bucket], datetime | None]:
    """Return how many of these events there are, bucket by bucket, and where counting ended, if it did.

    For lists that are narrowed by what no tally knows: tags, types, actors. Only the newest `most` are
    counted: the buckets then begin where it ended. `after` and `before` are the bounds that the events
    are already narrowed to. One query.
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
    buckets = divide(start, before or max(timezone.now(), counted[0][0] + MILLISECOND))
    starts = [bucket.start for bucket in buckets]
    for moment, category in counted:
        buckets[bisect(starts, max(moment, start)) - 1].counts[category] += 1
    return buckets, ended


def divide(after: datetime, before: datetime) -> list[Bucket]:
    """Return the buckets of a range, empty."""
    least = next(
        (width for longest, width in ((BY_DAYS, WEEK), (BY_HOURS, DAY)) if before - after > longest), HOUR
    )
    widths = MINUTES if before - after <= BY_EVENTS else [width for width in WIDTHS if width >= least]
    width = next((w for w in widths if (before - after) / w <= MAX_BUCKETS), None)
    if width is None:  # of whole weeks, of which it takes the fewest that do
        width = WEEK * -(-(before - after) // (WEEK * MAX_BUCKETS))
    bounds = [after]
    while (following := floor(bounds[-1], width) + width) < before:
        bounds.append(following)
    return [Bucket(start, end) for start, end in pairwise([*bounds, before])]


@dataclass(frozen=True)
class _Scope:
    """Which events are counted, and where their counts are."""

    access: Access
    repository: Repository | None
    within: QuerySet[Repository] | None
    exclude_pull: bool

    def narrow(self, rows: QuerySet) -> QuerySet:
        if self.within is not None:
            rows = rows.filter(repository__in=self.within)
        return gating.without_pulls(rows) if self.exclude_pull else rows

    def visible(self, tallies: QuerySet[Tally]) -> QuerySet[Tally]:
        if self.access.sees_everything and self.repository is None and self.within is None:
            tallies = tallies.filter(repository=Tally.ALL)
        return self.narrow(gating.visible_rows(tallies, self.access, self.repository))

    @property
    def changes(self) -> QuerySet[TallyChange]:
        return self.narrow(gating.visible_rows(TallyChange.objects.all(), self.access, self.repository))

    @property
    def events(self) -> QuerySet[Event]:
        return self.narrow(Event.objects.visible_to(self.access, self.repository))

    @property
    def own(self) -> QuerySet[Event] | None:
        """The viewer's own account's events, since the tallies don't tell whose they are."""
        own = None if self.repository or self.within is not None else gating.own_account(self.access)
        return None if own is None else Event.objects.filter(own)

    @property
    def is_wide(self) -> bool:
        """Whether this is of so many repositories that the first tallies of all have some of theirs."""
        return self.repository is None and self.within is None and self.access.few_repositories is None

    def extent(self) -> tuple[datetime | None, datetime | None]:
        """Return the beginning of the first hour or day that has events, and the end of the last."""
        days = self.visible(tallies.valid(Tally.Unit.DAY))
        if self.is_wide:
            starts = days.values_list("start", flat=True)
            first, last = starts.order_by("start").first(), starts.order_by("-start").first()
        else:
            first, last = days.aggregate(first=Min("start"), last=Max("start")).values()
        of_changes = self.changes.aggregate(first=Min("hour"), last=Max("hour"))
        firsts = [first, of_changes["first"]]
        lasts = [moment and moment + length for moment, length in ((last, DAY), (of_changes["last"], HOUR))]
        if self.own is not None:
            moments = self.own.values_list("occurred_at", flat=True)
            for moment in filter(None, (moments.order_by("id").first(), moments.order_by("-id").first())):
                firsts.append(floor(moment, HOUR))
                lasts.append(floor(moment, HOUR) + HOUR)
        return min(filter(None, firsts), default=None), max(filter(None, lasts), default=None)

    def cells(self, after: datetime, before: datetime) -> QuerySet:
        """Return (beginning, category, number) of all that was counted in a range.

        One statement, so that what is folded meanwhile is counted once: whole weeks, days and hours by
        their tallies and changes, what is left at both ends by the events.
        """
        hours = _whole((after, before), HOUR) if before - after > BY_EVENTS else None
        if hours is None:
            return self.of_events(self.events, (after, before))
        parts = [self.of_changes(hours), *self.of_tallies(hours, before - after)]
        parts += [self.of_events(self.events, span) for span in _around((after, before), hours)]
        if self.own is not None:
            parts.append(self.of_events(self.own, hours))
        return parts[0].union(*parts[1:], all=True)

    def of_tallies(self, hours: Range, length: timedelta) -> Iterator[QuerySet]:
        """Yield the tallies of whole hours: each part of them by the longest periods that there may be."""
        days = _whole(hours, DAY) if length > BY_HOURS else None
        weeks = _whole(days, WEEK) if days and length > BY_DAYS else None
        yield self.summed(tallies.valid(Tally.Unit.HOUR), _around(hours, days))
        if days:
            yield self.summed(tallies.valid(Tally.Unit.DAY), _around(days, weeks))
        if weeks:
            yield self.summed(tallies.valid(Tally.Unit.WEEK), [weeks])
            yield self.summed(tallies.valid_days_of_void_weeks(), [weeks])

    def summed(self, rows: QuerySet[Tally], spans: list[Range]) -> QuerySet:
        within = Q(pk__in=[])
        for start, end in spans:
            within |= Q(start__gte=start, start__lt=end)
        rows = self.visible(rows).filter(within)
        return rows.values("start", "category").annotate(number=Sum("events")).values_list(*CELL)

    def of_changes(self, hours: Range) -> QuerySet:
        rows = self.changes.filter(hour__gte=hours[0], hour__lt=hours[1]).annotate(start=F("hour"))
        return rows.values("start", "category").annotate(number=Sum("events")).values_list(*CELL)

    def of_events(self, events: QuerySet[Event], span: Range) -> QuerySet:
        within = events.filter(id__gte=first_id(span[0]), id__lt=first_id(span[1])).order_by()
        rows = within.annotate(start=TruncMinute("occurred_at", tzinfo=UTC)).values("start", "category")
        return rows.annotate(number=Count("pk")).values_list(*CELL)


def _whole(span: Range, length: timedelta) -> Range | None:
    """Return the largest range of whole hours, days or weeks within a range."""
    start, end = floor(span[0] + length - timedelta.resolution, length), floor(span[1], length)
    return (start, end) if start < end else None


def _around(span: Range, inner: Range | None) -> list[Range]:
    """Return what a range has before and after an inner one."""
    parts = [(span[0], inner[0]), (inner[1], span[1])] if inner else [span]
    return [(start, end) for start, end in parts if start < end]
