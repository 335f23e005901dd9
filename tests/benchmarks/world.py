"""Create the data for the benchmarks: a few busy repositories, many quiet ones, and mostly pulls."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from tqdm import tqdm

from activity.identity import MILLISECOND, first_id
from activity.models import ActorType, Event
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.sources.registries import registry_account
from activity.storage import tags, tallies
from activity.storage.partitions import create_ahead
from activity.storage.rows import BATCH
from msr_project import demo
from repositories.access.levels import Level
from repositories.models import Namespace, Organization, Repository, RepositoryUserPermission

REPOSITORIES = 2_000
ORGANIZATIONS = 50
USERS = 100
BUSIEST = "acme/web"
QUIET = 5
"""The number of repositories that the users named `few-…` can access.

If there are 10,000 events, the ones in these repositories don't fill a page.
"""
PULLS = 0.88
KINDS = {
    "get_tag": 0.6,
    "get_manifest": PULLS - 0.6,
    "create_manifest": 0.045,
    "update_tag": 0.045,
    "scan": 0.025,
    "delete_tag": 0.005,
}
SPAN = timedelta(days=180)
"""The time span of the events, regardless of how many there are."""
PROTOTYPE_EVENTS = 20_000
"""The number of events that are recorded normally. All other events are copies of these."""


@dataclass(frozen=True)
class World:
    """The repositories, and the times of the events."""

    names: list[str]
    """The full names of the repositories, busiest first."""
    start: datetime
    interval: timedelta
    """The time between two events, in whole milliseconds."""

    def moment(self, number: int) -> datetime:
        """Return the time of an event, given its number."""
        return self.start + number * self.interval


def create_world(events: int) -> World:
    """Create users and repositories, and return a world whose events are spread over the last 180 days."""
    demo.create_objects()
    user_model = get_user_model()
    user_model._default_manager.bulk_create(
        user_model(username=f"person-{number}") for number in range(USERS)
    )
    for number in range(ORGANIZATIONS):
        Organization.objects.create(name=f"team-{number}")  # also creates its namespace
    namespaces = list(Namespace.objects.filter(name__startswith="team-"))
    created = Repository.objects.bulk_create(
        Repository(namespace=namespaces[number % ORGANIZATIONS], name=f"service-{number}")
        for number in range(REPOSITORIES)
    )
    for level in (Level.READ, Level.ADMIN):
        _create_viewer(f"few-{level.label}", level, created[-QUIET:])
        _create_viewer(f"many-{level.label}", level, created)
    names = [BUSIEST, *(repository.full_name for repository in created)]
    interval = SPAN / events // MILLISECOND * MILLISECOND
    return World(names, datetime.now(UTC) - events * interval, interval)


def _create_viewer(username: str, level: Level, repositories: list[Repository]) -> None:
    user = get_user_model()._default_manager.create(username=username)
    granted = Repository.objects.filter(pk__in=[repository.pk for repository in repositories])
    RepositoryUserPermission.objects.bulk_assign_perm(level.value, user, granted)


def record(world: World, numbers: range) -> float:
    """Record the events with these numbers, and return how many seconds the recording took."""
    account, seconds = registry_account(), 0.0
    with tqdm(total=len(numbers), desc="Recording", unit="event", unit_scale=True) as progress:
        for start in range(0, len(numbers), BATCH):
            drafts = list(_drafts(world, numbers[start : start + BATCH]))
            create_ahead(drafts[0].occurred_at)  # in production, Celery beat does this daily
            started = perf_counter()
            record_events(drafts, account.pk)
            seconds += perf_counter() - started
            progress.update(len(drafts))
    tallies.fold()  # in production, Celery beat does this every minute
    tags.fold()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # otherwise, autovacuum would do this some time later
    return seconds


COPY_EVENTS = """
    INSERT INTO registry_activity_event ({columns})
    SELECT {values}
    FROM registry_activity_event CROSS JOIN (SELECT %(milliseconds)s::bigint AS shift) AS params
    WHERE id < %(end)s
"""
SHIFTED = {
    # The first 48 bits of an event id are the time in milliseconds.
    "id": "(lpad(to_hex(('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint + shift), 12, '0')"
    " || substr(translate(id::text, '-', ''), 13))::uuid",
    "occurred_at": "occurred_at + shift * interval '1 millisecond'",
    "received_at": "received_at + shift * interval '1 millisecond'",
}
COUNT_TALLIES = """
    INSERT INTO registry_activity_tally (repository_id, unit, start, category, is_pull, events)
    SELECT repository, unit, date_trunc(unit, occurred_at, 'UTC'), category, is_pull, COUNT(*)
    FROM registry_activity_event, unnest(ARRAY['hour', 'day', 'week']) AS unit,
        unnest(array_remove(ARRAY[0, repository_id], NULL)) AS repository
    GROUP BY 1, 2, 3, 4, 5
"""


def fill(world: World, events: int) -> None:
    """Fill the table quickly: record some events, and copy them to later times."""
    record(world, range(PROTOTYPE_EVENTS))
    copy_events(world, events)


def copy_events(world: World, events: int) -> None:
    """Copy the first `PROTOTYPE_EVENTS` events to later times, until the table has at least `events` rows."""
    columns = [field.column for field in Event._meta.local_concrete_fields if field.column]
    statement = COPY_EVENTS.format(
        columns=", ".join(columns), values=", ".join(SHIFTED.get(column, column) for column in columns)
    )
    with connection.cursor() as cursor:
        for start in tqdm(range(PROTOTYPE_EVENTS, events, PROTOTYPE_EVENTS), desc="Copying"):
            create_ahead(world.moment(start))
            shift = (world.moment(start) - world.start) // MILLISECOND
            cursor.execute(
                statement, {"milliseconds": shift, "end": first_id(world.moment(PROTOTYPE_EVENTS))}
            )
        cursor.execute("TRUNCATE registry_activity_tally")
        cursor.execute(COUNT_TALLIES)
        cursor.execute("VACUUM ANALYZE")


def _drafts(world: World, numbers: range) -> Iterator[Draft]:
    rng = random.Random(numbers.start)
    # The second repository has half as many events as the first, the third has a third as many, and so on.
    shares = [1 / rank for rank in range(1, len(world.names) + 1)]
    repositories = rng.choices(world.names, shares, k=len(numbers))
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=len(numbers))
    for number, repository, kind in zip(numbers, repositories, kinds, strict=True):
        notification_id = str(UUID(int=rng.getrandbits(128), version=4))
        yield Draft(
            kind=kind,
            repository_name=repository,
            occurred_at=world.moment(number),
            received_at=world.moment(number),
            source_id=notification_id,
            tag=f"v{number % 20}" if kind.endswith("_tag") else "",
            digest="" if kind == "delete_tag" else f"sha256:{rng.getrandbits(256):064x}",
            actor_type=ActorType.USER,
            actor_name=f"person-{number % USERS}",
            details={
                "client_address": f"10.0.{number % 250}.7",
                "user_agent": "docker/29.1.2 go/go1.25 os/linux",
                "media_type": "application/vnd.oci.image.manifest.v1+json",
                "size": 1024,
                "request_id": str(UUID(int=rng.getrandbits(128), version=4)),
                "node": "registry-1:5000",
                "notification_id": notification_id,
            },
        )
