"""The registry that is measured: a few busy repositories, many quiet ones, and mostly pulls."""

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
PEOPLE = 100
BUSIEST = "acme/web"
QUIET = 5
"""The repositories of a viewer with few grants. With 10,000 events they don't fill a page yet."""
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
"""What the events are spread over, however many."""
PROTOTYPE = 20_000
"""Events that are recorded to be repeated, where it doesn't matter how they came."""


@dataclass(frozen=True)
class World:
    """The repositories' names, the busiest first, and when the first event occurs."""

    names: list[str]
    start: datetime
    interval: timedelta
    """Between two events, in whole milliseconds."""

    def moment(self, number: int) -> datetime:
        """Return when an event occurs."""
        return self.start + number * self.interval


def make(events: int) -> World:
    """Make people and repositories, for so many events until now."""
    demo.load_world()
    users = get_user_model()
    users._default_manager.bulk_create(users(username=f"person-{number}") for number in range(PEOPLE))
    for number in range(ORGANIZATIONS):
        Organization.objects.create(name=f"team-{number}")  # makes its namespace, too
    namespaces = list(Namespace.objects.filter(name__startswith="team-"))
    made = Repository.objects.bulk_create(
        Repository(namespace=namespaces[number % ORGANIZATIONS], name=f"service-{number}")
        for number in range(REPOSITORIES)
    )
    for level in (Level.READ, Level.ADMIN):
        _grant(f"few-{level.label}", level, made[-QUIET:])
        _grant(f"many-{level.label}", level, made)
    names = [BUSIEST, *(repository.full_name for repository in made)]
    interval = SPAN / events // MILLISECOND * MILLISECOND
    return World(names, datetime.now(UTC) - events * interval, interval)


def _grant(username: str, level: Level, repositories: list[Repository]) -> None:
    user = get_user_model()._default_manager.create(username=username)
    granted = Repository.objects.filter(pk__in=[repository.pk for repository in repositories])
    RepositoryUserPermission.objects.bulk_assign_perm(level.value, user, granted)


def record(world: World, numbers: range) -> float:
    """Record the events of these numbers; return how many seconds that took."""
    account, seconds = registry_account(), 0.0
    with tqdm(total=len(numbers), desc="Recording", unit="event", unit_scale=True) as progress:
        for start in range(0, len(numbers), BATCH):
            drafts = list(_drafts(world, numbers[start : start + BATCH]))
            create_ahead(drafts[0].occurred_at)  # as Celery beat does, each day
            began = perf_counter()
            record_events(drafts, account.pk)
            seconds += perf_counter() - began
            progress.update(len(drafts))
    tallies.fold()  # as Celery beat does, each minute
    tags.fold()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # as autovacuum does, some time later
    return seconds


REPEAT = """
    INSERT INTO registry_activity_event ({columns})
    SELECT {values} FROM registry_activity_event CROSS JOIN (SELECT %(milliseconds)s::bigint AS shift) AS given
    WHERE id < %(end)s
"""
LATER = {
    # The id begins with the time, in milliseconds.
    "id": "(lpad(to_hex(('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint + shift), 12, '0')"
    " || substr(translate(id::text, '-', ''), 13))::uuid",
    "occurred_at": "occurred_at + shift * interval '1 millisecond'",
}
COUNT = """
    INSERT INTO registry_activity_tally (repository_id, unit, start, category, is_pull, events)
    SELECT repository, unit, date_trunc(unit, occurred_at, 'UTC'), category, is_pull, COUNT(*)
    FROM registry_activity_event, unnest(ARRAY['hour', 'day', 'week']) AS unit,
        unnest(array_remove(ARRAY[0, repository_id], NULL)) AS repository
    GROUP BY 1, 2, 3, 4, 5
"""


def fill(world: World, events: int) -> None:
    """Fill the table in a short time: some events are recorded, and repeated later and later."""
    record(world, range(PROTOTYPE))
    repeat(world, events)


def repeat(world: World, events: int) -> None:
    """Repeat the events that were recorded, the first `PROTOTYPE`, until there are so many."""
    columns = [field.column for field in Event._meta.local_concrete_fields if field.column]
    statement = REPEAT.format(
        columns=", ".join(columns), values=", ".join(LATER.get(column, column) for column in columns)
    )
    with connection.cursor() as cursor:
        for start in tqdm(range(PROTOTYPE, events, PROTOTYPE), desc="Repeating"):
            create_ahead(world.moment(start))
            shift = (world.moment(start) - world.start) // MILLISECOND
            cursor.execute(statement, {"milliseconds": shift, "end": first_id(world.moment(PROTOTYPE))})
        cursor.execute("TRUNCATE registry_activity_tally")
        cursor.execute(COUNT)
        cursor.execute("VACUUM ANALYZE")


def _drafts(world: World, numbers: range) -> Iterator[Draft]:
    chance = random.Random(numbers.start)
    # The second repository has half as many events as the first, the third a third of them, …
    shares = [1 / rank for rank in range(1, len(world.names) + 1)]
    repositories = chance.choices(world.names, shares, k=len(numbers))
    kinds = chance.choices(list(KINDS), list(KINDS.values()), k=len(numbers))
    for number, repository, kind in zip(numbers, repositories, kinds, strict=True):
        notification_id = str(UUID(int=chance.getrandbits(128), version=4))
        yield Draft(
            kind=kind,
            repository_name=repository,
            occurred_at=world.moment(number),
            source_id=notification_id,
            tag=f"v{number % 20}" if kind.endswith("_tag") else "",
            digest="" if kind == "delete_tag" else f"sha256:{chance.getrandbits(256):064x}",
            actor_type=ActorType.USER,
            actor_name=f"person-{number % PEOPLE}",
            details={
                "client_address": f"10.0.{number % 250}.7:40000",
                "user_agent": "docker/29.1.2 go/go1.25 os/linux",
                "media_type": "application/vnd.oci.image.manifest.v1+json",
                "size": 1024,
                "request_id": str(UUID(int=chance.getrandbits(128), version=4)),
                "node": "registry-1:5000",
                "notification_id": notification_id,
            },
        )
