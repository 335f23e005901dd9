"""Reads a page of a list, or its newest events, from the sources that `plans.py` offers.

At most `MAX_EVENTS_READ` events are read from a source, and what isn't visible or doesn't match is left out:

    SELECT … FROM (SELECT … WHERE actor_name = 'jane' AND NOT is_pull AND id < … ORDER BY id DESC LIMIT 2000)
    WHERE repository_id IN (…) AND tag = 'v1' ORDER BY id DESC LIMIT 51

PostgreSQL's planner can't push a condition into a subquery with a limit, and sorting is disabled, so it reads
at most that many rows, in index order. Of several sources, the one that gets farthest is read. A page that
isn't full says how far back it got, and the search can be continued from there.

Rows come only through `Plan.visible`, a queryset from the permission gate. A source is never trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.sql.datastructures import BaseTable

from activity.feed.ordering import BY_TIME
from activity.feed.plans import (
    FIRST_ID,
    LAST_ID,
    PARTIAL_BY_TEXT,
    Branch,
    Plan,
    Source,
    Span,
    candidates,
    next_id,
    sources,
)
from activity.identity import moment_of
from activity.models import Event, EventQuerySet, load_marks
from activity.storage import partitions

MAX_EVENTS_READ = 2_000
"""The maximum number of events to read for a page. That takes 1 ms, and up to 1,100 buffers."""
MAX_ENTRIES = 10_000
"""The maximum number of index entries to read, if a source has several values."""
LARGE_PAGE = 100
"""From this number of events on, a page may read more in proportion. Exports and the API have such pages."""
NO_RANGE = (FIRST_ID, FIRST_ID)
ROUNDS = ((250, 2), (750, 12), (1_000, None))
"""How many events, and of how many months, to read in each round until a page is full.

Most pages are full after the first round, of which PostgreSQL plans only the partitions of two months.
"""


@dataclass(frozen=True)
class EventPage:
    """A page of events, newest first, with the cursors of any adjacent pages."""

    rows: list[Event]
    older: str | None = None
    newer: str | None = None
    searched_to: datetime | None = None
    """The time at which the search stopped, if the page isn't full and there are events left to search."""
    continue_cursor: str | None = None
    """The cursor with which to continue the search, if it stopped."""


def find(plan: Plan, size: int, cursor: str | None = None) -> EventPage:
    """Return a page of up to `size` events.

    Raises InvalidCursor if the cursor is malformed or belongs to another sort order.
    """
    newer, values = BY_TIME.decode(cursor) if cursor else (False, [])
    start: UUID | None = values[0] if values else None
    if plan.problems:
        return EventPage([])
    span = replace(plan.span, newer=newer)
    rows, end = _read_rows(plan, span.beyond(start) if start else span, size + 1)
    return _make_page(rows, size, start, end, newer)


def iter_pages(plan: Plan, size: int) -> Iterator[list[Event]]:
    """Yield pages of up to `size` events until the list is exhausted."""
    cursor = None
    while True:
        page = find(plan, size, cursor)
        yield page.rows
        if not (cursor := page.older):
            return


@contextmanager
def newest(plan: Plan) -> Iterator[tuple[EventQuerySet, datetime | None]]:
    """Return the newest matching events within the bound, for sorting and counting, and how far back it is.

    The time is None if these are all matching events. Evaluate the queryset within the context.
    """
    with _in_index_order():
        found = _read(plan, plan.span, MAX_EVENTS_READ, None, None)
        yield found.events, moment_of(found.end) if found.end else None


def _read_rows(plan: Plan, span: Span, limit: int) -> tuple[list[Event], UUID | None]:
    """Return up to `limit` matching events in a span, in the order of reading.

    Also returns the id at which reading stopped, which is meaningful only if there are fewer than `limit`
    matches. It is None if there are no more events to read.
    """
    rows: list[Event] = []
    times = max(limit // LARGE_PAGE, 1)
    left, end, span = MAX_EVENTS_READ * times, None, span.from_oldest()
    for number, (events, months) in enumerate(ROUNDS):
        with _in_index_order():
            found = _read(plan, span, min(events * times, left), limit - len(rows), months, limit * 4**number)
            rows += found.events.order_by(span.order)[: limit - len(rows)]
        left, end = left - found.read, found.end
        if end is None or len(rows) == limit or left <= 0:
            break
        span = span.beyond(end)
    return rows, end


@contextmanager
def _in_index_order() -> Iterator[None]:
    """Make PostgreSQL read in index order instead of reading everything and sorting it.

    Where sorting is inevitable, it looks so expensive that PostgreSQL would compile the query first.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL jit = off")
        yield
        cursor.execute("SET LOCAL enable_sort TO DEFAULT; SET LOCAL jit TO DEFAULT")


def _make_page(rows: list[Event], size: int, start: UUID | None, end: UUID | None, newer: bool) -> EventPage:
    more = len(rows) > size
    rows = rows[:size]
    load_marks(rows)
    stopped = None if more else end
    # `forward` continues in the same direction. `back` reads the other way, beginning with `start`.
    last = rows[-1].pk if more else stopped
    forward = BY_TIME.encode(Event(pk=last), newer) if last else None
    back = None
    if start:
        beyond = max(start.int - 1, 0) if not newer else min(start.int + 1, LAST_ID.int)
        first = rows[0].pk if rows else UUID(int=beyond)
        back = BY_TIME.encode(Event(pk=first), not newer)
    if newer:
        rows.reverse()
    return EventPage(
        rows=rows,
        older=back if newer else forward,
        newer=forward if newer else back,
        searched_to=moment_of(stopped) if stopped else None,
        continue_cursor=forward if stopped else None,
    )


@dataclass(frozen=True)
class Found:
    """The matching events that were found in a round."""

    events: EventQuerySet
    end: UUID | None = None
    """The id up to which these are all matching events."""
    read: int = 0
    """The number of events that are read to find them."""


def _read(
    plan: Plan, span: Span, rows: int, limit: int | None, months: int | None, repositories: int = 1_000
) -> Found:
    """Return the matching events in the best source of each lane, of which at most `rows` events are read.

    `limit` is the number of events that are needed, or None for as many as possible. Only so many `months`
    are read, and only so many `repositories`.
    """
    lanes = plan.lanes
    if not lanes:
        return Found(plan.visible.none())
    chosen = [
        _choose(sources(plan, span, lane, repositories, months), span, max(rows // len(lanes), 1), limit)
        for lane in lanes
    ]
    end = span.nearest([each.end for each in chosen])
    # Even if an index has no entries, so that nobody can tell whether there are events that they can't see.
    parts = [_first(each, span.up_to(end)) for each in chosen if each.source.branches]
    read = sum(each.share for each in chosen if each.within != NO_RANGE)
    if not parts:
        return Found(plan.visible.none(), end, read)
    union = _union([(part, None) for part in parts])
    return Found((union & plan.visible.order_by()).filter(plan.matches), end, read)


@dataclass(frozen=True)
class Chosen:
    """The source that a lane is read from, and how far."""

    source: Source
    end: UUID | None
    """The id up to which all matching events are read."""
    share: int
    """The number of events to read."""
    within: tuple[UUID, UUID] | None = None
    """The first and the last id of these events, in the order of reading, if known."""


def _choose(offered: Iterable[Source], span: Span, rows: int, limit: int | None) -> Chosen:
    """Return the source that gets farthest."""
    best: Chosen | None = None
    for source in offered:
        share = min(rows, limit) if source.exact and limit else rows
        if limit == share and source.exact and source.number == 1:
            return Chosen(source, source.end, share)
        if best and source.end and not span.is_farther(source.end, best.end):
            continue
        found = _entries(source, span.up_to(source.end), share)
        ids = [id for id, _ in found.entries]
        end = source.end if found.are_all else ids[-1]
        if best is None or span.is_farther(end, best.end):
            if ids:
                source = source.only({value for _, value in found.entries})
            best = Chosen(source, end, max(len(ids), 1), (ids[0], ids[-1]) if ids else NO_RANGE)
        # A source of which few events were read in these months soon reads all months.
        is_rare = source.by_month and found.are_all
        if end is None or is_rare or (source.exact and limit and len(ids) >= limit):
            break
    return best or Chosen(Source([]), None, 0)


@dataclass(frozen=True)
class Entries:
    """The first entries of a source: ids, and the values of the column that the source reads."""

    entries: list[tuple[UUID, Any]]
    are_all: bool


def _entries(source: Source, span: Span, rows: int) -> Entries:
    """Read up to `rows` entries from the indexes of a source: 10,000 of them are 71 buffers."""
    if not source.branches:
        return Entries([], are_all=True)
    each = max(min(rows, MAX_ENTRIES // source.number), 1)
    columns = ["id", source.column if source.number > 1 and source.column else "id"]
    parts = [_part(span, branch) for branch in source.branches]
    found = _union([(queryset.values(*dict.fromkeys(columns))[:each], keys) for queryset, keys in parts])
    entries: list[tuple[UUID, Any]] = []
    numbers: Counter[Any] = Counter()
    for id, value in found.order_by(span.order).values_list(*columns)[:rows]:
        entries.append((id, value))
        numbers[value] += 1
        if numbers[value] == each:  # there may be more of this value
            return Entries(entries, are_all=False)
    return Entries(entries, are_all=len(entries) < rows)


def _first(chosen: Chosen, span: Span) -> QuerySet[Event]:
    """Return the events of the chosen source in a span."""
    if chosen.within:
        # PostgreSQL plans only the partitions of these months.
        first, last = chosen.within
        low, high = (first, last) if span.newer else (last, first)
        span = replace(span, low=max(span.low, low), high=min(span.high, next_id(high)))
    parts = [_part(span, branch) for branch in chosen.source.branches]
    union = _union([(queryset[: chosen.share], keys) for queryset, keys in parts]).select_related(None)
    return union.order_by(span.order)[: chosen.share]


def _part(span: Span, branch: Branch) -> tuple[QuerySet[Event], Keys | None]:
    """Return the events of a branch, and the values for each of which they are to be read."""
    events: Any = candidates().select_related(None)  # joined tables would repeat the names of columns
    if partitions.is_partitioned():
        events = partitions.of_group(events, is_pull=branch.lane)
    else:
        events = events.filter(is_pull=branch.lane)
    events = span.of(events.filter(branch.condition))
    if not branch.column:
        return events, None
    keys = Keys(branch.column, branch.values) if branch.number > 1 else None
    wanted: dict[str, Any] = {branch.column: Keys.VALUE} if keys else {f"{branch.column}__in": branch.values}
    if branch.column in PARTIAL_BY_TEXT:
        # As in the index: SQLite wouldn't recognize a parameter.
        empty = "X''" if branch.column == "digest" and connection.vendor == "sqlite" else "''"
        wanted[f"{branch.column}__gt"] = RawSQL(empty, [])  # noqa: S611
    events = events.filter(**wanted)
    return events, keys


@dataclass(frozen=True)
class Keys:
    """Values of a column of events."""

    VALUE: ClassVar[RawSQL] = RawSQL("keys.value", [])
    """Each of the values, for a queryset that is read for each of them."""

    column: str
    values: Sequence

    def as_sql(self, connection: Any) -> tuple[str, list[Any]]:
        """Return the values as a table with one row for each of them."""
        field: Any = Event._meta.get_field(self.column)
        values = [field.get_db_prep_value(value, connection) for value in self.values]
        return f"unnest(%s::{field.db_type(connection)}[]) AS keys (value)", values


def _union(parts: Sequence[tuple[QuerySet, Keys | None]]) -> EventQuerySet:
    """Return the union of several querysets as a queryset that can be filtered further."""
    return read_from(candidates(), parts)


def read_from(events: EventQuerySet, parts: Sequence[tuple[QuerySet, Keys | None]]) -> EventQuerySet:
    """Return those of `events` that are in the union of several querysets. Nothing else is read.

    A queryset with keys is read for each of these values.
    """
    events = events.all()
    alias: Any = events.query.get_initial_alias()
    events.query.alias_map[alias] = Union(alias, parts)
    return events


class Union(BaseTable):
    """The union of several querysets, used in place of a table."""

    def __init__(self, alias: str, parts: Sequence[tuple[QuerySet, Keys | None]]) -> None:
        super().__init__(alias, alias)
        self.parts = parts

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        selects: list[str] = []
        params: list[Any] = []
        for number, (queryset, keys) in enumerate(self.parts):
            sql, values = queryset.query.get_compiler(connection=connection).as_sql()
            source = f"({sql}) AS branch_{number}"
            if keys:
                table, rows = keys.as_sql(connection)
                source = f"{table}, LATERAL {source}"
                params.append(rows)
            selects.append(f"SELECT branch_{number}.* FROM {source}")  # noqa: S608
            params += values
        name = compiler.quote_name_unless_alias(self.table_alias)
        return f"({' UNION ALL '.join(selects)}) AS {name}", params
