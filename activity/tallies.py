"""Counts of events by time and category, kept so that a chart need not count the events themselves.

Recording appends to `TallyChange`, in the transaction that inserts the events, and auto-deletion in
the one that deletes them; nobody waits for another's row. Celery beat folds the changes into `Tally`,
one row for each hour and for each day. What is read is the sum of both, in one statement, and so is
exact at any moment, folded or not.

Where a whole partition of events is dropped, its many tallies are not lowered one by one but declared
void at once, in `DroppedTallies`, and removed when changes are folded next.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import TruncMinute
from django.utils import timezone

from activity import gating
from activity.identity import first_id
from activity.models import DroppedTallies, Event, Tally, TallyChange
from repositories.access import Access
from repositories.levels import Category
from repositories.models import Repository

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
"""What the bounds of buckets are counted from, so that weeks begin on Mondays."""
MINUTES = [timedelta(minutes=number) for number in (1, 2, 5, 10)]
WIDTHS = [HOUR * number for number in (1, 2, 3, 6, 12)] + [DAY * number for number in (1, 2, 7, 14, 28, 91)]
MAX_BUCKETS = 60
BY_EVENTS = 3 * HOUR
"""Ranges up to this are counted event by event."""
BY_HOURS = 10 * DAY
"""Ranges up to this are counted by hours, longer ones by days."""
FOLDED = 2_000
"""Changes folded in one transaction."""
REMOVED = 20_000
"""Void tallies removed in one transaction."""
LOCK = 7_021_964
"""The key of the advisory lock that those who change tallies take."""
CELL_OF_TALLY = ("start", "category", "number")

Range = tuple[datetime, datetime]


class Cell(NamedTuple):
    """What events are counted together."""

    repository: int | None
    hour: datetime
    category: str

    @property
    def is_pull(self) -> bool:
        return self.category == Category.PULL


@dataclass(frozen=True)
class Bucket:
    """A stretch of time, and the number of events in it, by category."""

    start: datetime
    end: datetime
    counts: Counter[str] = field(default_factory=Counter)


def cell_of(event: Event) -> Cell:
    return Cell(event.repository_id, floor(event.occurred_at, HOUR), event.category)


def add(events: Iterable[Event]) -> None:
    """Count events that were just inserted, in the same transaction."""
    change(Counter(map(cell_of, events)))


def change(counts: Mapping[Cell, int]) -> None:
    """Raise counts, or lower them by negative numbers, in the transaction of what is counted."""
    TallyChange.objects.bulk_create(
        TallyChange(
            repository_id=cell.repository,
            hour=cell.hour,
            category=cell.category,
            is_pull=cell.is_pull,
            events=number,
        )
        for cell, number in counts.items()
        if number
    )


# What was counted of the range, but for the events that are there: those came after the drop, and count
# again. The tallies of repository 0 are of all events, so what they have beyond the others is of none.
DROP = """
    WITH changes AS (
        DELETE FROM activity_tallychange
        WHERE is_pull = %(is_pull)s AND hour >= %(start)s AND hour < %(end)s
        RETURNING repository_id, category, events
    ),
    days AS (
        SELECT repository_id, category, events FROM activity_tally
        WHERE is_pull = %(is_pull)s AND unit = 'day' AND start >= %(start)s AND start < %(end)s
            AND (repository_id = 0 OR %(by_repository)s)
            AND NOT EXISTS (
                SELECT FROM activity_droppedtallies AS dropped
                WHERE dropped.is_pull = %(is_pull)s
                    AND dropped.start <= activity_tally.start AND dropped.end > activity_tally.start
            )
    ),
    late AS (
        SELECT repository_id, date_trunc('hour', occurred_at, 'UTC') AS hour, category, COUNT(*) AS events
        FROM activity_event
        WHERE is_pull = %(is_pull)s AND id >= %(first)s AND id < %(last)s GROUP BY 1, 2, 3
    ),
    again AS (
        INSERT INTO activity_tallychange (repository_id, hour, category, is_pull, events)
        SELECT repository_id, hour, category, %(is_pull)s, events FROM late
    )
    SELECT repository_id, category, SUM(events)::bigint FROM (
        SELECT repository_id, category, events FROM changes
        UNION ALL SELECT repository_id, category, events FROM days WHERE repository_id <> 0
        UNION ALL SELECT NULL, category, CASE repository_id WHEN 0 THEN events ELSE -events END FROM days
        UNION ALL SELECT repository_id, category, -events FROM late
    ) AS counted GROUP BY repository_id, category HAVING SUM(events) <> 0
"""


def drop(
    is_pull: bool, start: datetime, end: datetime, *, by_repository: bool
) -> Counter[tuple[int | None, str]]:
    """Count no more the events of whole days that are no longer in the table, in the transaction that
    drops them; PostgreSQL only. Returns how many they are, by repository and category; by category alone
    takes less time.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        ids = {"first": first_id(start), "last": first_id(end)}
        given: dict[str, Any] = {
            "is_pull": is_pull,
            "start": start,
            "end": end,
            "by_repository": by_repository,
            **ids,
        }
        cursor.execute(DROP, given)
        counts = Counter(
            {(repository, category): number for repository, category, number in cursor.fetchall()}
        )
    DroppedTallies.objects.create(is_pull=is_pull, start=start, end=end)
    return counts


def fold() -> int:
    """Remove void tallies, and fold all changes into the rest, some at a time; return how many there were."""
    total = 0
    while folded := _fold_some():
        total += folded
    return total


@transaction.atomic
def _fold_some() -> int:
    if not _alone():
        return 0
    if dropped := DroppedTallies.objects.first():
        return _remove_some(dropped)
    changes = list(TallyChange.objects.order_by("pk")[:FOLDED])
    sums: Counter[tuple] = Counter()
    for row in changes:
        for repository in {Tally.ALL, row.repository_id or Tally.ALL}:
            for unit, start in (Tally.Unit.HOUR, row.hour), (Tally.Unit.DAY, floor(row.hour, DAY)):
                sums[repository, unit.value, start, row.category, row.is_pull] += row.events
    _raise_tallies(sums)
    TallyChange.objects.filter(pk__in=[row.pk for row in changes]).delete()
    Tally.objects.filter(events=0).delete()
    return len(changes)


def _alone() -> bool:
    """Lock other folding out until the end of the transaction, unless it is under way."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return cursor.fetchone()[0]


def _remove_some(dropped: DroppedTallies) -> int:
    void = Tally.objects.filter(is_pull=dropped.is_pull, start__gte=dropped.start, start__lt=dropped.end)
    in_units = void.filter(unit__in=Tally.Unit.values)  # the index begins with it
    removed, _ = Tally.objects.filter(pk__in=in_units.values("pk")[:REMOVED]).delete()
    if removed < REMOVED:
        dropped.delete()
    return removed + 1


def _raise_tallies(sums: Mapping[tuple, int]) -> None:
    to_database = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO activity_tally (repository_id, unit, start, category, is_pull, events)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (repository_id, unit, start, category)"
            " DO UPDATE SET events = activity_tally.events + excluded.events",
            [  # sorted, so that two workers can't deadlock
                (repository, unit, to_database(start), category, is_pull, number)
                for (repository, unit, start, category, is_pull), number in sorted(sums.items())
            ],
        )


def by_time(
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
    are no events. Their bounds are whole hours or days in UTC, but for those of the range itself and for
    ranges of up to three hours. At most `MAX_BUCKETS` and one more. A fixed number of queries.
    """
    scope = _Scope(access, repository, within, exclude_pull)
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


def divide(after: datetime, before: datetime) -> list[Bucket]:
    """Return the buckets of a range, empty."""
    widths = MINUTES if before - after <= BY_EVENTS else WIDTHS
    if before - after > BY_HOURS:
        widths = [width for width in widths if width >= DAY]
    width = next((w for w in widths if (before - after) / w <= MAX_BUCKETS), (before - after) / MAX_BUCKETS)
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

    @property
    def tallies(self) -> QuerySet[Tally]:
        dropped = DroppedTallies.objects.filter(
            is_pull=OuterRef("is_pull"), start__lte=OuterRef("start"), end__gt=OuterRef("start")
        )
        tallies = Tally.objects.filter(~Exists(dropped))
        if self.access.sees_everything and self.repository is None and self.within is None:
            tallies = tallies.filter(repository=Tally.ALL)
        return self.narrow(gating.visible(tallies, self.access, self.repository))

    @property
    def changes(self) -> QuerySet[TallyChange]:
        return self.narrow(gating.visible(TallyChange.objects.all(), self.access, self.repository))

    def extent(self) -> tuple[datetime | None, datetime | None]:
        """Return the beginning of the first hour or day that has events, and the end of the last."""
        of_tallies = self.tallies.filter(unit=Tally.Unit.DAY).aggregate(first=Min("start"), last=Max("start"))
        of_changes = self.changes.aggregate(first=Min("hour"), last=Max("hour"))
        firsts = [moment for moment in (of_tallies["first"], of_changes["first"]) if moment]
        lasts = [row["last"] + width for row, width in ((of_tallies, DAY), (of_changes, HOUR)) if row["last"]]
        for event in (
            (self.own.order_by("id").first(), self.own.order_by("-id").first())
            if self.own is not None
            else ()
        ):
            if event:
                firsts.append(floor(event.occurred_at, HOUR))
                lasts.append(floor(event.occurred_at, HOUR) + HOUR)
        return min(firsts, default=None), max(lasts, default=None)

    def cells(self, after: datetime, before: datetime) -> QuerySet:
        """Return (beginning, category, number) of all that was counted in a range.

        One statement, so that what is folded meanwhile is counted once: whole days and hours by their
        tallies and changes, what is left at both ends by the events.
        """
        hours = _whole(after, before, HOUR) if before - after > BY_EVENTS else None
        if hours is None:
            return self.of_events(self.visible_events, after, before)
        days = _whole(*hours, DAY) if before - after > BY_HOURS else None
        parts = [
            self.of_tallies(hours, days),
            self.of_changes(hours),
            self.of_events(self.visible_events, after, hours[0]),
            self.of_events(self.visible_events, hours[1], before),
        ]
        if self.own is not None:
            parts.append(self.of_events(self.own, *hours))
        return parts[0].union(*parts[1:], all=True)

    def of_tallies(self, hours: Range, days: Range | None) -> QuerySet:
        in_hours = Q(unit=Tally.Unit.HOUR, start__gte=hours[0], start__lt=hours[1])
        if days:
            in_hours &= ~Q(start__gte=days[0], start__lt=days[1])
            in_hours |= Q(unit=Tally.Unit.DAY, start__gte=days[0], start__lt=days[1])
        rows = self.tallies.filter(in_hours)
        return rows.values("start", "category").annotate(number=Sum("events")).values_list(*CELL_OF_TALLY)

    def of_changes(self, hours: Range) -> QuerySet:
        rows = self.changes.filter(hour__gte=hours[0], hour__lt=hours[1]).annotate(start=F("hour"))
        return rows.values("start", "category").annotate(number=Sum("events")).values_list(*CELL_OF_TALLY)

    @property
    def own(self) -> QuerySet[Event] | None:
        """The viewer's own account's events, since the tallies don't tell whose they are."""
        own = None if self.repository or self.within is not None else gating.own_account(self.access)
        return None if own is None else Event.objects.filter(own)

    @property
    def visible_events(self) -> QuerySet[Event]:
        return self.narrow(gating.visible_events(self.access, self.repository))

    def of_events(self, events: QuerySet[Event], after: datetime, before: datetime) -> QuerySet:
        within = events.filter(id__gte=first_id(after), id__lt=first_id(before)).order_by()
        rows = within.annotate(start=TruncMinute("occurred_at", tzinfo=UTC)).values("start", "category")
        return rows.annotate(number=Count("pk")).values_list(*CELL_OF_TALLY)


def floor(moment: datetime, width: timedelta) -> datetime:
    """Return the last bound of buckets of a width, at or before a moment."""
    return moment - (moment - MONDAY) % width


def _whole(after: datetime, before: datetime, width: timedelta) -> Range | None:
    """Return the largest range of whole hours, or days, within a range."""
    start, end = floor(after + width - timedelta.resolution, width), floor(before, width)
    return (start, end) if start < end else None
