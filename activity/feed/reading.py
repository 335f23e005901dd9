"""Reads a page of a list, or its newest events, from the sources that `plans.py` offers.

At most `MAX_EVENTS_READ` events are read from a source, and what isn't visible or doesn't match is left out:

    SELECT … FROM (SELECT … WHERE actor_name = 'jane' AND NOT is_pull AND id < … ORDER BY id DESC LIMIT 2000)
    WHERE repository_id IN (…) AND tag = 'v1' ORDER BY id DESC LIMIT 51

PostgreSQL's planner can't push a condition into a subquery with a limit, and sorting is disabled, so it reads
at most that many rows, in index order. Of many repositories, the newest ids are merged first, so that one of
them can use up the bound. Of several sources, the one that gets farthest is read. A page that isn't full says
how far back it got, and the search can be continued from there.

Rows come only through `Plan.visible`, a queryset from the permission gate. A source is never trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import RowNumber
from django.db.models.sql.datastructures import BaseTable

from activity.feed.ordering import BY_TIME
from activity.feed.plans import FIRST_ID, LAST_ID, Branch, Plan, Source, Span, candidates, sources
from activity.identity import first_id, moment_of
from activity.models import Event, EventQuerySet, load_marks
from activity.storage import partitions
from repositories.utils.among import array

MAX_EVENTS_READ = 2_000
"""The maximum number of events to read from a source for a page. That takes 1 ms, and up to 1,100 buffers."""
MAX_ENTRIES_READ = 10_000
"""The maximum number of index entries to read of many repositories to find out how far a page can get."""
LARGE_PAGE = 100
"""From this number of events on, a page may read more in proportion. Exports and the API have such pages."""
MAX_KINDS_PLANNED = 4
"""The maximum number of kinds for each of which PostgreSQL plans a scan of each month.

With 30 months, `type=UPDATE` took 135 ms to plan and 43 ms to execute as 32 such scans. As one scan that is
repeated for each kind, it takes 2.3 and 2.2 ms. With 24 months, the seven kinds of `type=FAIL`, without any
event, took 10 and 3 ms as such scans, and take 1.5 and 1.2 ms.
"""
MAX_RARE_VALUES = 4
"""The maximum number of values of a condition whose events are read before anything else is tried."""
GROWTH = 4
"""How many times as many repositories are read in each round as in the one before."""
ROUNDS = 4
"""How often to read on in the repositories that can have events on a page, until the page is full."""
PLANNING = {"enable_sort": "off", "jit": "off", "random_page_cost": "0.01", "seq_page_cost": "0.01"}
"""Settings of PostgreSQL for statements that read events.

With the usual cost of reading pages, as from a slow disk, it walked all 53,000 pulls of a month to find 1,000
of a repository, and 160,000 events to find those with a rare tag.
"""


@dataclass(frozen=True)
class Round:
    """One of several attempts to fill a page."""

    span: Span
    """What hasn't been read yet."""
    limit: int | None
    """The number of events that the page needs, or None for as many as possible."""
    is_first: bool = True
    """Whether nothing has been read yet."""
    is_brief: bool = False
    """Whether to read only a part of what is allowed, because that is likely to fill the page."""

    def rows(self, lanes: int) -> int:
        """Return how many events may be read in each lane."""
        parts = lanes * (GROWTH if self.is_brief else 1)
        return max(MAX_EVENTS_READ * _scale(self.limit or 0) // parts, 1)


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
    by_lane = [sources(plan, plan.span, lane, MAX_EVENTS_READ) for lane in plan.lanes]
    with _in_index_order():
        events, end = _read(plan, by_lane, Round(plan.span, None))
        end = _unless_before_all(plan.span, end)
        yield events, moment_of(end) if end else None


def _read_rows(plan: Plan, span: Span, limit: int) -> tuple[list[Event], UUID | None]:
    """Return up to `limit` matching events in a span, in the order of reading.

    Also returns the id at which reading stopped, which is meaningful only if there are fewer than `limit`
    matches. It is None if there are no more events to read.
    """
    rows: list[Event] = []
    rounds = range(1, 2) if plan.may_stop else range(ROUNDS)
    for number in rounds:
        wanted = limit * GROWTH**number
        by_lane = [sources(plan, span, lane, wanted, _scale(limit)) for lane in plan.lanes]
        is_last = number == rounds[-1] or not any(each.is_windowed for lane in by_lane for each in lane)
        is_first = number == rounds[0]
        this = Round(span, limit - len(rows), is_first, is_brief=number == 0 and not is_last)
        with _in_index_order():
            found, end = _read(plan, by_lane, this)
            rows += found.order_by(span.order)[: this.limit]
        if len(rows) < limit:
            end = _unless_before_all(span, end)
        if end is None or len(rows) == limit or is_last:
            return rows, end
        span = span.beyond(end)
    return rows, end


def _scale(limit: int) -> int:
    """Return how many times as much as usual a page of `limit` events may read."""
    return max(limit // LARGE_PAGE, 1)


def _unless_before_all(span: Span, end: UUID | None) -> UUID | None:
    """Return the id at which reading stopped, or None if that is before the first of all events.

    Quiet repositories are read some months at a time, which may begin before the first event. The last month
    is tried first, because PostgreSQL takes 3 ms to plan a statement for all of them.
    """
    if end is None or span.newer:
        return end
    month_before = first_id(max(moment_of(end) - timedelta(days=31), moment_of(FIRST_ID)))
    before = candidates().filter(id__lt=end).order_by("-id").values_list("pk")  # in the order of an index
    return end if before.filter(id__gte=month_before)[:1] or before[:1] else None


@contextmanager
def _in_index_order() -> Iterator[None]:
    """Make PostgreSQL read in index order instead of reading everything and sorting it.

    Where sorting is inevitable, it looks so expensive that PostgreSQL would compile the query first.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET LOCAL {name} = {value}" for name, value in PLANNING.items()))
        yield
        cursor.execute("; ".join(f"SET LOCAL {name} TO DEFAULT" for name in PLANNING))


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


def _read(plan: Plan, by_lane: Sequence[Sequence[Source]], this: Round) -> tuple[EventQuerySet, UUID | None]:
    """Return the matching events in the best source of each lane, and the id up to which these are all."""
    if not by_lane:
        return plan.visible.none(), None
    chosen = [_choose(plan, each, this, this.rows(len(by_lane))) for each in by_lane]
    end = this.span.nearest([end for _, end, _ in chosen])
    span = this.span.up_to(end)
    found = [(source.without_older(span.low), share) for source, _, share in chosen]
    parts = [_first(source, span, share) for source, share in found if source.branches]
    if not parts:
        return plan.visible.none(), end
    union = _union([(part, None) for part in parts])
    return (union & plan.visible.order_by()).filter(plan.matches), end


def _choose(plan: Plan, offered: Sequence[Source], this: Round, rows: int) -> tuple[Source, UUID | None, int]:
    """Return the source that gets farthest, where it ends, and how many events to read in each branch."""
    span, limit = this.span, this.limit
    # For two years, the events with a rare tag take 60 buffers, and 150 repositories 1,292.
    few = max(rows // 4, 1)
    ends: dict[int, UUID | None] = {}
    for number, source in enumerate(offered if this.is_first else []):
        if number and source.is_of_values and len(source.branches) <= MAX_RARE_VALUES:
            end_of_few, ends[number] = _ends(source, span, few, rows)
            if end_of_few is None:
                return source, None, few
    best: tuple[Source, UUID | None, int] = Source([]), UUID(int=0), 1
    for number, each in enumerate(offered):
        source = _with_few_branches(plan, each, rows, limit)
        if limit and source.exact and source.is_merged and rows >= limit:
            return source, source.end, limit
        # If all events match, few more than the page needs are enough, unless the viewer sees few of them.
        is_enough = source.is_windowed and plan.is_plain and this.is_brief
        share = min(rows, 2 * limit) if limit and is_enough else rows
        if number and number not in ends and _end(source, span.up_to(best[1]), share):
            continue  # it doesn't get farther, and PostgreSQL had fewer months to plan to find out
        end = ends[number] if number in ends else _end(source, span.up_to(source.end), share)
        end = span.nearest([source.end, end])
        if not number or span.is_farther(end, best[1]):
            best = source, end, share
        if end is None or is_enough:
            break
    return best


def _with_few_branches(plan: Plan, source: Source, rows: int, limit: int | None) -> Source:
    """Return a source without a branch for each of many kinds, which would take long to plan.

    All events of a kind are read before they are merged with those of other kinds, unless the kind has a
    branch of its own. So all kinds share a branch only if the page needs few events of each. Otherwise,
    the kinds with few events do, of which at most half as many events are read as from the source.
    """
    kinds = [kind for branch in source.branches for kind in branch.kinds]
    if len(kinds) <= MAX_KINDS_PLANNED or not partitions.is_partitioned():
        return source
    together = Branch(source.branches[0].lane, kinds=kinds)
    if limit and source.exact and limit <= rows // len(kinds):
        return replace(source, branches=[together])
    frequent, rare = _kinds_by_frequency(plan, together)
    common = [branch for branch in source.branches if branch.kinds[0] in frequent]
    return replace(source, branches=[*common, replace(together, kinds=rare)] if rare else common)


def _kinds_by_frequency(plan: Plan, branch: Branch) -> tuple[set[str], list[str]]:
    """Return the kinds of a branch with many events in the list, and those with a few, but not with none."""
    if branch.lane not in plan.kinds_found:
        # Also a brief round, the smallest, must be able to read all events of the kinds with a few.
        few = max(Round(plan.span, None, is_brief=True).rows(len(plan.lanes)) // 2 // len(branch.kinds), 1)
        events, keys = _part(plan.span, branch)
        found = _union([(events.values("kind")[:few], keys)]).order_by()
        numbers = Counter(found.values_list("kind", flat=True))
        frequent = {kind for kind, number in numbers.items() if number == few}
        plan.kinds_found[branch.lane] = frequent, sorted({*numbers} - frequent)
    return plan.kinds_found[branch.lane]


def _end(source: Source, span: Span, share: int) -> UUID | None:
    """Return the id where reading ends because a share is used up, or None if all can be read to the end.

    Reads the indexes alone: 10,000 entries are 71 buffers.
    """
    return _ends(source, span, share)[0] if source.is_merged else _end_of_many(source, span, share)


def _ends(source: Source, span: Span, *shares: int) -> list[UUID | None]:
    """Return the id where reading from merged branches ends for each share. The last share is the largest."""
    counted = [branch for branch in source.branches if len(branch.kinds) < 2]
    if not counted:
        return [None] * len(shares)
    # If kinds with few events share a branch, the other half is for these.
    places = [share if len(counted) == len(source.branches) else max(share // 2, 1) for share in shares]
    parts = [_part(span, branch) for branch in counted]
    numbered = _union([(events.values("id")[: places[-1]], keys) for events, keys in parts])
    place = Window(RowNumber(), order_by=span.order)
    found = numbered.annotate(place=place).filter(place__in=places, place__lte=places[-1])
    ends = dict(found.order_by(span.order).values_list("place", "pk"))
    return [ends.get(place) for place in places]


def _end_of_many(source: Source, span: Span, share: int) -> UUID | None:
    """Return the id of the last event of a share of all branches, or an earlier one.

    A repository with many events can use up the share. But if one has more events than are read of its index,
    reading ends with the last of these.
    """
    entries = min(max(MAX_ENTRIES_READ // source.number, 1), share)
    place = Window(RowNumber(), order_by=span.order)
    parts = [_part(span, branch) for branch in source.branches]
    numbered = [(events.values("id").annotate(place=place)[:entries], keys) for events, keys in parts]
    found = _union(numbered).annotate(place_in_branch=RawSQL("place", []), place=place)
    ends = found.filter(Q(place_in_branch=entries) | Q(place=share)).order_by(span.order)
    return ends.values_list("pk", flat=True).first()


def _first(source: Source, span: Span, share: int) -> QuerySet[Event]:
    """Return the first events of each branch, or of all of them if they are merged."""
    parts = [_part(span, branch) for branch in source.branches]
    union = _union([(events[:share], keys) for events, keys in parts]).select_related(None)
    return union.order_by(span.order)[:share] if source.is_merged else union


def _part(span: Span, branch: Branch) -> Part:
    """Return the events of a branch, and the values, if several, for each of which they are to be read."""
    events: Any = candidates().select_related(None)  # joined tables would repeat the names of columns
    if partitions.is_partitioned():
        events = partitions.of_group(events, is_pull=branch.lane)
    else:
        events = events.filter(is_pull=branch.lane)
    events = span.of(events.filter(branch.condition))
    column, values = ("kind", branch.kinds) if branch.kinds else ("repository", [*branch.repositories])
    if len(values) == 1:
        return events.filter(**{column: values[0]}), None
    if values and partitions.is_partitioned():
        return _of_each(events, span, column), Keys(column, values, [*branch.repositories.values()])
    return (events.filter(**{f"{column}__in": values}) if values else events), None


def _of_each(events: Any, span: Span, column: str) -> Any:
    """Return the events with each of the values of a column.

    PostgreSQL plans without knowing the values, and takes any kind for a common one: it would walk all events
    by their ids for each kind (1.4 million rows of a million events, 88% of them pulls). Only event_kind has
    the order by a kind that isn't a constant, and then by the id.
    """
    if column == "kind":
        of_kind = events.filter(kind__gte=Keys.VALUE, kind__lte=Keys.VALUE)
        return of_kind.order_by("kind" if span.newer else "-kind", span.order)
    return events.filter(**{column: Keys.VALUE}, id__lte=Keys.TOP)


@dataclass(frozen=True)
class Keys:
    """Values of a column of events."""

    column: str
    values: Sequence[Any]
    tops: Sequence[UUID] = ()
    """The highest id that an event with each of the values can have, if known."""

    VALUE: ClassVar = RawSQL("keys.value", [])
    """Each of the values, in a queryset that is read for each of them."""
    TOP: ClassVar = RawSQL("keys.top", [])

    def as_sql(self, connection: Any) -> tuple[str, list[Any]]:
        """Return the values as a table of rows."""
        column: Any = Event._meta.get_field(self.column)
        values = [column.get_db_prep_value(value, connection) for value in self.values]
        table = f"unnest(%s::{column.db_type(connection)}[], %s::uuid[]) AS keys (value, top)"
        return table, [array(values), array(self.tops)]


Part: TypeAlias = tuple[QuerySet, Keys | None]
"""Events, and the values for each of which they are to be read."""


def _union(parts: Sequence[Part]) -> EventQuerySet:
    """Return the union of several querysets as a queryset that can be filtered further."""
    return read_from(candidates(), parts)


def read_from(events: EventQuerySet, parts: Sequence[Part]) -> EventQuerySet:
    """Return those of `events` that are in the union of several querysets. Nothing else is read."""
    events = events.all()
    alias: Any = events.query.get_initial_alias()
    events.query.alias_map[alias] = Union(alias, parts)
    return events


class Union(BaseTable):
    """The union of several querysets, used in place of a table."""

    def __init__(self, alias: str, parts: Sequence[Part]) -> None:
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
                params += rows
            selects.append(f"SELECT branch_{number}.* FROM {source}")  # noqa: S608
            params += values
        name = compiler.quote_name_unless_alias(self.table_alias)
        return f"({' UNION ALL '.join(selects)}) AS {name}", params
