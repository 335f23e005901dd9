"""Chooses how to read a list of events, so that the cost of a page doesn't depend on the number of events.

A list is described by a `Plan`: what the viewer may see, and what is asked. Pulls and other events are stored
in different partitions, the lanes, and for each lane there are several sources, in which an index returns
events in the order of their ids:

- the whole lane. MSR admins and auditors see all of its events, so a page reads only its own rows.
- the repositories that can have events on the page. `NewestEvents` says which ones these are.
- the values of a condition that has an index, such as a kind, a tag or an actor.

`reading.py` reads from the source that gets farthest with a bounded number of events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from activity.catalogue import kinds_of
from activity.feed.qualifiers import Condition
from activity.gating import sees_pulls
from activity.identity import first_id, moment_of
from activity.models import Event, EventQuerySet, NewestEvents
from repositories.access.levels import READ_CATEGORIES, REPOSITORY_CATEGORIES, VIEW_UNKNOWN_EVENTS, Category
from repositories.access.resolving import Access
from repositories.models import Repository

FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
MAX_KINDS = 40
"""The maximum number of kinds whose events are read separately and then merged. No type has more."""
MAX_DESCENTS = 250
"""How often to descend an index for repositories. Each takes a descent, of about 3 buffers, a month."""
ALL_MONTHS = 32
"""From how many months on a source is read to its end."""
WINDOWS = (ALL_MONTHS, 16, 8, 4, 2, 1)
"""How many months of repositories to read at once. The first one that takes few descents is used."""
PARTIAL_BY_TEXT = frozenset({"tag", "digest"})
"""The columns whose indexes contain no events without a text. Conditions must say so."""
PULLS = frozenset(kind.key for kind in kinds_of([Category.PULL]))
RESTRICTED = [
    category for category in REPOSITORY_CATEGORIES if category not in (*READ_CATEGORIES, Category.PULL)
]
CATEGORIES_OF_COLUMNS: dict[str, Sequence[Category]] = {
    "readable": READ_CATEGORIES,
    "restricted": RESTRICTED,
    "pull": [Category.PULL],
}
"""The categories that a viewer may see at least one of to see anything that counts in a column."""
COLUMNS_OF_LANES: dict[bool, list[str]] = {False: ["readable", "restricted"], True: ["pull"]}


@dataclass(frozen=True)
class Span:
    """A range of ids, and the direction in which to read it."""

    low: UUID = FIRST_ID
    high: UUID = LAST_ID
    """The lowest id after the range."""
    newer: bool = False
    """Whether to read from the oldest event to the newest one."""

    @property
    def order(self) -> str:
        return "id" if self.newer else "-id"

    def of(self, events: EventQuerySet) -> EventQuerySet:
        """Return the events in the range, in the order of reading."""
        events = events.filter(id__gte=self.low) if self.low != FIRST_ID else events
        events = events.filter(id__lt=self.high) if self.high != LAST_ID else events
        return events.order_by(self.order)

    def up_to(self, end: UUID | None) -> Span:
        """Return the part that ends with an id."""
        if end is None:
            return self
        return replace(self, high=next_id(end)) if self.newer else replace(self, low=end)

    def beyond(self, end: UUID) -> Span:
        """Return the part after an id."""
        if self.newer:
            return replace(self, low=max(self.low, next_id(end)))
        return replace(self, high=min(self.high, end))

    def from_oldest(self) -> Span:
        """Return the part that begins with the oldest event, if it is read from there."""
        if not self.newer:
            return self
        oldest = candidates().order_by("id").values_list("pk", flat=True).first()
        return replace(self, low=max(self.low, oldest or self.low))

    def months(self, number: int) -> Span:
        """Return the part that ends with the given number of months, counted from the start of reading."""
        if self.newer:
            end = first_id(_month(moment_of(self.low)) + relativedelta(months=number))
            return replace(self, high=min(self.high, end))
        last = UUID(int=max(self.high.int - 1, 0))
        newest = min(moment_of(last), timezone.now()) if self.high < LAST_ID else timezone.now()
        start = first_id(_month(newest) - relativedelta(months=number - 1))
        return replace(self, low=max(self.low, start))

    def end_in(self, whole: Span) -> UUID | None:
        """Return the id with which this part of a span ends. None if the whole span does."""
        if self.newer:
            return UUID(int=self.high.int - 1) if self.high < whole.high else None
        return self.low if self.low > whole.low else None

    def nearest(self, ends: Sequence[UUID | None]) -> UUID | None:
        """Return the id that is reached first. None stands for the end of the range."""
        known = [end for end in ends if end is not None]
        return (min(known) if self.newer else max(known)) if known else None

    def is_farther(self, end: UUID | None, other: UUID | None) -> bool:
        return end != other and self.nearest([end, other]) == other


def next_id(id: UUID) -> UUID:
    return UUID(int=min(id.int + 1, LAST_ID.int))


@dataclass(frozen=True)
class Plan:
    """What to list: what the viewer may see, and what is asked."""

    visible: EventQuerySet
    """The events that the viewer may see in the list, from the permission gate."""
    access: Access
    repository: Repository | None = None
    """The repository that `visible` is limited to, if any."""
    span: Span = field(default=Span())
    lanes_asked: frozenset[bool] = frozenset({False, True})
    """Whether other events and pulls are asked for: the values of `is_pull`."""
    kinds: frozenset[str] | None = None
    """The kinds that are asked for, or None for all of them."""
    conditions: Sequence[Condition] = ()
    problems: Sequence[str] = ()
    """Why the list can't be shown."""
    notices: Sequence[str] = ()
    """What the viewer should know about how the search was read."""

    def between(self, after: datetime | None = None, before: datetime | None = None) -> Self:
        """Limit the list to a time range. Both bounds are truncated to the millisecond."""
        low = max(self.span.low, first_id(after)) if after else self.span.low
        high = min(self.span.high, first_id(before)) if before else self.span.high
        return replace(self, span=replace(self.span, low=low, high=high))

    def since(self, id: UUID) -> Self:
        return replace(self, span=replace(self.span, low=max(self.span.low, id)))

    def where(self, *conditions: Condition) -> Self:
        return replace(self, conditions=[*self.conditions, *conditions])

    def of_kinds(self, kinds: Any) -> Self:
        """Limit the list to these kinds, in addition to all earlier limits."""
        wanted = frozenset(kinds)
        return replace(self, kinds=wanted if self.kinds is None else self.kinds & wanted)

    def without_pulls(self) -> Self:
        return replace(self, lanes_asked=self.lanes_asked - {True})

    @cached_property
    def lanes(self) -> list[bool]:
        """The values of `is_pull` that events in the list can have."""
        if (self.kinds is not None and not self.kinds) or any(c.finds_nothing for c in self.conditions):
            return []
        others = self.kinds is None or bool(self.kinds - PULLS)
        pulls = self.kinds is None or bool(self.kinds & PULLS)
        possible = {False: others, True: pulls and sees_pulls(self.access, self.repository)}
        return [lane for lane in (False, True) if lane in self.lanes_asked and possible[lane]]

    @property
    def matches(self) -> Q:
        kinds = Q() if self.kinds is None else Q(kind__in=sorted(self.kinds))
        return Q(kinds, *(condition.matches for condition in self.conditions))

    def events(self) -> EventQuerySet:
        """Return all matching events. Unlike `find`, this doesn't limit the number of events read."""
        lanes = self.lanes
        if self.problems or not lanes:
            return self.visible.none()
        visible = self.visible if len(lanes) == 2 else self.visible.filter(is_pull=lanes[0])
        return self.span.of(visible.filter(self.matches))

    def is_answered_by(self, lane: bool, condition: Condition | None = None, kinds: bool = False) -> bool:
        """Return whether all events of a lane that meet a condition are visible and match the plan.

        `kinds` says whether they are of the kinds that are asked for.
        """
        if self.repository is None:
            visible = self.access.sees_everything
        elif kinds or condition:  # an index of all repositories
            visible = False
        else:
            permissions = self.access.permissions_on(self.repository)
            visible = lane or self.access.sees_everything or VIEW_UNKNOWN_EVENTS in permissions
        of_kinds = kinds or self.kinds is None or (lane and self.kinds >= PULLS)
        return visible and of_kinds and all(c is condition and c.exact for c in self.conditions)


# --- Sources ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Branch:
    """Events that an index returns in the order of their ids, or those with each of several values.

    On PostgreSQL, several values are joined as the rows of a list, so that the query is planned once, not for
    each value. `type=UPDATE`, with its 32 kinds and two years of partitions, takes 2.4 ms to plan and 0.5 to
    execute, instead of 1,780 and 64. With `kind = ANY`, PostgreSQL would walk the whole lane.
    """

    lane: bool
    condition: Q = field(default_factory=Q)
    column: str = ""
    values: Sequence = ()

    @property
    def number(self) -> int:
        """How many ranges of an index the branch reads. SQLite reads many values as a single one."""
        return len(self.values) if self.values and connection.vendor == "postgresql" else 1


@dataclass(frozen=True)
class Source:
    """Mutually exclusive branches that together contain all matching events of a lane, up to an id."""

    branches: Sequence[Branch]
    exact: bool = False
    """Whether all events in the branches match."""
    end: UUID | None = None
    """The id up to which the branches contain all matching events. None if there is no such limit."""
    by_month: bool = False
    """Whether only the months of a round limit it, so that the next rounds read on from there."""

    @property
    def number(self) -> int:
        return sum(branch.number for branch in self.branches)

    @property
    def column(self) -> str:
        """The name of the column of which the source reads some values, or ""."""
        column = next((branch.column for branch in self.branches if branch.column), "")
        field: Any = Event._meta.get_field(column) if column else None
        return field.attname if field else ""

    def only(self, values: Collection[Any]) -> Source:
        """Return the part of the source with these values in its column."""
        if self.number == 1 or not self.column:
            return self
        limited = [
            replace(branch, values=[value for value in branch.values if value in values])
            for branch in self.branches
        ]
        return replace(self, branches=[each for each in limited if each.values or not each.column])


def sources(plan: Plan, span: Span, lane: bool, limit: int, months: int | None = None) -> Iterator[Source]:
    """Yield the sources from which the events of a lane can be read. The first ones are tried first.

    If `months` is given, only so many months are read at once, except of the repositories with the newest
    events. PostgreSQL plans a month in 0.07 ms.
    """
    end = span.months(months).end_in(span) if months else None
    indexed = [replace(source, end=end, by_month=True) for source in _from_conditions(plan, lane)]
    yield from indexed
    if plan.repository is not None:
        # Index: event_repository. On SQLite, event_repository_without_pulls for events that aren't pulls.
        of_repository = Branch(lane, Q(repository=plan.repository.pk))
        yield Source([of_repository], plan.is_answered_by(lane), end)
        return
    found = _from_repositories(plan, span, lane, limit)
    if found is not None:
        yield found
    if not indexed and (found is None or found.branches):
        # The whole lane. Index: the primary key. On SQLite, event_without_pulls for events that aren't pulls.
        # A page of an MSR admin takes 20 ms. Viewers who see most events get farthest with it, too.
        yield Source([Branch(lane)], plan.is_answered_by(lane), end)


def _from_conditions(plan: Plan, lane: bool) -> Iterator[Source]:
    """Yield the sources for conditions that have an index.

    Indexes: event_kind, event_actor, event_tag, event_digest, event_policy.
    """
    if plan.kinds is not None and not lane and len(kinds := plan.kinds - PULLS) <= MAX_KINDS:
        yield Source(_branches(lane, "kind", sorted(kinds)), plan.is_answered_by(lane, kinds=True))
    for condition in plan.conditions:
        if condition.values and not (lane and condition.without_pulls):
            branches = _branches(lane, condition.column, condition.values)
            yield Source(branches, plan.is_answered_by(lane, condition))


def _branches(lane: bool, column: str, values: Sequence) -> list[Branch]:
    """Return branches for the values in a column: on SQLite, one for each, whose order it can keep."""
    if connection.vendor == "postgresql":
        return [Branch(lane, Q(), column, values)]
    return [Branch(lane, Q(), column, [value]) for value in values]


def _from_repositories(plan: Plan, span: Span, lane: bool, limit: int) -> Source | None:
    """Return a source for the repositories that can have events on the page, if these are few.

    Of the viewer's repositories, only those with the newest ids can have events on the first page, and the
    last of these ids is a lower bound for it: 0.34 ms and 409 buffers for 150 quiet repositories, 1.3 ms and
    417 buffers for 2,000. Without the bounds, it was 11 s and 1.5 million buffers. Indexes: newest_readable,
    newest_restricted, newest_pull, event_repository, event_account, event_subject.
    """
    named = [condition.repositories for condition in plan.conditions if condition.repositories is not None]
    if plan.access.sees_everything and not named:
        return None
    conditions = [c for c in plan.conditions if c.repositories is None or not c.exact]
    ids = _newest_ids(plan, named, lane)
    found = ids.above(span, limit)
    if found is None:
        return None
    active, end, top = found
    own = plan.access.viewer_id is not None and not plan.access.sees_everything and not lane and not named
    # With a bound on both sides, PostgreSQL skips the default partition, and reads one month after the other.
    branches = []
    if active:
        branches = [Branch(lane, Q(id__lte=top), "repository", sorted(active))]
    if own:
        account = Q(repository=None, actor_user=plan.access.viewer_id)
        about_account = Q(subject_user=plan.access.viewer_id) & ~account
        branches += [Branch(lane, condition) for condition in (account, about_account)]
    if end is not None and not span.low <= end < span.high:
        end = None
    exact = not conditions and plan.kinds is None and plan.access.sees_everything
    return Source(branches, exact, end)


@dataclass(frozen=True)
class _NewestIds:
    """The ids of the newest events of repositories in which a viewer may see events of a lane."""

    rows: dict[str, QuerySet[NewestEvents]]
    """The repositories by column of `NewestEvents`."""

    def above(self, span: Span, limit: int) -> tuple[set[int], UUID | None, UUID] | None:
        """Return the repositories that can have events at the start of a span.

        Also returns the id up to which no other repository can have any, and their highest id. If the span
        is read from the newest event on, the repositories are among those with the `limit` highest ids, and
        so few that reading them down to that id takes at most `MAX_DESCENTS`. Returns None if that would
        take more in a single month.
        """
        known: dict[int, UUID] = {}
        ends = []
        floor = span.low if span.newer else span.high
        for column, rows in self.rows.items():
            pairs = rows.order_by(f"-{column}").values_list("repository_id", column)
            above = (
                []
                if floor == LAST_ID
                else list(pairs.filter(**{f"{column}__gte": floor})[: MAX_DESCENTS + 1])
            )
            below: list[tuple[int, UUID]] = []
            if not span.newer:
                below = list(pairs.filter(**{f"{column}__lt": floor, f"{column}__gte": span.low})[:limit])
                ends += [below[-1][1]] if len(below) == limit else []
            for pk, id in (*above, *below):
                known[pk] = max(id, known.get(pk, id))
        if not known:
            return set(), None, FIRST_ID
        end = max(ends, default=None)
        top = max(known.values())
        start = span if span.newer else replace(span, high=min(span.high, next_id(top)))
        for months in WINDOWS:
            window = start.months(months).end_in(start) if months < ALL_MONTHS else None
            nearest = span.nearest([end, window])
            active = {
                pk for pk, id in known.items() if nearest is None or span.newer or id >= min(nearest, floor)
            }
            if len(active) * months <= MAX_DESCENTS:
                return active, nearest, top
        return None


def _newest_ids(plan: Plan, named: Sequence[Any], lane: bool) -> _NewestIds:
    rows = {}
    for column in COLUMNS_OF_LANES[lane]:
        found = NewestEvents.objects.exclude(**{column: NewestEvents.NEVER})
        if not plan.access.sees_everything:
            found = found.filter(repository_id__in=_visible_in(plan.access, column))
        for repositories in named:
            found = found.filter(repository_id__in=repositories)
        rows[column] = found
    return _NewestIds(rows)


def _visible_in(access: Access, column: str) -> Any:
    """Return the ids of the repositories in which a viewer may see events that count in a column."""
    wanted = {VIEW_UNKNOWN_EVENTS, *(category.permission for category in CATEGORIES_OF_COLUMNS[column])}
    if access.repositories_if_few is None:
        return access.repositories(wanted).order_by().values("pk")
    return [each.pk for each in access.repositories_if_few if wanted & access.permissions_on(each)]


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def candidates() -> EventQuerySet:
    """Return all events. What is read of them is combined with a queryset from the permission gate."""
    return Event.objects.all()
