"""Counts events over time for charts, from the tallies where possible, and otherwise event by event."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from django.db.models import Count, DateTimeField, F, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Cast, TruncMinute
from django.utils import timezone

from activity.feed.plans import Plan
from activity.feed.reading import newest
from activity.gating import GatedQuerySet, sees_pulls
from activity.identity import MILLISECOND, moment_of
from activity.models import Event, EventQuerySet, Tally, TallyChange
from activity.storage import tallies
from activity.storage.tallies import DAY, HOUR, WEEK, floor
from repositories.access.resolving import Access
from repositories.models import Repository

MINUTES = [timedelta(minutes=number) for number in (1, 2, 5, 10)]
WIDTHS = [HOUR * number for number in (1, 2, 3, 6, 12)] + [DAY * number for number in (1, 2, 7, 14, 28, 91)]
MAX_BUCKETS = 60
EVENT_BY_EVENT_UP_TO = 3 * HOUR
"""In ranges up to this length, events are counted one by one."""
HOURLY_UP_TO = 10 * DAY
"""In ranges up to this length, events are counted from hourly tallies."""
DAILY_UP_TO = 120 * DAY
"""In ranges up to this length, events are counted from daily tallies. Longer ranges use weekly tallies.

Buckets are at least as wide as the tallies they are counted from.
"""
COUNT_FIELDS = ("start", "category", "number")

Range = tuple[datetime, datetime]
Rows = TypeVar("Rows", bound=GatedQuerySet)


@dataclass(frozen=True)
class Bucket:
    """A period, and the number of events in each category during that period."""

    start: datetime
    end: datetime
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.counts.total()


def count_by_tallies(
    access: Access,
    *,
    repository: Repository | None = None,
    within: QuerySet[Repository] | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
    exclude_pull: bool = False,
) -> list[Bucket]:
    """Return buckets that cover the range, each with the number of events that the viewer can see.

    Counts the events of `repository`, of the repositories in `within`, or of all repositories. Without
    `after`, the range starts with the first event. Without `before`, the range ends now, or after the last
    event if its time is in the future. If either bound is missing and there are no events, the list is empty.
    Buckets start and end on whole hours, days or weeks in UTC, except at the ends of the range and in ranges
    of up to three hours. The list has at most `MAX_BUCKETS` + 1 buckets. The number of queries is fixed.
    """
    scope = _Scope(access, repository, within, exclude_pull or not sees_pulls(access, repository))
    if after is None or before is None:
        first, last = scope.extent()
        if first is None or last is None:
            return []
        after = after or first
        before = before or max(timezone.now(), last)
    return fill_buckets(after, before, scope.counts(after, before)) if after < before else []


def count_events(
    plan: Plan, after: datetime | None, before: datetime | None
) -> tuple[list[Bucket], datetime | None]:
    """Return buckets with event counts, and the time at which counting stopped.

    Use this for lists with filters that the tallies don't support, such as tags, types, actors and policies.
    Only a bounded number of events is read, newest first. If there are more events, the buckets start where
    reading stopped. If all events were counted, the time is None.

    `plan` must already be limited to the range from `after` to `before`.
    """
    with newest(plan) as (events, stopped):
        rows = events.filter(pull=None).order_by("-id").values_list("id", "category")
        counted = [(moment_of(id), category, 1) for id, category in rows]
    cutoff = None
    if stopped:
        cutoff = stopped + MILLISECOND  # buckets can't split a millisecond
        counted = [row for row in counted if row[0] >= cutoff]
    if not counted:
        return [], cutoff
    end = before or max(timezone.now(), counted[0][0] + MILLISECOND)
    return fill_buckets(cutoff or after or counted[-1][0], end, counted), cutoff


def fill_buckets(after: datetime, before: datetime, counts: Iterable[tuple]) -> list[Bucket]:
    """Return buckets that cover a range, with these counts: (time, category, number) tuples."""
    buckets = make_buckets(after, before)
    starts = [bucket.start for bucket in buckets]
    for moment, category, number in counts:
        # Events can be counted per minute, and the first minute can start before the first bucket does.
        buckets[bisect(starts, max(moment, after)) - 1].counts[category] += int(number)
    return buckets


def make_buckets(after: datetime, before: datetime) -> list[Bucket]:
    """Return empty buckets that cover a range."""
    length = before - after
    min_width = WEEK if length > DAILY_UP_TO else DAY if length > HOURLY_UP_TO else HOUR
    widths = [width for width in WIDTHS if width >= min_width] if length > EVENT_BY_EVENT_UP_TO else MINUTES
    width = next((width for width in widths if length / width <= MAX_BUCKETS), None)
    if width is None:  # the smallest number of whole weeks that suffices
        width = WEEK * -(-length // (WEEK * MAX_BUCKETS))
    bounds = [after]
    while (following := floor(bounds[-1], width) + width) < before:
        bounds.append(following)
    return [Bucket(start, end) for start, end in pairwise([*bounds, before])]


@dataclass(frozen=True)
class _Scope:
    """The events to count, and queries for their counts."""

    access: Access
    repository: Repository | None
    within: QuerySet[Repository] | None
    exclude_pull: bool

    def restrict(self, rows: Rows) -> Rows:
        if self.within is not None:
            rows = rows.filter(repository__in=self.within)
        return rows.without_pulls() if self.exclude_pull else rows

    def visible(self, tallies: GatedQuerySet[Tally]) -> GatedQuerySet[Tally]:
        if self.access.sees_everything and self.repository is None and self.within is None:
            tallies = tallies.filter(repository=Tally.ALL)
        return self.restrict(tallies.visible_to(self.access, self.repository))

    @property
    def changes(self) -> GatedQuerySet[TallyChange]:
        return self.restrict(tallies.changes().visible_to(self.access, self.repository))

    @property
    def events(self) -> EventQuerySet:
        return self.restrict(Event.objects.visible_to(self.access, self.repository))

    @property
    def own_account_events(self) -> EventQuerySet:
        """The viewer's own account events, which are counted separately because tallies have no actor."""
        if self.repository or self.within is not None:
            return Event.objects.none()
        return Event.objects.for_own_account(self.access)

    @property
    def spans_many_repositories(self) -> bool:
        """Whether the scope has so many repositories that scanning the tallies by time soon finds a match."""
        return self.repository is None and self.within is None and self.access.repositories_if_few is None

    def extent(self) -> tuple[datetime | None, datetime | None]:
        """Return the start of the first hour or day with events and the end of the last one."""
        days = self.visible(tallies.valid(Tally.Unit.DAY))
        if self.spans_many_repositories:
            starts = days.values_list("start", flat=True)
            first, last = starts.order_by("start").first(), starts.order_by("-start").first()
        else:
            first, last = days.aggregate(first=Min("start"), last=Max("start")).values()
        changes = self.changes.aggregate(first=Min("hour"), last=Max("hour"))
        firsts = [first, changes["first"]]
        lasts = [moment and moment + length for moment, length in ((last, DAY), (changes["last"], HOUR))]
        moments = self.own_account_events.values_list("occurred_at", flat=True)
        for moment in filter(None, (moments.order_by("id").first(), moments.order_by("-id").first())):
            firsts.append(floor(moment, HOUR))
            lasts.append(floor(moment, HOUR) + HOUR)
        return min(filter(None, firsts), default=None), max(filter(None, lasts), default=None)

    def counts(self, after: datetime, before: datetime) -> QuerySet:
        """Return rows of (start, category, number) that add up to the event counts for a range.

        Whole weeks, days and hours are counted from the tallies and tally changes. The remainders at both
        ends are counted from the events. A single statement counts everything, so that each tally change is
        counted exactly once, even while another process is folding changes into tallies.
        """
        hours = _whole_periods((after, before), HOUR) if before - after > EVENT_BY_EVENT_UP_TO else None
        if hours is None:
            return self.event_counts(self.events, (after, before))
        # Django converts the times of all parts as it converts those of the first one. PostgreSQL returns the
        # minutes of events without a time zone, and only the conversion of such a part adds it.
        parts = [self.event_counts(self.own_account_events, hours), self.change_counts(hours)]
        parts += self.tally_counts(hours, before - after)
        parts += [self.event_counts(self.events, span) for span in _remainders((after, before), hours)]
        return parts[0].union(*parts[1:], all=True)

    def tally_counts(self, hours: Range, length: timedelta) -> Iterator[QuerySet]:
        """Yield queries that sum the tallies in a range, using tallies for the longest possible periods."""
        days = _whole_periods(hours, DAY) if length > HOURLY_UP_TO else None
        weeks = _whole_periods(days, WEEK) if days and length > DAILY_UP_TO else None
        yield self.sum_tallies(tallies.valid(Tally.Unit.HOUR), _remainders(hours, days))
        if days:
            yield self.sum_tallies(tallies.valid(Tally.Unit.DAY), _remainders(days, weeks))
        if weeks:
            yield self.sum_tallies(tallies.valid(Tally.Unit.WEEK), [weeks])
            yield self.sum_tallies(tallies.valid_days_of_invalid_weeks(), [weeks])

    def sum_tallies(self, rows: GatedQuerySet[Tally], spans: list[Range]) -> QuerySet:
        within = Q(*(Q(start__gte=start, start__lt=end) for start, end in spans), _connector=Q.OR)
        return self.sum_events(self.visible(rows).filter(within) if spans else rows.none())

    def change_counts(self, hours: Range) -> QuerySet:
        rows = self.changes.filter(hour__gte=hours[0], hour__lt=hours[1])
        return self.sum_events(rows.annotate(start=F("hour")))

    @staticmethod
    def sum_events(rows: QuerySet) -> QuerySet:
        return rows.values("start", "category").annotate(number=Sum("events")).values_list(*COUNT_FIELDS)

    def event_counts(self, events: EventQuerySet, span: Range) -> QuerySet:
        within = events.between(*span).filter(pull=None).order_by()
        # Without the cast, PostgreSQL returns naive times if no other part of the union has rows.
        start = Cast(TruncMinute("occurred_at", tzinfo=UTC), DateTimeField())
        rows = within.annotate(start=start).values("start", "category")
        return rows.annotate(number=Count("pk")).values_list(*COUNT_FIELDS)


def _whole_periods(span: Range, length: timedelta) -> Range | None:
    """Return the largest range of whole hours, days or weeks within a range, or None if none fits."""
    start, end = floor(span[0] + length - timedelta.resolution, length), floor(span[1], length)
    return (start, end) if start < end else None


def _remainders(span: Range, inner: Range | None) -> list[Range]:
    """Return the parts of a range before and after an inner range."""
    parts = [(span[0], inner[0]), (inner[1], span[1])] if inner else [span]
    return [(start, end) for start, end in parts if start < end]
