"""Finds events by a search, a page at a time, however many events there are.

An index serves a search for repositories, for actors, for categories, or for a time: a page of it
reads its own rows. No index serves what else there is, or two of these at once. Then one page reads
no more than `STRETCH` events that an index serves, in their order, and says how far it came:

    SELECT … FROM (SELECT … WHERE repository_id = 7 AND id < … ORDER BY id DESC LIMIT 10000)
    WHERE details ->> 'client_address' = … ORDER BY id DESC LIMIT 51

PostgreSQL's planner can't move a condition into a subquery that has a limit, and is told not to sort:
so it reads along the index, and no more. Where several indexes offer themselves, the one is used whose
stretch reaches farthest.
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
from activity.feed.search_language import Search, kinds_labelled
from activity.identity import first_id, moment_of
from activity.models import Event
from repositories import names
from repositories.access.levels import Category
from repositories.models import Repository

STRETCH = 10_000
"""The most events that a page reads."""
MAX_BRANCHES = 20
"""The most repositories, or actors, that are each read through the index and then merged."""

NOTHING = Q(pk__in=[])

Branches = Sequence[Q]
"""Conditions that exclude each other, each served by an index in the order of the ids."""


@dataclass(frozen=True)
class Found:
    """A page of events, newest first, and the cursors of its neighbours, None where there is none."""

    rows: list[Event]
    older: str | None = None
    newer: str | None = None
    searched_to: datetime | None = None
    """How far was searched, if the page isn't full though there are events beyond."""
    onward: str | None = None
    """The cursor from which to search on, in that case."""


@dataclass
class Conditions:
    """A search as conditions on events, and what serves them."""

    all: Q = field(default_factory=Q)
    bounds: Q = field(default_factory=Q)
    """Those of the id and of the lane of pulls: every index serves them as well."""
    parts: set[str] = field(default_factory=set)
    """What has to be served besides: `repository`, `actor`, `category`, or what no index serves."""
    paths: dict[str, Branches] = field(default_factory=dict)
    """For each part that an index serves, how."""
    problems: list[str] = field(default_factory=list)

    def bound(self, condition: Q) -> None:
        self.bounds &= condition
        self.all &= condition

    def add(self, part: str, condition: Q, branches: Branches = ()) -> None:
        """Add a condition, and the branches by which an index serves it, if one does."""
        self.all &= condition
        self.parts.add(part)
        if 0 < len(branches) <= MAX_BRANCHES:
            self.paths[part] = branches

    @property
    def served(self) -> Branches | None:
        """What serves all of it; None if nothing does."""
        if not self.parts:
            return [Q()]
        return self.paths.get(next(iter(self.parts))) if len(self.parts) == 1 else None


# --- Reading pages ------------------------------------------------------------------------------


def find(events: QuerySet[Event], conditions: Conditions, size: int, cursor: str | None = None) -> Found:
    """Return a page of `size` events of a search, out of `events`, those that the viewer may see.

    Raises InvalidCursor for a cursor that isn't of this order.
    """
    newer, values = BY_TIME.decode(cursor) if cursor else (False, [])
    start: UUID | None = values[0] if values else None
    if conditions.problems:
        return Found([])
    order = "id" if newer else "-id"
    scope = events.filter(conditions.bounds).order_by(order)
    if start:
        scope = scope.filter(Q(id__gt=start) if newer else Q(id__lt=start))
    if conditions.served is not None:
        found = _merged(scope.filter(conditions.all), conditions.served, size + 1)
        return _page(list(found.order_by(order)[: size + 1]), size, start, None, newer)
    with _along_indexes():
        rows, end = _stretch(scope, conditions, size + 1, newer)
    return _page(rows, size, start, end, newer)


def _stretch(
    scope: QuerySet[Event], conditions: Conditions, limit: int, newer: bool
) -> tuple[list[Event], UUID | None]:
    """Return what a stretch holds of a search, and where it ends, None if there is nothing beyond."""
    order = "id" if newer else "-id"
    paths = list(conditions.paths.values()) or [[Q()]]
    if len(paths) == len(paths[0]) == 1:
        found = _merged(scope, paths[0], STRETCH).filter(conditions.all)
        rows = list(found.order_by(order)[:limit])
        return rows, None if len(rows) == limit else _farthest(scope, paths, newer)[1]
    branches, end = _farthest(scope, paths, newer)
    found = _merged(scope, branches, STRETCH // len(branches)).filter(conditions.all)
    if end:
        found = found.filter(Q(id__lte=end) if newer else Q(id__gte=end))
    return list(found.order_by(order)[:limit]), end


@contextmanager
def _along_indexes() -> Iterator[None]:
    """Let PostgreSQL read in the order of an index, rather than read everything and sort it."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off")
        yield
        cursor.execute("SET LOCAL enable_sort = on")


def pages(events: QuerySet[Event], conditions: Conditions, size: int) -> Iterator[list[Event]]:
    """Yield all that a search finds, up to `size` events at a time."""
    cursor = None
    while True:
        page = find(events, conditions, size, cursor)
        yield page.rows
        if not (cursor := page.older):
            return


def _farthest(scope: QuerySet[Event], paths: Sequence[Branches], newer: bool) -> tuple[Branches, UUID | None]:
    """Return the branches that reach farthest within a stretch, and where they end, None for never."""
    ends: dict[UUID, Branches] = {}
    for branches in paths:
        last = STRETCH // len(branches) - 1
        lasts = [scope.filter(branch).values("id")[last : last + 1] for branch in branches]
        # Beyond the nearest of these, one branch has not been read.
        end = _table(lasts).order_by("id" if newer else "-id").values_list("pk", flat=True).first()
        if end is None:
            return branches, None
        ends[end] = branches
    farthest = max(ends) if newer else min(ends)
    return ends[farthest], farthest


def _merged(scope: QuerySet[Event], branches: Branches, limit: int) -> QuerySet[Event]:
    """Return the events that are among the first `limit` of a branch."""
    return _table([scope.filter(branch)[:limit] for branch in branches])


def _table(querysets: Sequence[QuerySet]) -> QuerySet[Event]:
    """Return what some queries found as a table to search in."""
    events = Event.objects.all()
    alias: Any = events.query.get_initial_alias()
    events.query.alias_map[alias] = Subquery(alias, querysets)
    return events


class Subquery(BaseTable):
    """The rows of some queries in the place of a table."""

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


def _page(rows: list[Event], size: int, start: UUID | None, end: UUID | None, newer: bool) -> Found:
    more = len(rows) > size
    rows = rows[:size]
    stopped = end if not more else None
    # What follows in the direction of reading, and what comes back; the latter begins with `start`.
    onward = (
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
    return Found(
        rows=rows,
        older=back if newer else onward,
        newer=onward if newer else back,
        searched_to=moment_of(stopped) if stopped else None,
        onward=onward if stopped else None,
    )


# --- Conditions ---------------------------------------------------------------------------------


def conditions_of(search: Search) -> Conditions:
    """Return the conditions of a search, asking for the repositories that it names."""
    conditions = Conditions(problems=list(search.problems))
    if search.after:
        conditions.bound(Q(id__gte=first_id(search.after)))
    if search.before:
        conditions.bound(Q(id__lt=first_id(search.before)))
    if ids := search.values("id"):
        conditions.bound(Q(pk__in=ids))
    _add_repositories(conditions, search)
    _add_kinds(conditions, search)
    _add_actors(conditions, search)
    for name, condition in ANY_OF.items():
        if values := search.values(name):
            conditions.add(name, condition(values))
        if values := search.values(name, negated=True):
            conditions.add(f"-{name}", ~condition(values))
    return conditions


def _add_repositories(conditions: Conditions, search: Search) -> None:
    if namespaces := search.values("namespace"):
        # Of many repositories, a subquery; of few, each by itself.
        within = Repository.objects.filter(namespace__name__in=namespaces).order_by()
        few = list(within.values_list("pk", flat=True)[: MAX_BRANCHES + 1])
        if not few:
            conditions.problems.append(f"There is no repository in {' or '.join(namespaces)}.")
        wanted: Any = few if len(few) <= MAX_BRANCHES else within.values("pk")
        conditions.add("namespace", Q(repository__in=wanted), [Q(repository=pk) for pk in few])
    if repositories := search.values("repo"):
        places = _places(repositories)
        conditions.problems += [f"There is no repository {name}." for name in places if not places[name]]
        found = sorted({pk for ids in places.values() for pk in ids})
        conditions.add("repository", Q(repository__in=found), [Q(repository=pk) for pk in found])
        if any(":" in value for value in repositories):
            conditions.add("tag", _at(repositories, places))
    if excluded := search.values("repo", negated=True):
        conditions.add("-repo", ~_at(excluded, _places(excluded)))
    if excluded := search.values("namespace", negated=True):
        within = Repository.objects.filter(namespace__name__in=excluded).order_by()
        conditions.add("-namespace", ~Q(repository__in=within.values("pk")))


def _places(values: Sequence[str]) -> dict[str, list[int]]:
    """Return the repositories that have, or had, each of the names."""
    places: dict[str, list[int]] = {value.partition(":")[0]: [] for value in values}
    wanted = Q()
    for name in places:
        namespace, rest = names.split_name(name)
        wanted |= Q(namespace__name=namespace, name=rest)
    for repository in Repository.objects.filter(wanted).select_related("namespace").order_by():
        places[repository.full_name].append(repository.pk)
    return places


def _at(values: Sequence[str], places: dict[str, list[int]]) -> Q:
    """Return the condition of being in one of these repositories, with the tag where one is said."""
    condition = NOTHING
    for value in values:
        name, _, tag = value.partition(":")
        condition |= Q(repository__in=places[name], **({"tag": tag} if tag else {}))
    return condition


def _add_kinds(conditions: Conditions, search: Search) -> None:
    """Add what is said of categories, types, kinds and labels: all follow from the kind."""
    categories = set(search.values("category")) or None
    kinds = _kinds(search, negated=False)
    without_kinds = _kinds(search, negated=True) or set()
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
            conditions.bound(NOTHING)
        elif Category.PULL not in categories or categories == {Category.PULL}:
            conditions.bound(Q(is_pull=Category.PULL in categories))
    elif without_categories:
        conditions.add("-category", ~Q(category__in=without_categories))
    pulls = {kind.key for kind in catalogue.KINDS.values() if kind.is_pull}
    if Category.PULL in without_categories or pulls <= without_kinds:
        conditions.bound(Q(is_pull=False))
        if categories is None and without_categories <= {Category.PULL.value}:
            conditions.parts.discard("-category")  # the lane alone says it
    if kinds is not None:
        known = {key for key, kind in catalogue.KINDS.items() if kind.category.value in (categories or ())}
        conditions.all &= Q(kind__in=kinds)
        if not known <= kinds:
            conditions.parts.add("kind")
    elif without_kinds:
        conditions.add("-kind", ~Q(kind__in=without_kinds))


def _kinds(search: Search, *, negated: bool) -> set[str] | None:
    """Return the kinds that the terms leave over, or, negated, all that they exclude; None without any."""
    found: list[set[str]] = []
    if types := search.values("type", negated=negated):
        found.append({key for key, kind in catalogue.KINDS.items() if kind.type in types})
    if kinds := search.values("kind", negated=negated):
        found.append(set(kinds))
    if labels := search.values("label", negated=negated):
        found.append({kind for label in labels for kind in kinds_labelled(label)})
    if not found:
        return None
    return set.union(*found) if negated else set.intersection(*found)


def _add_actors(conditions: Conditions, search: Search) -> None:
    if actors := _actors(search.values("actor")):
        conditions.add("actor", Q(actor_name__in=actors), [Q(actor_name=name) for name in actors])
    if excluded := _actors(search.values("actor", negated=True)):
        conditions.add("-actor", ~Q(actor_name__in=excluded))


def _actors(values: Sequence[str]) -> list[str]:
    """Return the names as they are stored: who isn't known has an empty one."""
    return sorted({*values, *([""] if "anonymous" in values else [])})


def _digests(values: Sequence[str]) -> Q:
    return _any(Q(digest__startswith=value) for value in values)


def _addresses(values: Sequence[str]) -> Q:
    """Return the condition on the client's address, with its port or without."""
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


ANY_OF = {
    "tag": lambda values: Q(tag__in=values),
    "digest": _digests,
    "actor-type": lambda values: Q(actor_type__in=values),
    "ip": _addresses,
    "request": _requests,
}
"""What no index serves: the condition of having one of the values, true or false of every event."""
