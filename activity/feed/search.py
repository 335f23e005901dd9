"""Finds the events that match a search, one page at a time.

The cost of a page doesn't depend on the number of events.

A search by repository, actor, category, kind or time can use an index, and reads only the rows on the page.
Other terms, and combinations of terms, have no index. Such a search reads at most `MAX_EVENTS_READ` events
per page in index order, filters them, and reports how far it got:

    SELECT … FROM (SELECT … WHERE repository_id = 7 AND id < … ORDER BY id DESC LIMIT 10000)
    WHERE client_address = … ORDER BY id DESC LIMIT 51

PostgreSQL's planner can't push a condition into a subquery with a limit, and sorting is disabled. Therefore,
the query reads at most `MAX_EVENTS_READ` rows, in index order. If several indexes can be used, the search
uses the index that gets farthest within this number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.sql.datastructures import BaseTable

from activity.catalogue import kinds_of
from activity.feed import known_names
from activity.feed.ordering import BY_TIME
from activity.feed.qualifiers import MAX_EXPLAINED, NOTHING, QUALIFIERS, Condition, Qualifier
from activity.feed.search_language import Search
from activity.identity import moment_of
from activity.models import Event, EventQuerySet, load_marks
from repositories.access.levels import Category
from repositories.access.resolving import Access

LAST_ID = 2**128 - 1
MAX_EVENTS_READ = 10_000
"""The maximum number of events to read for a page."""
MAX_KIND_BRANCHES = 40
"""The maximum number of kinds whose events are read separately and then merged. No category has more."""
PULLS = {kind.key for kind in kinds_of([Category.PULL])}


@dataclass(frozen=True)
class SearchPage:
    """A page of events, newest first, with the cursors of any adjacent pages."""

    rows: list[Event]
    older: str | None = None
    newer: str | None = None
    searched_to: datetime | None = None
    """The time at which the search stopped, if the page isn't full and there are events left to search."""
    continue_cursor: str | None = None
    """The cursor with which to continue the search, if it stopped."""


@dataclass(frozen=True)
class Plan:
    """How a search is executed."""

    scope: EventQuerySet
    """The events that the viewer may see, limited by the terms that every index supports, such as times."""
    conditions: Sequence[Condition] = ()
    """The conditions for the other terms of the search."""
    problems: Sequence[str] = ()
    """Why the search can't be executed."""
    notices: Sequence[str] = ()
    """What the viewer should know about how the search was read."""

    def events(self) -> EventQuerySet:
        """Return all matching events. Unlike `find`, this doesn't limit the number of events read."""
        return self.scope.none() if self.problems else self.scope.filter(self.matches)

    @property
    def matches(self) -> Q:
        return Q(*(condition.matches for condition in self.conditions))

    @property
    def covering_branches(self) -> Sequence[Q]:
        """The branches to read if a single index can answer the whole search, otherwise empty."""
        match self.conditions:
            case []:
                return [Q()]
            case [Condition(exact=True) as condition]:
                return condition.branches
        return ()


# --- Pages --------------------------------------------------------------------------------------


def find(plan: Plan, size: int, cursor: str | None = None) -> SearchPage:
    """Return a page of up to `size` events that match a search.

    Raises InvalidCursor if the cursor is malformed or belongs to another sort order.
    """
    newer, values = BY_TIME.decode(cursor) if cursor else (False, [])
    start: UUID | None = values[0] if values else None
    if plan.problems:
        return SearchPage([])
    order = "id" if newer else "-id"
    scope = plan.scope.select_related(None).order_by(order)  # joined tables would repeat the names of columns
    if start:
        scope = scope.filter(Q(id__gt=start) if newer else Q(id__lt=start))
    if plan.covering_branches:
        found = _first_of_each(scope.filter(plan.matches), plan.covering_branches, size + 1)
        return _make_page(list(found.order_by(order)[: size + 1]), size, start, None, newer)
    with _sorting_disabled():
        rows, end = _read_matches(scope, plan, size + 1, newer)
    return _make_page(rows, size, start, end, newer)


def _read_matches(
    scope: QuerySet[Event], plan: Plan, limit: int, newer: bool
) -> tuple[list[Event], UUID | None]:
    """Read up to `MAX_EVENTS_READ` events and return up to `limit` matches.

    Also returns the id at which reading stopped, which is meaningful only if there are fewer than `limit`
    matches. It is None if there are no more events to read.
    """
    order = "id" if newer else "-id"
    candidates = [each.branches for each in plan.conditions if each.branches] or [[Q()]]
    if len(candidates) == len(candidates[0]) == 1:
        found = _first_of_each(scope, candidates[0], MAX_EVENTS_READ).filter(plan.matches)
        rows = list(found.order_by(order)[:limit])
        return rows, None if len(rows) == limit else _best_branches(scope, candidates, newer)[1]
    branches, end = _best_branches(scope, candidates, newer)
    found = _first_of_each(scope, branches, _share(branches)).filter(plan.matches)
    if end:
        found = found.filter(Q(id__lte=end) if newer else Q(id__gte=end))
    return list(found.order_by(order)[:limit]), end


@contextmanager
def _sorting_disabled() -> Iterator[None]:
    """Make PostgreSQL read in index order instead of reading everything and sorting it."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off")
        yield
        cursor.execute("SET LOCAL enable_sort = on")


def iter_pages(plan: Plan, size: int) -> Iterator[list[Event]]:
    """Yield pages of up to `size` events until the search is exhausted."""
    cursor = None
    while True:
        page = find(plan, size, cursor)
        yield page.rows
        if not (cursor := page.older):
            return


def _best_branches(
    scope: QuerySet[Event], candidates: Sequence[Sequence[Q]], newer: bool
) -> tuple[Sequence[Q], UUID | None]:
    """Return the branches that get farthest within `MAX_EVENTS_READ` events.

    Also returns the id at which reading the branches stops, or None if they can be read to the end.
    """
    ends: dict[UUID, Sequence[Q]] = {}
    for branches in candidates:
        last = _share(branches) - 1
        lasts = [scope.filter(branch).values("id")[last : last + 1] for branch in branches]
        # Each branch stops when its share of `MAX_EVENTS_READ` is used up, so the results are complete only
        # up to the id where the first branch stops.
        end = _union(lasts).order_by("id" if newer else "-id").values_list("pk", flat=True).first()
        if end is None:
            return branches, None
        ends[end] = branches
    farthest = max(ends) if newer else min(ends)
    return ends[farthest], farthest


def _share(branches: Sequence[Q]) -> int:
    """Return the number of events to read in each branch."""
    return max(MAX_EVENTS_READ // len(branches), 1)


def _first_of_each(scope: QuerySet[Event], branches: Sequence[Q], limit: int) -> QuerySet[Event]:
    """Return the first `limit` events in each branch."""
    return _union([scope.filter(branch)[:limit] for branch in branches])


def _union(querysets: Sequence[QuerySet]) -> QuerySet[Event]:
    """Return the union of several querysets as a queryset that can be filtered further."""
    events = Event.objects.all()
    alias: Any = events.query.get_initial_alias()
    events.query.alias_map[alias] = Subquery(alias, querysets)
    return events


class Subquery(BaseTable):
    """The union of several querysets, used in place of a table."""

    def __init__(self, alias: str, querysets: Sequence[QuerySet]) -> None:
        super().__init__(alias, alias)
        self.querysets = querysets

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        parts, params = [], []
        for number, queryset in enumerate(self.querysets):
            sql, values = queryset.query.get_compiler(connection=connection).as_sql()
            parts.append(f"SELECT * FROM ({sql}) AS branch_{number}")  # noqa: S608
            params += values
        name = compiler.quote_name_unless_alias(self.table_alias)
        return f"({' UNION ALL '.join(parts)}) AS {name}", params


def _make_page(rows: list[Event], size: int, start: UUID | None, end: UUID | None, newer: bool) -> SearchPage:
    more = len(rows) > size
    rows = rows[:size]
    load_marks(rows)
    stopped = None if more else end
    # `forward` continues in the same direction. `back` reads the other way, beginning with `start`.
    last = rows[-1].pk if more else stopped
    forward = BY_TIME.encode(Event(pk=last), newer) if last else None
    back = None
    if start:
        beyond = max(start.int - 1, 0) if not newer else min(start.int + 1, LAST_ID)
        first = rows[0].pk if rows else UUID(int=beyond)
        back = BY_TIME.encode(Event(pk=first), not newer)
    if newer:
        rows.reverse()
    return SearchPage(
        rows=rows,
        older=back if newer else forward,
        newer=forward if newer else back,
        searched_to=moment_of(stopped) if stopped else None,
        continue_cursor=forward if stopped else None,
    )


# --- Plans --------------------------------------------------------------------------------------


def plan(events: EventQuerySet, search: Search, access: Access) -> Plan:
    """Return the plan for a search. `events` contains the events that the viewer may see.

    A term matches only what the viewer may see of an event; see `Qualifier.only`.

    Runs queries to look up the repositories and namespaces named in the search.
    """
    scope, conditions = _restrict_kinds(events.between(search.after, search.before), search)
    problems, notices = [*search.problems, *search.contradictions], [*search.notices]
    if conditions and conditions[0].matches == NOTHING:
        problems.append("No kind of event matches all of these terms.")
    for name, qualifier in QUALIFIERS.items():
        values, excluded = search.values(name), search.values(name, negated=True)
        if qualifier.limit and (values or excluded) and not access.sees_everything:
            notices.append(f"For you, {name}: finds only {qualifier.limit}.")
        if qualifier.condition is None:
            continue
        if values:
            conditions.append(condition := _condition(qualifier, values, access))
            problems += condition.problems
        if excluded:
            condition = _condition(qualifier, excluded, access)
            conditions.append(Condition(~condition.matches))
            notices += condition.problems
    return Plan(scope, conditions, problems, notices)


def explain_empty(search: Search, access: Access) -> list[str]:
    """Return what a viewer should know if a search finds nothing: the actors that may not exist."""
    return [known_names.no_actor(name, access) for name in search.values("actor")[:MAX_EXPLAINED]]


def _condition(qualifier: Qualifier, values: list[str], access: Access) -> Condition:
    """Return the condition for events that match any of the values in a way that the viewer may see."""
    condition = qualifier.condition(values, access)  # type: ignore[misc]
    return replace(condition, matches=condition.matches & qualifier.only(access))


def _restrict_kinds(scope: EventQuerySet, search: Search) -> tuple[EventQuerySet, list[Condition]]:
    """Return the scope and the conditions for the terms that restrict categories and kinds.

    If possible, the scope is limited to pulls, or to all events except pulls. The terms are combined, so that
    they can use the index on kinds. If the terms contradict each other, nothing is read.
    """
    categories, without_categories = (set(search.values("category", negated=n)) for n in (False, True))
    kinds, without_kinds = (_matching_kinds(search, negated=n) for n in (False, True))
    without_kinds = without_kinds or set()
    if Category.PULL in without_categories or without_kinds >= PULLS:
        scope = scope.without_pulls()
    if kinds is None and not categories:
        excluded = {"category": without_categories - {Category.PULL}, "kind": without_kinds}
        return scope, [Condition(~Q(**{f"{name}__in": keys})) for name, keys in excluded.items() if keys]
    if categories:
        of_categories = {kind.key for kind in kinds_of(categories)}
        kinds = of_categories if kinds is None else kinds & of_categories
    kinds = (kinds or set()) - without_kinds - {kind.key for kind in kinds_of(without_categories)}
    if not kinds:
        return scope, [Condition(NOTHING, [NOTHING])]
    if not kinds & PULLS:
        scope = scope.without_pulls()
    elif kinds <= PULLS:
        scope = scope.only_pulls()
    exact = kinds & PULLS in (set(), PULLS)
    return scope, [Condition(Q(kind__in=kinds), _branches_of_kinds(kinds), exact)]


def _branches_of_kinds(kinds: set[str]) -> list[Q]:
    """Return a branch for each kind, and one for all pulls, whose kinds have no index."""
    branches = [Q(kind=kind, is_pull=False) for kind in sorted(kinds - PULLS)]
    branches += [Q(is_pull=True)] if kinds & PULLS else []
    return branches if len(branches) <= MAX_KIND_BRANCHES else []


def _matching_kinds(search: Search, *, negated: bool) -> set[str] | None:
    """Return the kinds that the search's terms match or, if `negated`, the kinds that they exclude.

    Returns None if the search has no such terms.
    """
    found = [
        {kind for value in values for kind in qualifier.kinds(value)}
        for name, qualifier in QUALIFIERS.items()
        if qualifier.kinds
        and not (negated and qualifier.condition)
        and (values := search.values(name, negated=negated))
    ]
    if not found:
        return None
    return set.union(*found) if negated else set.intersection(*found)
