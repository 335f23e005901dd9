"""Create the data for the benchmarks: an ageing registry in which a few repositories are busy.

- The second repository has half as many events as the first, the third has a third as many, and so on.
- A third of the repositories went out of use, each at its own time.
- 88% of the events are pulls.

The first events are recorded as messages, as in production. They are then copied to later times, again and
again. Copying a million events takes PostgreSQL a minute, recording them takes several.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import accumulate
from time import perf_counter
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from tqdm import tqdm

from activity.catalogue import kinds_of
from activity.identity import MILLISECOND, first_id
from activity.models import Event, JournalEntry, NewestEvents
from activity.sources import recorder
from activity.sources.registries import registry_account
from activity.storage import newest, tags, tallies
from activity.storage.partitions import create_ahead
from msr_project import demo
from repositories.access.levels import READ_CATEGORIES, Category, Level
from repositories.models import (
    Namespace,
    NamespaceUserPermission,
    Organization,
    Repository,
    RepositoryUserPermission,
)
from tests.benchmarks import messages

ORGANIZATIONS = 200
PEOPLE = 5_000
BUSIEST = "acme/web"
KINDS = {
    messages.PULL: 0.66,
    messages.PULL_BY_DIGEST: 0.24,
    messages.PUSH: 0.055,  # a push creates two events
    messages.DELETE: 0.01,
    messages.HEAD: 0.035,  # creates no event
}
BATCH = 1_000


@dataclass(frozen=True)
class World:
    """The size of a world, from which everything else follows."""

    events: int

    @property
    def recorded(self) -> int:
        """The number of messages that are recorded, and then copied."""
        return max(5_000, min(100_000, self.events // 10))

    @property
    def slices(self) -> int:
        """The number of times that the recorded events appear, including the original."""
        return max(1, round(self.events / self.recorded))

    @property
    def repositories(self) -> int:
        """The number of repositories: 2,000 with a million events, 20,000 with 20 million."""
        return min(20_000, max(2_000, self.events // 500))

    @property
    def span(self) -> timedelta:
        """The time span of the events: half a year with a million events, two years with 20 million."""
        return timedelta(days=min(730, max(180, self.events // 25_000)))

    @property
    def slice(self) -> timedelta:
        """The time span of the recorded events, in whole milliseconds."""
        return self.span / self.slices // MILLISECOND * MILLISECOND

    def start(self, now: datetime) -> datetime:
        return now - self.slices * self.slice

    def name(self, rank: int) -> str:
        """Return the name of a repository, given its rank among the busiest, beginning with 0."""
        return f"team-{rank % ORGANIZATIONS}/service-{rank}" if rank else BUSIEST

    def names(self) -> list[str]:
        """Return the names of all repositories, busiest first."""
        return [self.name(rank) for rank in range(self.repositories)]

    def in_use(self, rank: int) -> float:
        """Return which part of the time span a repository is used, from its beginning."""
        return 0.05 + 0.8 * random.Random(rank).random() if rank > 100 and rank % 3 == 0 else 1

    def quiet(self, number: int, before: float = 0.85) -> list[str]:
        """Return the names of repositories that went out of use, spread over the time before `before`."""
        ranks = [rank for rank in range(self.repositories) if self.in_use(rank) < before]
        return [self.name(rank) for rank in ranks[:: max(1, len(ranks) // number)][:number]]


def create(world: World) -> None:
    """Create users, repositories and the viewers whose pages are measured."""
    demo.create_objects()
    users = get_user_model()._default_manager
    users.bulk_create(get_user_model()(username=f"person-{number}") for number in range(1, PEOPLE + 1))
    for number in range(ORGANIZATIONS):
        Organization.objects.create(name=f"team-{number}")  # also creates its namespace
    namespaces = {namespace.name: namespace for namespace in Namespace.objects.all()}
    split = (name.split("/") for name in world.names()[1:])
    Repository.objects.bulk_create(
        Repository(namespace=namespaces[namespace], name=name, known_since=datetime.now(UTC) - world.span)
        for namespace, name in split
    )
    everywhere = users.create(username="reader-everywhere")
    NamespaceUserPermission.objects.bulk_assign_perm(Level.READ, everywhere, Namespace.objects.all())
    names, many = world.names(), world.repositories // 10
    for username, permission, granted in (
        ("busy", Level.ADMIN, names[:many]),
        ("quiet", Level.ADMIN, world.quiet(many)),
        ("quiet-150", Level.ADMIN, world.quiet(150)),
        ("quiet-51", Level.ADMIN, world.quiet(51)),
        ("quiet-3", Level.ADMIN, world.quiet(3, before=0.7)),
        ("deletions", Category.DELETE.permission, names[:many]),
    ):
        viewer = users.create(username=username)
        repositories = Repository.objects.filter(full_name__in=granted)
        RepositoryUserPermission.objects.bulk_assign_perm(permission, viewer, repositories)
    users.create(username="no-grants")


# --- Recording ----------------------------------------------------------------------------------

Message = tuple[datetime, bytes]
"""The time at which a message was received, and its body."""


def record_all(world: World, start: datetime) -> float:
    """Record the world's messages, and return how many seconds the recording took."""
    seconds, bar = 0.0, tqdm(total=world.recorded, desc="Recording", unit="message", unit_scale=True)
    batch: list[Message] = []
    for message in _messages(world, start):
        batch.append(message)
        if len(batch) == BATCH:
            create_ahead(batch[0][0])  # in production, Celery beat does this daily
            seconds += record(batch)
            bar.update(len(batch))
            batch = []
    bar.close()
    fold()
    return seconds


def record(batch: Sequence[Message]) -> float:
    """Append messages to the journal, record them, and return how many seconds the recording took."""
    account = registry_account()
    JournalEntry.objects.bulk_create(
        JournalEntry(
            source=JournalEntry.Source.REGISTRY,
            account=account,
            received_at=received_at,
            content=body,
            size=len(body),
        )
        for received_at, body in batch
    )
    started = perf_counter()
    while recorder.record_batch():
        pass
    return perf_counter() - started


def fold() -> None:
    """Do what background tasks do in production some time after recording."""
    tallies.fold()
    tags.fold()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _messages(world: World, start: datetime) -> Iterator[Message]:
    rng = random.Random(world.events)
    names = world.names()
    shares = list(accumulate(1 / rank for rank in range(1, len(names) + 1)))
    repositories = [*names, *rng.choices(names, cum_weights=shares, k=world.recorded - len(names))]
    rng.shuffle(repositories)
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=world.recorded)
    pushes: Counter[str] = Counter()
    for number, (repository, kind) in enumerate(zip(repositories, kinds, strict=True)):
        moment = start + number * (world.slice / world.recorded)
        pushes[repository] += kind == messages.PUSH
        # Most pulls are of the newest image.
        push = (
            pushes[repository]
            if kind == messages.PUSH
            else max(0, pushes[repository] - int(rng.expovariate(2)))
        )
        digest = f"sha256:{sha256(f'{repository}:{push}'.encode()).hexdigest()}"
        body = messages.fill(
            kind,
            rng,
            moment,
            repository=repository,
            tag="latest" if push % 4 == 0 else f"v{push}",
            digest=digest,
            actor=messages.person(rng),
        )
        yield moment, body


# --- Copying ------------------------------------------------------------------------------------

COPY_EVENTS = """
    INSERT INTO registry_activity_event ({columns})
    SELECT {values}
    FROM registry_activity_event AS event CROSS JOIN registry_activity_newestposition AS newest
        CROSS JOIN (SELECT %(milliseconds)s::bigint AS shift) AS params
        LEFT JOIN bench_quiet ON bench_quiet.repository = event.repository_id
    WHERE event.id < %(end)s
        AND (bench_quiet.until IS NULL OR occurred_at + shift * interval '1 ms' < bench_quiet.until)
    ORDER BY event.id
    ON CONFLICT DO NOTHING -- if copying was interrupted
"""
ADVANCE_POSITION = """
    UPDATE registry_activity_newestposition SET position = GREATEST(
        position,
        (SELECT MAX(position) FROM registry_activity_event WHERE id >= %(start)s AND id < %(end)s)
    )
"""
# PostgreSQL 15 has no MAX of ids.
NOTE_NEWEST = """
    INSERT INTO registry_activity_newestevents (repository_id, readable, restricted, pull)
    SELECT repository_id, {columns}
    FROM registry_activity_event
    WHERE id >= %(start)s AND id < %(end)s AND repository_id IS NOT NULL
    GROUP BY repository_id
    {merge}
"""
SHIFTED = {
    # The first 48 bits of an event id are the time in milliseconds.
    "id": "(lpad(to_hex(('x' || left(translate(event.id::text, '-', ''), 12))::bit(48)::bigint + shift), 12,"
    " '0')"
    " || substr(translate(event.id::text, '-', ''), 13))::uuid",
    "position": "newest.position + row_number() OVER (ORDER BY event.id)",
    "occurred_at": "occurred_at + shift * interval '1 ms'",
    "received_at": "received_at + shift * interval '1 ms'",
}
COUNT_TALLIES = """
    TRUNCATE registry_activity_tally;
    INSERT INTO registry_activity_tally (repository_id, unit, start, category, is_pull, events)
    SELECT repository, unit, date_bin(period, occurred_at, '1970-01-05 00:00Z'), {category}, is_pull, COUNT(*)
    FROM registry_activity_event,
        unnest(ARRAY['30 minutes', '1 day', '7 days']::interval[]) WITH ORDINALITY AS periods(period, unit),
        unnest(array_remove(ARRAY[0, repository_id], NULL)) AS repository
    WHERE unit > 1 OR occurred_at >= now() - interval '33 days'
    GROUP BY 1, 2, 3, 4, 5
"""


def prepare_copying(world: World, start: datetime) -> None:
    """Write down when each repository goes out of use."""
    ids = dict(Repository.objects.values_list("full_name", "pk"))
    rows = [
        (ids[world.name(rank)], start + world.in_use(rank) * world.span)
        for rank in range(world.repositories)
        if world.in_use(rank) < 1
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS bench_quiet (repository bigint PRIMARY KEY, until timestamptz)"
        )
        cursor.executemany("INSERT INTO bench_quiet VALUES (%s, %s) ON CONFLICT DO NOTHING", rows)


def copy_slice(world: World, start: datetime, number: int) -> None:
    """Copy the recorded events to the slice with this number, which begins `number` slices later."""
    columns = [field.column for field in Event._meta.local_concrete_fields if field.column]
    statement = COPY_EVENTS.format(
        columns=", ".join(columns),
        values=", ".join(SHIFTED.get(column, f"event.{column}") for column in columns),
    )
    shift = number * world.slice
    for month in range(0, world.slice.days + 1, 28):
        create_ahead(start + shift + timedelta(days=month))
    with connection.cursor() as cursor:
        params: dict[str, Any] = {"milliseconds": shift // MILLISECOND, "end": first_id(start + world.slice)}
        cursor.execute(statement, params)
        first, end = start + shift, start + shift + world.slice
        bounds = {"start": first_id(first), "end": first_id(end)}
        cursor.execute(ADVANCE_POSITION, bounds)
        cursor.execute(_note_newest(), bounds)


def _note_newest() -> str:
    """Return the statement that notes the newest events of each repository, as recording does."""
    readable = f"kind IN ({', '.join(str(kind.number) for kind in kinds_of(READ_CATEGORIES))})"
    conditions = {
        "readable": f"NOT is_pull AND {readable}",
        "restricted": f"NOT is_pull AND NOT {readable}",
        "pull": "is_pull",
    }
    columns = [
        f"COALESCE(MAX(id::text) FILTER (WHERE {conditions[column]}), '{NewestEvents.NEVER}')::uuid"
        for column in NewestEvents.COLUMNS
    ]
    return NOTE_NEWEST.format(columns=", ".join(columns), merge=newest.MERGE)


def count_tallies() -> None:
    """Count the copied events, which recording would have done one by one."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_TALLIES.format(category=tallies.TALLIED_CATEGORY))
        cursor.execute("VACUUM ANALYZE")
