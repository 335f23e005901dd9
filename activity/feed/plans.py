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

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.db import connection
from django.db.models import Q, QuerySet

from activity.catalogue import category_of, kinds_of
from activity.feed.conditions import Condition
from activity.gating import possible_categories, sees_pulls
from activity.identity import first_id, moment_of
from activity.models import Event, EventQuerySet, NewestEvents
from repositories.access.levels import READ_CATEGORIES, REPOSITORY_CATEGORIES, VIEW_UNKNOWN_EVENTS, Category
from repositories.access.resolving import Access
from repositories.models import Repository
from repositories.utils.among import is_among

FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
MAX_KIND_BRANCHES = 40
"""The maximum number of kinds whose events are read separately and then merged. No category has more."""
MAX_MONTHS = 60
"""The number of months after which a round reads on to the end."""
MAX_DESCENTS = 600
"""How often to descend an index for a round, in all lanes.

Each repository takes a descent for each month up to that of its newest event.

A descent takes 2 to 3 buffers, so that no statement reads many more buffers than the 2,078 for 2,000 rows.
"""
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
        return replace(self, high=_after(end)) if self.newer else replace(self, low=end)

    def beyond(self, end: UUID) -> Span:
        """Return the part after an id."""
        if self.newer:
            return replace(self, low=max(self.low, _after(end)))
        return replace(self, high=min(self.high, end))

    def nearest(self, ends: Sequence[UUID | None]) -> UUID | None:
        """Return the id that is reached first. None stands for the end of the range."""
        known = [end for end in ends if end is not None]
        return (min(known) if self.newer else max(known)) if known else None

    def is_farther(self, end: UUID | None, other: UUID | None) -> bool:
        return end != other and self.nearest([end, other]) == other


def _after(id: UUID) -> UUID:
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
    kinds_found: dict[bool, tuple[set[str], list[str]]] = field(
        default_factory=dict, init=False, compare=False
    )
    """For each lane, the kinds with many events and those with a few, once they were looked up."""

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

    @cached_property
    def named_repositories(self) -> list[Any]:
        """For each condition that names repositories, which ones these are."""
        found = [condition.repositories for condition in self.conditions]
        return [repositories for repositories in found if repositories is not None]

    @property
    def is_plain(self) -> bool:
        """Whether all events of the named repositories, or of all, match."""
        conditions = [c for c in self.conditions if c.repositories is None or not c.exact]
        return not conditions and self.kinds is None

    @cached_property
    def may_stop(self) -> bool:
        """Whether a condition has no index in a lane, so that a page may be short although there is more."""
        pulls = True in self.lanes
        return any(
            condition.repositories is None and (not condition.branches or (pulls and condition.without_pulls))
            for condition in self.conditions
        )

    @cached_property
    def first_event_id(self) -> UUID | None:
        """The id of the first of all events, whether or not anyone can see it."""
        return candidates().order_by("id").values_list("pk", flat=True).first()

    @cached_property
    def newest_ids(self) -> dict[bool, NewestIds]:
        """The newest ids of each lane."""
        return {lane: _newest_ids(self, lane) for lane in self.lanes}

    @cached_property
    def possible_kinds(self) -> frozenset[str] | None:
        """The kinds that are asked for, without those that the viewer can see nowhere. None for all kinds."""
        categories = possible_categories(self.access)
        if self.kinds is None or categories is None:
            return self.kinds
        return self.kinds & {kind.key for kind in kinds_of(categories)}

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
    """Events that an index returns in the order of their ids, or those of each of several values."""

    lane: bool
    condition: Q = field(default_factory=Q)
    repositories: Mapping[int, UUID] = field(default_factory=dict)
    """The repositories, each with the highest id that an event in it can have."""
    kinds: Sequence[str] = ()
    """The kinds of the events, or none for any kind. If there are several, each has only a few events."""

    @property
    def number(self) -> int:
        """The number of branches that this is. SQLite reads many repositories as a single one."""
        return len(self.repositories) if self.repositories and connection.vendor == "postgresql" else 1


@dataclass(frozen=True)
class Source:
    """Mutually exclusive branches that together contain all matching events of a lane, up to an id."""

    branches: Sequence[Branch]
    exact: bool = False
    """Whether all events in the branches match."""
    end: UUID | None = None
    """The id up to which the branches contain all matching events. None if there is no such limit."""
    is_windowed: bool = False
    """Whether reading may go on at `end` at once, because few events are read up to there."""
    is_of_values: bool = False
    """Whether the branches are the values of a condition, each with an index of all repositories."""

    @property
    def is_merged(self) -> bool:
        """Whether the branches are merged in the order of ids, and read only as far as they are needed."""
        return all(branch.number == 1 for branch in self.branches)

    @property
    def number(self) -> int:
        return sum(branch.number for branch in self.branches)

    def without_older(self, id: UUID) -> Source:
        """Return the source without the repositories whose newest event is older than an id."""
        branches = []
        for branch in self.branches:
            repositories = {pk: top for pk, top in branch.repositories.items() if top >= id}
            if repositories or not branch.repositories:
                branches.append(replace(branch, repositories=repositories))
        return replace(self, branches=branches)


def sources(plan: Plan, span: Span, lane: bool, limit: int, scale: int = 1) -> list[Source]:
    """Return the sources from which the events of a lane can be read. The first ones are tried first.

    At least `limit` repositories are read, unless that takes more than `scale` times the usual descents.
    """
    if plan.repository is not None:
        # Index: event_repository. On SQLite, event_repository_without_pulls for events that aren't pulls.
        of_repository = Branch(lane, Q(repository=plan.repository.pk))
        found = [Source([of_repository], plan.is_answered_by(lane))]
    else:
        found = [*_from_repositories(plan, span, lane, limit, MAX_DESCENTS * scale // len(plan.lanes))]
    if found and not found[0].branches:
        return found
    found += _from_conditions(plan, lane)
    if all(source.is_windowed for source in found):
        # The whole lane. Index: the primary key. On SQLite, event_without_pulls for events that aren't pulls.
        # A page of an MSR admin takes 20 ms. Viewers who see most events get farthest with it, too.
        found.append(Source([Branch(lane)], plan.is_answered_by(lane)))
    return found


def _from_conditions(plan: Plan, lane: bool) -> Iterator[Source]:
    """Yield the sources for conditions that have an index, with a branch for each value.

    `type=DELETE` as one literal branch a kind takes 0.5 ms and 286 buffers. With a list of kinds, PostgreSQL
    would walk the whole lane (4.9 s, 1.35 million buffers). Indexes: event_kind, event_actor, event_tag,
    event_digest, event_policy.
    """
    kinds = None if lane or plan.possible_kinds is None else plan.possible_kinds - PULLS
    if kinds is not None and len(kinds) <= MAX_KIND_BRANCHES:
        branches = [Branch(lane, kinds=[kind]) for kind in sorted(kinds)]
        yield Source(branches, plan.is_answered_by(lane, kinds=True), is_of_values=True)
    for condition in plan.conditions:
        if condition.branches and not (lane and condition.without_pulls):
            branches = [Branch(lane, branch) for branch in condition.branches]
            yield Source(branches, plan.is_answered_by(lane, condition), is_of_values=True)


def _from_repositories(plan: Plan, span: Span, lane: bool, limit: int, descents: int) -> Iterator[Source]:
    """Yield a source for the repositories that can have events on the page, if these are few.

    Of the viewer's repositories, only those with the newest ids can have events on the first page, and the
    last of these ids is a lower bound for it: 0.34 ms and 409 buffers for 150 quiet repositories, 1.3 ms and
    417 buffers for 2,000. Without the bounds, it was 11 s and 1.5 million buffers. Indexes: newest_readable,
    newest_restricted, newest_pull, event_repository, event_account, event_subject.
    """
    named = plan.named_repositories
    if plan.access.sees_everything and not named:
        return
    if span.newer and plan.first_event_id:
        span = replace(span, low=max(span.low, plan.first_event_id))
    found = plan.newest_ids[lane].above(span, limit, descents)
    if found is None:
        return
    active, end = found
    own = plan.access.viewer_id is not None and not plan.access.sees_everything and not lane and not named
    # With a bound on both sides, PostgreSQL skips the default partition, and reads one month after the other.
    branches = [Branch(lane, Q(id__lte=max(active.values())), active)] if active else []
    if own:
        account = Q(repository=None, actor_user=plan.access.viewer_id)
        about_account = Q(subject_user=plan.access.viewer_id) & ~account
        branches += [Branch(lane, condition) for condition in (account, about_account)]
    if end is not None and not span.low <= end < span.high:
        end = None
    yield Source(branches, plan.is_plain and plan.access.sees_everything, end, is_windowed=True)


@dataclass(frozen=True)
class NewestIds:
    """The ids of the newest events of the repositories in which a viewer may see events of a lane."""

    rows: Mapping[str, QuerySet[NewestEvents]]
    """The repositories by column of `NewestEvents`."""
    fetched: dict[Any, list[tuple[int, UUID]]] = field(default_factory=dict)
    """What was fetched, by column, lowest id and number. Several rounds for a page need the same."""

    def above(self, span: Span, limit: int, descents: int) -> tuple[dict[int, UUID], UUID | None] | None:
        """Return the repositories that can have events at the start of a span, with their newest ids.

        Also returns the id up to which no other repository can have any. If the span is read from the newest
        event on, the repositories are those with the `limit` highest ids in the span, and those with newer
        events, too. Returns None if these are too many for an index to be descended once for each of them.
        Each repository takes a descent a month, and the span ends after as many months as `descents` allows.
        """
        is_start = span.high == LAST_ID and not span.newer
        known = self._fetch(span.low, limit if is_start else descents + 1)
        ids = sorted(known.values())
        if not ids:
            return {}, None
        if span.newer:
            return None if len(ids) > descents else (known, _months_after(span, ids, descents))
        below = bisect_left(ids, span.high)
        if len(ids) - below >= descents:
            return None
        last = ids[below - limit] if below >= limit else None
        end = span.nearest([last, _reach(span, ids, descents)])
        return {pk: id for pk, id in known.items() if end is None or id >= end}, end

    def _fetch(self, low: UUID, number: int) -> dict[int, UUID]:
        """Return the repositories with the highest ids, up to `number` from each column."""
        known: dict[int, UUID] = {}
        for column, rows in self.rows.items():
            key = column, low, number
            if key not in self.fetched:
                pairs = rows.filter(**{f"{column}__gte": low}).order_by(f"-{column}")
                self.fetched[key] = list(pairs.values_list("repository_id", column)[:number])
            for pk, id in self.fetched[key]:
                known[pk] = max(id, known.get(pk, id))
        return known


def _reach(span: Span, ids: Sequence[UUID], descents: int) -> UUID | None:
    """Return the id down to which the repositories with these ids, the highest last, take some descents.

    None stands for the end of the span. Even the repositories of a single month can be too many. If all of
    them are read for `MAX_MONTHS`, they are so few that what is left of the span takes few descents, too.
    """
    month = _month(moment_of(min(ids[-1], UUID(int=max(span.high.int - 1, 0)))))
    reached: UUID | None = None
    for _ in range(MAX_MONTHS):
        begin = first_id(month)
        active = len(ids) - bisect_left(ids, begin)
        if active > descents:
            return reached or ids[-descents]
        if begin <= span.low:
            return None
        descents -= active
        reached = begin
        month -= relativedelta(months=1)
    return reached if reached and ids[0] < reached else None


def _months_after(span: Span, ids: Sequence[UUID], descents: int) -> UUID | None:
    """Return the id up to which the repositories with these ids, the highest last, take some descents."""
    months = max(descents // len(ids), 1)
    after = _month(moment_of(span.low)) + relativedelta(months=months)
    return UUID(int=first_id(after).int - 1) if first_id(after) <= ids[-1] else None


def _newest_ids(plan: Plan, lane: bool) -> NewestIds:
    rows = {}
    for column in COLUMNS_OF_LANES[lane]:
        if not (categories := _categories_in(plan, column)):
            continue
        found = NewestEvents.objects.filter(**{f"{column}__gt": NewestEvents.NEVER})
        if not plan.access.sees_everything:
            found = found.filter(_is_visible(plan, categories))
        for repositories in plan.named_repositories:
            found = found.filter(repository_id__in=repositories)
        rows[column] = found
    return NewestIds(rows)


def _categories_in(plan: Plan, column: str) -> set[str]:
    """Return the categories that are asked for and count in a column."""
    counted: set[str] = {*CATEGORIES_OF_COLUMNS[column]}
    if plan.kinds is None:
        return counted
    asked = {category_of(kind) for kind in plan.kinds}
    # Events in categories without a permission of their own count as restricted, too.
    return asked - {*READ_CATEGORIES, Category.PULL} if column == "restricted" else asked & counted


def _is_visible(plan: Plan, categories: Collection[str]) -> Q:
    """Return the condition for the repositories in which a viewer may see events of any of the categories.

    Ids are checked while an index is read. To find 51 of 150 quiet repositories of 20,000, PostgreSQL would
    otherwise look up 15,000 (45,000 buffers, 18 ms instead of 443 and 0.7 ms).
    """
    known = [category for category in REPOSITORY_CATEGORIES if category in categories]
    wanted = {VIEW_UNKNOWN_EVENTS, *(category.permission for category in known)}
    ids = plan.access.repository_ids(wanted)
    if ids is None:
        return Q(repository_id__in=plan.access.repositories(wanted).order_by().values("pk"))
    return is_among("repository_id", ids)


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def candidates() -> EventQuerySet:
    """Return all events. What is read of them is combined with a queryset from the permission gate."""
    return Event.objects.all()
