"""Counts events over time for charts, from the tallies where possible, and otherwise event by event."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

from django.db.models import Count, DateTimeField, Max, Min, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Cast, TruncMinute
from django.utils import timezone

from activity.feed.plans import Plan
from activity.feed.reading import newest
from activity.gating import GatedQuerySet, sees_pulls
from activity.identity import MILLISECOND, moment_of
from activity.models import Event, EventQuerySet, Tally, TallyChange
from activity.storage import tallies
from activity.storage.tallies import DAY, FOUR_WEEKS, HALF_HOUR, WEEK, floor
from repositories.access.levels import CATEGORY_PERMISSIONS
from repositories.access.resolving import MAX_IDS, Access
from repositories.models import Repository
from repositories.utils.among import MAX_LISTED, is_among

HOUR = timedelta(hours=1)
MINUTES = [timedelta(minutes=number) for number in (1, 2, 5, 10)]
WIDTHS = [HOUR * number for number in (1, 2, 3, 6, 12)] + [DAY * number for number in (1, 2, 7, 14, 28, 84)]
MAX_BUCKETS = 60
MINUTES_UP_TO = 3 * HOUR
"""Ranges up to this length have buckets of minutes, and their events are counted one by one."""
HOURS_UP_TO = 10 * DAY
"""Ranges up to this length have buckets of hours."""
DAYS_UP_TO = 120 * DAY
"""Ranges up to this length have buckets of days. Longer ranges have buckets of weeks."""
WEEKS_UP_TO = 182 * DAY
"""For many repositories, longer ranges have buckets of four weeks."""
LOCAL_UP_TO = 31 * DAY + HOUR
"""Ranges up to this length have buckets in the viewer's time zone. A month can have a 25-hour day."""
OLD_UP_TO = 2 * DAY
"""In old ranges up to this length, events are counted one by one, because only tallies of days are left."""
COUNT_FIELDS = ("start", "category", "number")

Range = tuple[datetime, datetime]
Rows = TypeVar("Rows", bound=GatedQuerySet)


@dataclass(frozen=True)
class Bucket:
    """A period, and the number of events in each category during that period."""

    start: datetime
    end: datetime
    counts: Counter[str] = field(default_factory=Counter)
    zone: tzinfo = UTC
    """The time zone in which the period consists of whole hours, days or weeks."""

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
    zone: tzinfo = UTC,
) -> list[Bucket]:
    """Return buckets that cover the range, each with the number of events that the viewer can see.

    Counts the events of `repository`, of the repositories in `within`, or of all repositories. Without
    `after`, the range starts with the first event. Without `before`, the range ends now, or after the last
    event if its time is in the future. If either bound is missing and there are no events, the list is empty.
    Buckets start and end on whole hours, days or weeks, except at the ends of the range and in ranges of up
    to three hours. Up to 31 days, they are in `zone` if tallies of half hours allow that, or else in UTC.
    The list has at most `MAX_BUCKETS` + 1 buckets. The number of queries is fixed.
    """
    scope = _Scope(access, repository, within, exclude_pull or not sees_pulls(access, repository))
    if after is None or before is None:
        first, last = scope.extent(timezone.now())
        if first is None:
            return []
        before = before or last
        if after is None:
            after = floor(first, FOUR_WEEKS) if scope.is_coarse(first, before) else first
    if after >= before:
        return []
    buckets = _buckets_of_tallies(after, before, zone, FOUR_WEEKS if scope.is_coarse(after, before) else HOUR)
    return fill(buckets, scope.counts(buckets))


def count_events(
    plan: Plan, after: datetime | None, before: datetime | None, zone: tzinfo = UTC
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
    return fill(make_buckets(cutoff or after or counted[-1][0], end, zone), counted), cutoff


def fill(buckets: list[Bucket], counts: Iterable[tuple]) -> list[Bucket]:
    """Add counts to consecutive buckets: (time, category, number) tuples."""
    starts = [bucket.start for bucket in buckets]
    for moment, category, number in counts:
        # Events can be counted per minute, and the first minute can start before the first bucket does.
        buckets[bisect(starts, max(moment, starts[0])) - 1].counts[category] += int(number)
    return buckets


def make_buckets(
    after: datetime, before: datetime, zone: tzinfo = UTC, min_width: timedelta = HOUR
) -> list[Bucket]:
    """Return empty buckets that cover a range, in a time zone if the range is short, or else in UTC."""
    length = before - after
    if length > LOCAL_UP_TO:
        zone = UTC
    usual = WEEK if length > DAYS_UP_TO else DAY if length > HOURS_UP_TO else HOUR
    widths = [width for width in WIDTHS if width >= max(usual, min_width)]
    if length <= MINUTES_UP_TO:
        widths = MINUTES
    width = next((width for width in widths if length / width <= MAX_BUCKETS), None)
    if width is None:  # the smallest multiple of four weeks that suffices
        width = FOUR_WEEKS * -(-length // (FOUR_WEEKS * MAX_BUCKETS))
    bounds = [after]
    while (following := _next_bound(bounds[-1], width, zone)) < before:
        bounds.append(following)
    return [Bucket(start, end, zone=zone) for start, end in pairwise([*bounds, before])]


def _next_bound(moment: datetime, width: timedelta, zone: tzinfo) -> datetime:
    """Return the end of the period that contains a moment, by the clocks of a time zone.

    If the clocks are set back then, the end occurs twice. The first one after the moment is used.
    """
    clock = moment.astimezone(zone).replace(tzinfo=UTC)
    end = (floor(clock, width) + width).replace(tzinfo=zone)
    first, second = (end.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return first if first > moment else second


def _buckets_of_tallies(
    after: datetime, before: datetime, zone: tzinfo, min_width: timedelta
) -> list[Bucket]:
    """Return buckets whose events can be counted from tallies, in a time zone if possible, or else in UTC."""
    if _is_old(after) and not _is_counted_by_events(after, before):
        return make_buckets(after, before, min_width=max(DAY, min_width))
    buckets = make_buckets(after, before, zone, min_width)
    if _is_counted_by_events(after, before) or _consist_of(buckets, HALF_HOUR):
        return buckets
    return make_buckets(after, before)


def _is_old(moment: datetime) -> bool:
    """Return whether tallies of half hours may be missing. The margin is for those that are being deleted."""
    return moment < tallies.half_hours_since() + DAY


def _is_counted_by_events(after: datetime, before: datetime) -> bool:
    return before - after <= (OLD_UP_TO if _is_old(after) else MINUTES_UP_TO)


def _consist_of(buckets: list[Bucket], length: timedelta) -> bool:
    """Return whether buckets consist of whole periods (UTC), except at the ends of the range."""
    return all(bucket.start == floor(bucket.start, length) for bucket in buckets[1:])


@dataclass(frozen=True)
class _Scope:
    """The events to count, and queries for their counts."""

    access: Access
    repository: Repository | None
    within: QuerySet[Repository] | None
    exclude_pull: bool

    @cached_property
    def repository_ids(self) -> Collection[int] | None:
        """The ids of all repositories whose tallies may count, or None if there are too many to name them."""
        if self.repository is not None:
            return [self.repository.pk]
        if self.within is not None:
            ids = self.within.values_list("pk", flat=True)[: MAX_IDS + 1]
            return ids if len(ids) <= MAX_IDS else None
        if self.access.sees_everything:
            return [Tally.ALL]
        return self.access.repository_ids(CATEGORY_PERMISSIONS)

    def restrict(self, rows: Rows) -> Rows:
        if self.within is not None:
            rows = rows.filter(repository__in=self.within)
        return rows.without_pulls() if self.exclude_pull else rows

    def visible(self, tallies: GatedQuerySet[Tally]) -> GatedQuerySet[Tally]:
        if self.repository_ids is not None:
            tallies = tallies.filter(is_among("repository", self.repository_ids))
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
    def has_many_repositories(self) -> bool:
        return self.repository_ids is None or len(self.repository_ids) > MAX_LISTED

    def is_coarse(self, after: datetime, before: datetime) -> bool:
        """Return whether counting weeks would take long. 2,000 repositories have 140,000 of them a year."""
        return self.has_many_repositories and before - after > WEEKS_UP_TO

    def extent(self, now: datetime) -> tuple[datetime | None, datetime]:
        """Return the start of the first half hour or day with events, if any, and the end of the range.

        The range ends now, or after the last event if the clock of its node is ahead.
        """
        coming = self.visible(tallies.valid(Tally.Unit.HALF_HOUR)).filter(start__gt=now - HALF_HOUR)
        own = self.own_account_events.values_list("occurred_at", flat=True)
        ends = [own.order_by("id").first(), own.order_by("-id").first()]
        parts = [_aggregate(coming, Max), _aggregate(self.changes, Min), _aggregate(self.changes, Max)]
        if self.has_many_repositories:
            ends.append(self.first_day_of_many())
        else:
            parts.append(_aggregate(self.visible(tallies.valid(Tally.Unit.DAY)), Min))
        moments = [floor(moment, HALF_HOUR) for moment in (*ends, *parts[0].union(*parts[1:])) if moment]
        return min(moments, default=None), max([now, *(moment + HALF_HOUR for moment in moments)])

    def first_day_of_many(self) -> datetime | None:
        """Return the first day with events in many repositories."""
        days = self.restrict(tallies.valid(Tally.Unit.DAY).visible_to(self.access))
        starts = days.order_by("start").values_list("start", flat=True)
        if self.repository_ids is None:  # of so many repositories, one of the first tallies belongs to one
            return starts.first()
        first = Subquery(starts.filter(repository=OuterRef("pk"))[:1])
        named = Repository.objects.filter(is_among("id", self.repository_ids))
        return named.aggregate(first=Min(first))["first"]

    def counts(self, buckets: list[Bucket]) -> QuerySet:
        """Return rows of (start, category, number) that add up to the event counts for consecutive buckets.

        Whole weeks, days and half hours are counted from the tallies and tally changes. The remainders at
        both ends are counted from the events. A single statement counts everything, so that each tally change
        is counted exactly once, even while another process is folding changes into tallies.
        """
        after, before = buckets[0].start, buckets[-1].end
        by_events = _is_counted_by_events(after, before)
        whole = None if by_events else _whole_periods((after, before), *map(_finest_tally, (after, before)))
        if whole is None:
            return self.event_counts(self.events, (after, before))
        # Django converts the times of all parts as it converts those of the first one. PostgreSQL returns the
        # minutes of events without a time zone, and only the conversion of such a part adds it.
        parts = [self.event_counts(self.own_account_events, whole), self.change_counts(whole)]
        parts += self.tally_counts(whole, buckets)
        parts += [self.event_counts(self.events, span) for span in _remainders((after, before), whole)]
        return parts[0].union(*parts[1:], all=True)

    def tally_counts(self, span: Range, buckets: list[Bucket]) -> Iterator[QuerySet]:
        """Yield queries that sum the tallies in a range, of the longest periods that the buckets allow."""
        days = _whole_periods(span, DAY) if _consist_of(buckets, DAY) else None
        weeks = _whole_periods(days, WEEK) if days and _consist_of(buckets, WEEK) else None
        months = _whole_periods(weeks, FOUR_WEEKS) if weeks and _consist_of(buckets, FOUR_WEEKS) else None
        for part in _remainders(span, days):
            yield self.sum_tallies(tallies.valid(Tally.Unit.HALF_HOUR), part)
        for part in _remainders(days, weeks) if days else []:
            yield self.sum_tallies(tallies.valid(Tally.Unit.DAY), part)
        for part in _remainders(weeks, months) if weeks else []:
            yield self.sum_tallies(tallies.valid(Tally.Unit.WEEK), part)
        if months:
            yield self.sum_tallies(tallies.valid(Tally.Unit.FOUR_WEEKS), months)
        if weeks:
            yield self.sum_tallies(tallies.valid_days_of_invalid_weeks(), weeks)

    def sum_tallies(self, rows: GatedQuerySet[Tally], span: Range) -> QuerySet:
        return self.sum_events(self.visible(rows).filter(start__gte=span[0], start__lt=span[1]))

    def change_counts(self, span: Range) -> QuerySet:
        return self.sum_events(self.changes.filter(start__gte=span[0], start__lt=span[1]))

    @staticmethod
    def sum_events(rows: QuerySet) -> QuerySet:
        return rows.values("start", "category").annotate(number=Sum("events")).values_list(*COUNT_FIELDS)

    def event_counts(self, events: EventQuerySet, span: Range) -> QuerySet:
        within = events.between(*span).filter(pull=None).order_by()
        # Without the cast, PostgreSQL returns naive times if no other part of the union has rows.
        start = Cast(TruncMinute("occurred_at", tzinfo=UTC), DateTimeField())
        rows = within.annotate(start=start).values("start", "category")
        return rows.annotate(number=Count("pk")).values_list(*COUNT_FIELDS)


def _aggregate(rows: QuerySet, function: type[Min | Max]) -> QuerySet:
    """Return a queryset of a single row, the first or the last start of all rows, for a union."""
    ungrouped = rows.order_by().values(all=Value(True))
    return ungrouped.annotate(moment=function("start")).values_list("moment", flat=True)


def _finest_tally(moment: datetime) -> timedelta:
    """Return the length of the shortest period whose tallies are kept at a moment."""
    return DAY if _is_old(moment) else HALF_HOUR


def _whole_periods(span: Range, length: timedelta, last: timedelta | None = None) -> Range | None:
    """Return the largest range of whole half hours, days or weeks within a range, or None if none fits.

    `last` is the length of the period that the result ends with, if it isn't `length`.
    """
    start, end = floor(span[0] + length - timedelta.resolution, length), floor(span[1], last or length)
    return (start, end) if start < end else None


def _remainders(span: Range, inner: Range | None) -> list[Range]:
    """Return the parts of a range before and after an inner range."""
    parts = [(span[0], inner[0]), (inner[1], span[1])] if inner else [span]
    return [(start, end) for start, end in parts if start < end]
