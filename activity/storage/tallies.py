"""Counts of events by time and category, kept so that a chart need not count the events themselves.

Recording appends to `TallyChange`, in the transaction that inserts the events, and auto-deletion in
the one that deletes them; nobody waits for another's row. Celery beat folds the changes into `Tally`,
one row for each hour, day and week. What is read, by `counting`, is the sum of both, in one statement,
and so is exact at any moment, folded or not.

Where nearly all events of whole days go, their many tallies are not lowered one by one but declared
void at once, in `DroppedTallies`, and removed when changes are folded next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from activity.identity import first_id
from activity.models import DroppedTallies, Event, Tally, TallyChange
from repositories.access.levels import Category

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
"""What periods are counted from, so that weeks begin on Mondays."""
LENGTHS = {Tally.Unit.HOUR: HOUR, Tally.Unit.DAY: DAY, Tally.Unit.WEEK: WEEK}
FOLDED = 2_000
"""Changes folded in one transaction."""
RAISED = 1_000
"""Tallies raised in one statement: six parameters for each, of at most 32,766 on SQLite."""
REMOVED = 20_000
"""Void tallies removed in one transaction."""
LOCK = 7_021_964
"""The key of the advisory lock that those who change tallies take."""


class Cell(NamedTuple):
    """What events are counted together."""

    repository: int | None
    hour: datetime
    category: str

    @property
    def is_pull(self) -> bool:
        return self.category == Category.PULL


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


def valid(unit: Tally.Unit) -> QuerySet[Tally]:
    """Return the tallies of a unit, but for those of periods that events were dropped from."""
    start, end = ("weeks_start", "weeks_end") if unit == Tally.Unit.WEEK else ("start", "end")
    return Tally.objects.filter(~Exists(_dropped(start, end)), unit=unit)


def valid_days_of_void_weeks() -> QuerySet[Tally]:
    """Return what counts instead of weeks that only some days were dropped from."""
    return valid(Tally.Unit.DAY).filter(Exists(_dropped("weeks_start", "weeks_end")))


def _dropped(start: str, end: str) -> QuerySet[DroppedTallies]:
    within = {f"{start}__lte": OuterRef("start"), f"{end}__gt": OuterRef("start")}
    return DroppedTallies.objects.filter(is_pull=OuterRef("is_pull"), **within)


# What was counted of the range, but for the events that are there: those that stayed, or came after the
# drop, count again. The tallies of repository 0 are of all events, so what they have beyond the others is
# of none.
DROP = """
    WITH changes AS (
        DELETE FROM registry_activity_tallychange
        WHERE is_pull = ANY(%(lanes)s) AND hour >= %(start)s AND hour < %(end)s
        RETURNING repository_id, category, events
    ),
    days AS (
        SELECT repository_id, category, events FROM registry_activity_tally
        WHERE is_pull = ANY(%(lanes)s) AND unit = 'day' AND start >= %(start)s AND start < %(end)s
            AND (repository_id = 0 OR %(by_repository)s)
            AND NOT EXISTS (
                SELECT FROM registry_activity_droppedtallies AS dropped
                WHERE dropped.is_pull = registry_activity_tally.is_pull
                    AND dropped.start <= registry_activity_tally.start AND dropped.end > registry_activity_tally.start
            )
    ),
    late AS (
        SELECT repository_id, date_trunc('hour', occurred_at, 'UTC') AS hour, category, is_pull,
            COUNT(*) AS events
        FROM {left}
        WHERE is_pull = ANY(%(lanes)s) AND id >= %(first)s AND id < %(last)s GROUP BY 1, 2, 3, 4
    ),
    again AS (
        INSERT INTO registry_activity_tallychange (repository_id, hour, category, is_pull, events)
        SELECT repository_id, hour, category, is_pull, events FROM late
    )
    SELECT repository_id, category, SUM(events)::bigint FROM (
        SELECT repository_id, category, events FROM changes
        UNION ALL SELECT repository_id, category, events FROM days WHERE repository_id <> 0
        UNION ALL SELECT NULL, category, CASE repository_id WHEN 0 THEN events ELSE -events END FROM days
        UNION ALL SELECT repository_id, category, -events FROM late
    ) AS counted GROUP BY repository_id, category HAVING SUM(events) <> 0
"""


def drop(
    lanes: Collection[bool],
    start: datetime,
    end: datetime,
    *,
    left: str = Event._meta.db_table,
    by_repository: bool,
) -> Counter[tuple[int | None, str]]:
    """Count no more what goes of whole days, in the transaction that removes it; PostgreSQL only.

    `lanes` says whether that is of pulls, of all else, or of both, and `left` is the table of what is left.
    Returns how many events went, by repository and category; by category alone takes less time.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        given: dict[str, Any] = {
            "lanes": list(lanes),
            "start": start,
            "end": end,
            "by_repository": by_repository,
            "first": first_id(start),
            "last": first_id(end),
        }
        cursor.execute(DROP.format(left=left), given)
        counts = Counter(
            {(repository, category): number for repository, category, number in cursor.fetchall()}
        )
    for is_pull in lanes:
        _declare_void(is_pull, start, end)
    return counts


def _declare_void(is_pull: bool, start: datetime, end: datetime) -> None:
    """Note days as dropped, with those that ended when they began, if there are any."""
    before = DroppedTallies.objects.filter(is_pull=is_pull, end=start)
    weeks_end = floor(end + WEEK - timedelta.resolution, WEEK)
    if not before.update(end=end, weeks_end=weeks_end):
        DroppedTallies.objects.create(
            is_pull=is_pull, start=start, end=end, weeks_start=floor(start, WEEK), weeks_end=weeks_end
        )


RAISE = """
    INSERT INTO registry_activity_tally (repository_id, unit, start, category, is_pull, events) VALUES {values}
    ON CONFLICT (repository_id, unit, start, category)
    DO UPDATE SET events = registry_activity_tally.events + excluded.events
"""


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
            for unit, length in LENGTHS.items():
                sums[repository, unit.value, floor(row.hour, length), row.category, row.is_pull] += row.events
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
    of_days = Tally.objects.filter(
        unit__in=[Tally.Unit.HOUR, Tally.Unit.DAY],
        start__gte=dropped.start,
        start__lt=dropped.end,
        is_pull=dropped.is_pull,
    )
    removed, _ = Tally.objects.filter(pk__in=of_days.values("pk")[:REMOVED]).delete()
    if removed < REMOVED:
        _count_weeks_again(dropped)
        dropped.delete()
    return removed + 1


def _count_weeks_again(dropped: DroppedTallies) -> None:
    """Make the tallies by week anew that days were dropped from, of the days that are left."""
    period = {"start__gte": dropped.weeks_start, "start__lt": dropped.weeks_end, "is_pull": dropped.is_pull}
    Tally.objects.filter(unit=Tally.Unit.WEEK, **period).delete()
    days = Tally.objects.filter(unit=Tally.Unit.DAY, **period)
    sums: Counter[tuple] = Counter()
    for repository, start, category, number in days.values_list(
        "repository", "start", "category", "events"
    ).iterator():
        sums[repository, Tally.Unit.WEEK.value, floor(start, WEEK), category, dropped.is_pull] += number
    _raise_tallies(sums)


def _raise_tallies(sums: Mapping[tuple, int]) -> None:
    to_database = connection.ops.adapt_datetimefield_value
    rows = (  # sorted, so that two workers can't deadlock
        (repository, unit, to_database(start), category, is_pull, number)
        for (repository, unit, start, category, is_pull), number in sorted(sums.items())
    )
    while some := list(islice(rows, RAISED)):
        values = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(some))
        with connection.cursor() as cursor:
            cursor.execute(RAISE.format(values=values), list(chain.from_iterable(some)))


def floor(moment: datetime, length: timedelta) -> datetime:
    """Return the beginning of the hour, day, week, … that a moment is in, in UTC."""
    return moment - (moment - MONDAY) % length
