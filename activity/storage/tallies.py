"""Stored counts of events by repository, time and category, so that charts don't have to count events.

Recording and auto-deletion append rows to `TallyChange` in the transaction that inserts or deletes events.
Because no existing rows are updated, transactions don't wait for each other. Celery beat folds the changes
into `Tally`, which has one row per half hour, day, week and four weeks. Days of nearly all time zones consist
of whole half hours (UTC), which are kept for a month. `activity.feed.chart_counts` adds up both tables in a
single statement, so its counts are always exact, whether or not the changes have been folded.

When nearly all events on whole days are deleted, the many tallies for these days aren't changed one by one.
Instead, a `DroppedTallies` row marks them all as invalid, and Celery beat deletes them later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from activity.gating import GatedQuerySet
from activity.identity import first_id
from activity.models import DroppedTallies, Event, LedgerEntry, Tally, TallyChange
from activity.models.fields import PULL_PART, TalliedCategoryField, category_sql
from activity.storage import last_uses
from activity.storage.rows import build, insert_rows, take_rows
from repositories.access.levels import Category

HALF_HOUR, DAY, WEEK, FOUR_WEEKS = timedelta(minutes=30), *map(timedelta, (1, 7, 28))
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
"""The origin of all periods, chosen so that weeks begin on Mondays."""
LENGTHS = {
    Tally.Unit.HALF_HOUR: HALF_HOUR,
    Tally.Unit.DAY: DAY,
    Tally.Unit.WEEK: WEEK,
    Tally.Unit.FOUR_WEEKS: FOUR_WEEKS,
}
"""The length of each unit.

Tallies of weeks and four weeks speed up charts for many repositories. Of 18 million events in two years,
the busiest 2,000 of 20,000 repositories have 1.4 million tallies of days, 280,000 of weeks and 72,000 of four
weeks. Charts for a single repository or for all repositories don't need them.
"""
LONG_UNITS = (Tally.Unit.DAY, Tally.Unit.WEEK, Tally.Unit.FOUR_WEEKS)
"""The units of tallies that are kept as long as there are events."""
SUMMED_UNITS = (Tally.Unit.WEEK, Tally.Unit.FOUR_WEEKS)
"""The units of tallies that are the sums of daily ones."""
KEPT_HALF_HOURS = timedelta(days=33)
"""For how long the tallies of half hours are kept: a little more than the month that charts need."""
FOLD_BATCH = 2_000
"""The number of changes to fold in one transaction."""
DELETE_BATCH = 20_000
"""The number of invalid or old tallies to delete in one transaction."""
LOCK_KEY = 7_021_964
"""The key of the advisory lock that is taken when tallies are folded or dropped."""


TALLIED_CATEGORY = (
    f"CASE WHEN pull IS NULL THEN {category_sql('kind')} ELSE {TalliedCategoryField.numbers[PULL_PART]} END"
)
"""The number of the category in which an event is counted. Charts count only whole pulls."""

HALF_HOUR_SQL = "date_bin('30 minutes', occurred_at, '1970-01-01 00:00Z')"
"""The start of the half hour in which an event happened. PostgreSQL only."""

DeletedCounts = Counter[tuple[int | None, str]]
"""The number of deleted events by repository and category."""


class Cell(NamedTuple):
    """A group of events that are counted together."""

    repository_id: int | None
    start: datetime
    category: str


def cell_of(event: Event) -> Cell:
    category = event.category if event.pull is None else PULL_PART
    return Cell(event.repository_id, floor(event.occurred_at, HALF_HOUR), category)


def add(events: Iterable[Event], cause: str = TallyChange.RECORDED) -> None:
    """Add newly inserted events to the counts. Call this in the transaction that inserts the events."""
    record_changes(Counter(map(cell_of, events)), cause)


def record_changes(counts: Mapping[Cell, int], cause: str = TallyChange.RECORDED) -> None:
    """Record changes to the counts. Call this in the transaction that inserts or deletes the events.

    The numbers are negative for deleted events. For the causes, see `TallyChange`.
    """
    changes = [
        build(
            TallyChange,
            **cell._asdict(),
            is_pull=cell.category in (Category.PULL, PULL_PART),
            events=number,
            cause=cause,
        )
        for cell, number in counts.items()
        if number
    ]
    insert_rows(changes)


def to_counts(rows: Iterable[tuple[int | None, int, int]]) -> DeletedCounts:
    """Add up rows of (repository, number of the category in the database, number of events)."""
    texts = TalliedCategoryField.texts
    return add_up((repository, texts[category], number) for repository, category, number in rows)


def add_up(rows: Iterable[tuple[int | None, str, int]]) -> DeletedCounts:
    """Add up rows of (repository, category, number of events). Parts of pulls count as pulls."""
    counts: DeletedCounts = Counter()
    for repository, category, number in rows:
        counts[repository, Category.PULL.value if category == PULL_PART else category] += number
    return counts


def valid(unit: Tally.Unit) -> GatedQuerySet[Tally]:
    """Return the tallies for a unit, except those that `DroppedTallies` marks as invalid.

    Events that are part of another pull aren't counted.
    """
    start, end = ("weeks_start", "weeks_end") if unit in SUMMED_UNITS else ("start", "end")
    return Tally.objects.filter(~Exists(_dropped(start, end)), unit=unit).exclude(category=PULL_PART)


def changes() -> GatedQuerySet[TallyChange]:
    """Return the unfolded changes, except those of events that are part of another pull."""
    return TallyChange.objects.exclude(category=PULL_PART)


def valid_days_of_invalid_weeks() -> GatedQuerySet[Tally]:
    """Return the valid daily tallies in the weeks whose tallies of weeks and four weeks are invalid."""
    return valid(Tally.Unit.DAY).filter(Exists(_dropped("weeks_start", "weeks_end")))


def _dropped(start: str, end: str) -> QuerySet[DroppedTallies]:
    within = {f"{start}__lte": OuterRef("start"), f"{end}__gt": OuterRef("start")}
    return DroppedTallies.objects.filter(is_pull=OuterRef("is_pull"), **within)


MERGE_LEDGER = """
    ON CONFLICT (day, cause) DO UPDATE SET events = registry_activity_ledgerentry.events + excluded.events
"""

# Returns the number of deleted events: the previous counts of the days minus the number of remaining events.
# Events remain if they were kept, or if they were recorded after an earlier drop. The remaining events are
# counted again. The tallies of repository 0 count all events. The difference between these tallies and the
# sum of the tallies of all other repositories is the number of events without a repository. The ledger gets
# the number of deleted events of each day, and the causes of the changes that were not folded yet.
DROP = """
    WITH changes AS (
        DELETE FROM registry_activity_tallychange
        WHERE is_pull = ANY(%(pull_flags)s) AND start >= %(start)s AND start < %(end)s
        RETURNING repository_id, category, events, start, cause
    ),
    days AS (
        SELECT repository_id, category, events, start FROM registry_activity_tally
        WHERE is_pull = ANY(%(pull_flags)s) AND unit = {day} AND start >= %(start)s AND start < %(end)s
            AND (repository_id = 0 OR %(by_repository)s)
            AND NOT EXISTS (
                SELECT FROM registry_activity_droppedtallies AS dropped
                WHERE dropped.is_pull = registry_activity_tally.is_pull
                    AND dropped.start <= registry_activity_tally.start
                    AND dropped.end > registry_activity_tally.start
            )
    ),
    remaining AS (
        SELECT repository_id, {half_hour} AS start, {category} AS category, is_pull,
            COUNT(*) AS events
        FROM {remaining_table}
        WHERE is_pull = ANY(%(pull_flags)s) AND id >= %(first)s AND id < %(last)s GROUP BY 1, 2, 3, 4
    ),
    recounted AS (
        INSERT INTO registry_activity_tallychange (repository_id, start, category, is_pull, events, cause)
        SELECT repository_id, start, category, is_pull, events, '' FROM remaining
    ),
    ledger AS (
        INSERT INTO registry_activity_ledgerentry (day, cause, events)
        SELECT (moment AT TIME ZONE 'UTC')::date, cause, SUM(events) FROM (
            SELECT start, cause, events FROM changes WHERE cause <> ''
            UNION ALL SELECT start, %(cause)s, -events FROM changes
            UNION ALL SELECT start, %(cause)s, -events FROM days WHERE repository_id = 0
            UNION ALL SELECT start, %(cause)s, events FROM remaining
        ) AS entries (moment, cause, events) GROUP BY 1, 2 HAVING SUM(events) <> 0
        {merge_ledger}
    )
    SELECT repository_id, category, SUM(events)::bigint FROM (
        SELECT repository_id, category, events FROM changes
        UNION ALL SELECT repository_id, category, events FROM days WHERE repository_id <> 0
        UNION ALL SELECT NULL, category, CASE repository_id WHEN 0 THEN events ELSE -events END FROM days
        UNION ALL SELECT repository_id, category, -events FROM remaining
    ) AS counted GROUP BY repository_id, category HAVING SUM(events) <> 0
"""


def drop(
    pull_flags: Collection[bool],
    start: datetime,
    end: datetime,
    *,
    remaining_table: str = Event._meta.db_table,
    by_repository: bool,
    cause: str,
) -> DeletedCounts:
    """Invalidate the tallies for whole days. PostgreSQL only.

    Call this in the transaction that deletes the events of these days.

    `pull_flags` contains the `is_pull` values of the deleted events. `remaining_table` is the table of the
    remaining events. Returns the number of deleted events by repository and category. If `by_repository` is
    False, the events are counted only by category, which is faster.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
        params: dict[str, Any] = {
            "pull_flags": list(pull_flags),
            "start": start,
            "end": end,
            "by_repository": by_repository,
            "first": first_id(start),
            "last": first_id(end),
            "cause": cause,
        }
        drop = DROP.format(
            remaining_table=remaining_table,
            category=TALLIED_CATEGORY,
            half_hour=HALF_HOUR_SQL,
            day=Tally.Unit.DAY.value,
            merge_ledger=MERGE_LEDGER,
        )
        cursor.execute(drop, params)
        counts = to_counts(cursor)
    for is_pull in pull_flags:
        _mark_invalid(is_pull, start, end)
    return counts


def _mark_invalid(is_pull: bool, start: datetime, end: datetime) -> None:
    """Mark the tallies for a range of days as invalid. An existing range that ends at `start` is extended."""
    before = DroppedTallies.objects.filter(is_pull=is_pull, end=start)
    weeks_start, weeks_end = whole_weeks(start, end)
    if not before.update(end=end, weeks_end=weeks_end):
        DroppedTallies.objects.create(
            is_pull=is_pull, start=start, end=end, weeks_start=weeks_start, weeks_end=weeks_end
        )


def whole_weeks(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return the range of all periods of four weeks that contain a part of a range."""
    return floor(start, FOUR_WEEKS), floor(end + FOUR_WEEKS - timedelta.resolution, FOUR_WEEKS)


MERGE_TALLY = """
    ON CONFLICT (repository_id, unit, start, category)
    DO UPDATE SET events = registry_activity_tally.events + excluded.events
"""


def fold() -> int:
    """Delete all invalid tallies, then fold all changes into the remaining tallies, in batches.

    Finally, delete the tallies of half hours that aren't kept any longer. Returns the number of rows
    processed. Stops if another process is folding.
    """
    return sum(iter(_fold_batch, 0))


@transaction.atomic
def _fold_batch() -> int:
    if not _try_lock():
        return 0
    if dropped := DroppedTallies.objects.first():
        return _delete_invalid_batch(dropped)
    changes = take_rows(TallyChange.objects.all(), FOLD_BATCH)
    if not changes:
        return _delete_old_batch()
    kept_since = half_hours_since()
    sums: Counter[tuple] = Counter()
    ledger: Counter[tuple[date, str]] = Counter()
    for row in changes:
        if row.cause != TallyChange.RECOUNTED:
            ledger[row.start.astimezone(UTC).date(), row.cause] += row.events
        for repository in {Tally.ALL, row.repository_id or Tally.ALL}:
            for unit in Tally.Unit if row.start >= kept_since else LONG_UNITS:
                start = floor(row.start, LENGTHS[unit])
                sums[repository, unit.value, start, row.category, row.is_pull] += row.events
    _merge(sums)
    last_uses.note_changes(changes)
    entries = [LedgerEntry(day=day, cause=cause, events=events) for (day, cause), events in ledger.items()]
    insert_rows(entries, MERGE_LEDGER)
    Tally.objects.filter(events=0).delete()
    return len(changes)


def half_hours_since() -> datetime:
    """Return the time since which the tallies of half hours are kept."""
    return floor(timezone.now() - KEPT_HALF_HOURS, DAY)


def _delete_old_batch() -> int:
    old = Tally.objects.filter(unit=Tally.Unit.HALF_HOUR, start__lt=half_hours_since())
    return Tally.objects.filter(pk__in=old.order_by().values("pk")[:DELETE_BATCH]).delete()[0]


def _try_lock() -> bool:
    """Take the advisory lock until the end of the transaction, and return whether it was free."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK_KEY])
        return cursor.fetchone()[0]


def _delete_invalid_batch(dropped: DroppedTallies) -> int:
    invalid = Tally.objects.filter(
        unit__in=[Tally.Unit.HALF_HOUR, Tally.Unit.DAY],
        start__gte=dropped.start,
        start__lt=dropped.end,
        is_pull=dropped.is_pull,
    )
    deleted, _ = Tally.objects.filter(pk__in=invalid.values("pk")[:DELETE_BATCH]).delete()
    if deleted < DELETE_BATCH:
        _recalculate_weeks(dropped)
        dropped.delete()
    return deleted + 1


def _recalculate_weeks(dropped: DroppedTallies) -> None:
    """Recalculate the tallies for periods of weeks with invalid days from the remaining daily tallies."""
    period = {"start__gte": dropped.weeks_start, "start__lt": dropped.weeks_end, "is_pull": dropped.is_pull}
    Tally.objects.filter(unit__in=SUMMED_UNITS, **period).delete()
    days = Tally.objects.filter(unit=Tally.Unit.DAY, **period)
    sums: Counter[tuple] = Counter()
    for repository, start, category, number in days.values_list(
        "repository", "start", "category", "events"
    ).iterator():
        for unit in SUMMED_UNITS:
            sums[repository, unit.value, floor(start, LENGTHS[unit]), category, dropped.is_pull] += number
    _merge(sums)


def _merge(sums: Mapping[tuple, int]) -> None:
    """Add numbers of events to the tallies, in sorted order, so that two workers can't deadlock."""
    tallies = [
        Tally(
            repository_id=repository, unit=unit, start=start, category=category, is_pull=pull, events=number
        )
        for (repository, unit, start, category, pull), number in sorted(sums.items())
    ]
    insert_rows(tallies, MERGE_TALLY)


def floor(moment: datetime, length: timedelta) -> datetime:
    """Return the start of the half hour, day or week (UTC) that contains a moment."""
    return moment - (moment - MONDAY) % length
