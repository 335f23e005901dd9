"""Finding events by a search, one page at a time, at a cost independent of the number of events.

A search by repository, actor, category or time can use an index, and reads only the rows of the page. Other
terms, and combinations of these, have no index. Such a search reads at most `MAX_EVENTS_READ` events per page
in index order, filters them, and reports how far it got:

    SELECT … FROM (SELECT … WHERE repository_id = 7 AND id < … ORDER BY id DESC LIMIT 10000)
    WHERE details ->> 'client_address' = … ORDER BY id DESC LIMIT 51

PostgreSQL's planner can't push a condition into a subquery with a limit, and sorting is disabled. So the
query reads at most that many rows, in index order. If several indexes can be used, the one that gets farthest
with these rows is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.sql.datastructures import BaseTable

from activity import catalogue
from activity.feed.ordering import BY_TIME
from activity.feed.search_language import Search, kinds_with_label
from activity.identity import first_id, moment_of
from activity.models import Event
from repositories import names
from repositories.access.levels import Category
from repositories.models import Repository

MAX_EVENTS_READ = 10_000
"""The most events that are read for a page."""
MAX_BRANCHES = 20
"""The most repositories or actors that are read from the index separately and then merged."""

NOTHING = Q(pk__in=[])

Branches = Sequence[Q]
"""Mutually exclusive conditions. For each of them, an index returns the events in id order."""


@dataclass(frozen=True)
class SearchPage:
    """A page of events, newest first, with the cursors of the adjacent pages, or None."""

    rows: list[Event]
    older: str | None = None
    newer: str | None = None
    searched_to: datetime | None = None
    """Where the search stopped, if it did so before the page was full and with events left to search."""
    continue_cursor: str | None = None
    """The cursor to continue the search with in that case."""


@dataclass
class Conditions:
    """A search as conditions on events, with the indexes that can be used for it."""

    all: Q = field(default_factory=Q)
    bounds: Q = field(default_factory=Q)
    """The conditions on `id` and `is_pull`, which every index supports."""
    condition_names: set[str] = field(default_factory=set)
    """The names of the other conditions, such as `repository`, `actor`, `category` or `ip`."""
    branches_by_name: dict[str, Branches] = field(default_factory=dict)
    """The branches to read for each condition that an index supports."""
    problems: list[str] = field(default_factory=list)

    def add_bound(self, condition: Q) -> None:
        self.bounds &= condition
        self.all &= condition

    def add(self, name: str, condition: Q, branches: Branches = ()) -> None:
        """Add a condition, with the branches to read from an index if one supports it."""
        self.all &= condition
        self.condition_names.add(name)
        if 0 < len(branches) <= MAX_BRANCHES:
            self.branches_by_name[name] = branches

    @property
    def covering_branches(self) -> Branches | None:
        """The branches that an index can read for the whole search, or None if no single index suffices."""
        if not self.condition_names:
            return [Q()]
        if len(self.condition_names) > 1:
            return None
        return self.branches_by_name.get(next(iter(self.condition_names)))


# --- Pages --------------------------------------------------------------------------------------


def find(events: QuerySet[Event], conditions: Conditions, size: int, cursor: str | None = None) -> SearchPage:
    """Return a page of up to `size` events that match a search. `events` is what the viewer may see.

    Raises InvalidCursor for a cursor of another order.
    """
    newer, values = BY_TIME.decode(cursor) if cursor else (False, [])
    start: UUID | None = values[0] if values else None
    if conditions.problems:
        return SearchPage([])
    order = "id" if newer else "-id"
    scope = events.filter(conditions.bounds).order_by(order)
    if start:
        scope = scope.filter(Q(id__gt=start) if newer else Q(id__lt=start))
    if conditions.covering_branches is not None:
        found = _first_of_each(scope.filter(conditions.all), conditions.covering_branches, size + 1)
        return _make_page(list(found.order_by(order)[: size + 1]), size, start, None, newer)
    with _sorting_disabled():
        rows, end = _read_matches(scope, conditions, size + 1, newer)
    return _make_page(rows, size, start, end, newer)


def _read_matches(
    scope: QuerySet[Event], conditions: Conditions, limit: int, newer: bool
) -> tuple[list[Event], UUID | None]:
    """Read up to `MAX_EVENTS_READ` events and return up to `limit` matches.

    Also returns the id at which reading stopped, which matters only if there are fewer than `limit` matches.
    It is None if there are no events beyond.
    """
    order = "id" if newer else "-id"
    candidates = list(conditions.branches_by_name.values()) or [[Q()]]
    if len(candidates) == len(candidates[0]) == 1:
        found = _first_of_each(scope, candidates[0], MAX_EVENTS_READ).filter(conditions.all)
        rows = list(found.order_by(order)[:limit])
        return rows, None if len(rows) == limit else _best_branches(scope, candidates, newer)[1]
    branches, end = _best_branches(scope, candidates, newer)
    found = _first_of_each(scope, branches, MAX_EVENTS_READ // len(branches)).filter(conditions.all)
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


def iter_pages(events: QuerySet[Event], conditions: Conditions, size: int) -> Iterator[list[Event]]:
    """Yield pages of up to `size` events until the search is exhausted."""
    cursor = None
    while True:
        page = find(events, conditions, size, cursor)
        yield page.rows
        if not (cursor := page.older):
            return


def _best_branches(
    scope: QuerySet[Event], candidates: Sequence[Branches], newer: bool
) -> tuple[Branches, UUID | None]:
    """Return the branches that get farthest within `MAX_EVENTS_READ` events.

    Also returns the id at which reading them stops, None if they can be read to the end.
    """
    ends: dict[UUID, Branches] = {}
    for branches in candidates:
        last = MAX_EVENTS_READ // len(branches) - 1
        lasts = [scope.filter(branch).values("id")[last : last + 1] for branch in branches]
        # Past the nearest of these ids, at least one branch is incomplete.
        end = _union(lasts).order_by("id" if newer else "-id").values_list("pk", flat=True).first()
        if end is None:
            return branches, None
        ends[end] = branches
    farthest = max(ends) if newer else min(ends)
    return ends[farthest], farthest


def _first_of_each(scope: QuerySet[Event], branches: Branches, limit: int) -> QuerySet[Event]:
    """Return the first `limit` events of each branch."""
    return _union([scope.filter(branch)[:limit] for branch in branches])


def _union(querysets: Sequence[QuerySet]) -> QuerySet[Event]:
    """Return the union of some queries as a queryset that can be filtered further."""
    events = Event.objects.all()
    alias: Any = events.query.get_initial_alias()
    events.query.alias_map[alias] = Subquery(alias, querysets)
    return events


class Subquery(BaseTable):
    """The union of some queries, used in place of a table."""

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
    stopped = end if not more else None
    # `forward` continues in the reading direction. `back` reads the other way, beginning with `start`.
    forward = (
        BY_TIME.encode(rows[-1], newer)
        if more
        else BY_TIME.encode(Event(pk=stopped), newer)
        if stopped
        else None
    )
    back = None
    if start:
        first = rows[0].pk if rows else UUID(int=start.int + (1 if newer else -1))
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


# --- Conditions ---------------------------------------------------------------------------------


def build_conditions(search: Search) -> Conditions:
    """Return the conditions of a search. Looks up its repositories and namespaces in the database."""
    conditions = Conditions(problems=list(search.problems))
    if search.after:
        conditions.add_bound(Q(id__gte=first_id(search.after)))
    if search.before:
        conditions.add_bound(Q(id__lt=first_id(search.before)))
    if ids := search.values("id"):
        conditions.add_bound(Q(pk__in=ids))
    _add_repositories(conditions, search)
    _add_kinds(conditions, search)
    _add_actors(conditions, search)
    for name, condition in UNINDEXED.items():
        if values := search.values(name):
            conditions.add(name, condition(values))
        if values := search.values(name, negated=True):
            conditions.add(f"-{name}", ~condition(values))
    return conditions


def _add_repositories(conditions: Conditions, search: Search) -> None:
    if namespaces := search.values("namespace"):
        # A few repositories are read as separate branches, many by a subquery.
        within = Repository.objects.filter(namespace__name__in=namespaces).order_by()
        few = list(within.values_list("pk", flat=True)[: MAX_BRANCHES + 1])
        if not few:
            conditions.problems.append(f"There are no repositories in {' or '.join(namespaces)}.")
        wanted: Any = few if len(few) <= MAX_BRANCHES else within.values("pk")
        conditions.add("namespace", Q(repository__in=wanted), [Q(repository=pk) for pk in few])
    if repositories := search.values("repo"):
        ids_by_name = _repository_ids(repositories)
        conditions.problems += [
            f"Repository {name} does not exist." for name in ids_by_name if not ids_by_name[name]
        ]
        found = sorted({pk for ids in ids_by_name.values() for pk in ids})
        conditions.add("repository", Q(repository__in=found), [Q(repository=pk) for pk in found])
        if any(":" in value for value in repositories):
            conditions.add("tag", _in_repositories(repositories, ids_by_name))
    if excluded := search.values("repo", negated=True):
        conditions.add("-repo", ~_in_repositories(excluded, _repository_ids(excluded)))
    if excluded := search.values("namespace", negated=True):
        within = Repository.objects.filter(namespace__name__in=excluded).order_by()
        conditions.add("-namespace", ~Q(repository__in=within.values("pk")))


def _repository_ids(values: Sequence[str]) -> dict[str, list[int]]:
    """Return the ids of the repositories with each name, including deleted ones."""
    ids_by_name: dict[str, list[int]] = {value.partition(":")[0]: [] for value in values}
    wanted = Q()
    for name in ids_by_name:
        namespace, rest = names.split_name(name)
        wanted |= Q(namespace__name=namespace, name=rest)
    for repository in Repository.objects.filter(wanted).select_related("namespace").order_by():
        ids_by_name[repository.full_name].append(repository.pk)
    return ids_by_name


def _in_repositories(values: Sequence[str], ids_by_name: dict[str, list[int]]) -> Q:
    """Return a condition for events of these repositories, or of a tag if the value has one."""
    condition = NOTHING
    for value in values:
        name, _, tag = value.partition(":")
        condition |= Q(repository__in=ids_by_name[name], **({"tag": tag} if tag else {}))
    return condition


def _add_kinds(conditions: Conditions, search: Search) -> None:
    """Add the conditions for categories, types, kinds and labels, which all depend on the kind."""
    categories = set(search.values("category")) or None
    kinds = _matching_kinds(search, negated=False)
    without_kinds = _matching_kinds(search, negated=True) or set()
    without_categories = set(search.values("category", negated=True))
    if kinds is not None:
        kinds -= without_kinds
        own = {catalogue.KINDS[kind].category.value for kind in kinds}
        categories = own if categories is None else categories & own
    if categories is not None:
        categories -= without_categories
        branches = [Q(category=category) for category in sorted(categories)]
        conditions.add("category", Q(category__in=categories), branches)
        if not categories:
            conditions.add_bound(NOTHING)
        elif Category.PULL not in categories or categories == {Category.PULL}:
            conditions.add_bound(Q(is_pull=Category.PULL in categories))
    elif without_categories:
        conditions.add("-category", ~Q(category__in=without_categories))
    pulls = {kind.key for kind in catalogue.KINDS.values() if kind.is_pull}
    if Category.PULL in without_categories or pulls <= without_kinds:
        conditions.add_bound(Q(is_pull=False))
        if categories is None and without_categories <= {Category.PULL.value}:
            conditions.condition_names.discard("-category")  # implied by is_pull
    if kinds is not None:
        known = {key for key, kind in catalogue.KINDS.items() if kind.category.value in (categories or ())}
        conditions.all &= Q(kind__in=kinds)
        if not known <= kinds:
            conditions.condition_names.add("kind")
    elif without_kinds:
        conditions.add("-kind", ~Q(kind__in=without_kinds))


def _matching_kinds(search: Search, *, negated: bool) -> set[str] | None:
    """Return the kinds that match the terms or that negated terms exclude, None without such terms."""
    found: list[set[str]] = []
    if types := search.values("type", negated=negated):
        found.append({key for key, kind in catalogue.KINDS.items() if kind.type in types})
    if kinds := search.values("kind", negated=negated):
        found.append(set(kinds))
    if labels := search.values("label", negated=negated):
        found.append({kind for label in labels for kind in kinds_with_label(label)})
    if not found:
        return None
    return set.union(*found) if negated else set.intersection(*found)


def _add_actors(conditions: Conditions, search: Search) -> None:
    if actors := _actor_names(search.values("actor")):
        conditions.add("actor", Q(actor_name__in=actors), [Q(actor_name=name) for name in actors])
    if excluded := _actor_names(search.values("actor", negated=True)):
        conditions.add("-actor", ~Q(actor_name__in=excluded))


def _actor_names(values: Sequence[str]) -> list[str]:
    """Return the names as they are stored: anonymous actors have an empty name."""
    return sorted({*values, *([""] if "anonymous" in values else [])})


def _digests(values: Sequence[str]) -> Q:
    return _any(Q(digest__startswith=value) for value in values)


def _addresses(values: Sequence[str]) -> Q:
    """Return a condition on the client's address, with or without a port."""
    key = "details__client_address"
    forms = ((value, f"[{value}]:" if ":" in value else f"{value}:") for value in values)
    known = _any(Q(**{key: value}) | Q(**{f"{key}__startswith": start}) for value, start in forms)
    return known & Q(details__has_key="client_address")


def _requests(values: Sequence[str]) -> Q:
    return _any(Q(details__request_id=value) for value in values) & Q(details__has_key="request_id")


def _any(conditions: Any) -> Q:
    condition = NOTHING
    for other in conditions:
        condition |= other
    return condition


UNINDEXED = {
    "tag": lambda values: Q(tag__in=values),
    "digest": _digests,
    "actor-type": lambda values: Q(actor_type__in=values),
    "ip": _addresses,
    "request": _requests,
}
"""Functions that build the conditions without an index. These are never NULL, so they can be negated."""
