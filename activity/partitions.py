"""The partitions of the event table on PostgreSQL. No other module knows of them.

`activity_event` is split by `is_pull` into two lanes, and each lane by month, as ranges of the id,
which begins with the time. So pulls can be dropped apart from the rest, a month at a time. Months are
made ahead by Celery beat; an event of a month that has no partition goes to its lane's default.

On SQLite the table is an ordinary one, and nothing here does anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.db import OperationalError, connection, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.sql.datastructures import BaseTable

from activity import append_only, removal, tallies
from activity.identity import first_id
from activity.models import Event
from activity.removal import Gone

logger = logging.getLogger(__name__)

TABLE = "activity_event"
LANES = {"pull": True, "other": False}
MONTHS_AHEAD = 3
LOCK_TIMEOUT = "500ms"
"""How long a change of partitions may wait for its lock, and recording and reading behind it."""
TRIES = 5
REST = 0.5
"""Seconds between two tries, in which those that waited get on."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Partition:
    """The events of one lane and month."""

    lane: str
    start: datetime

    @property
    def name(self) -> str:
        return f"{TABLE}_{self.lane}_{self.start:%Y_%m}"

    @property
    def is_pull(self) -> bool:
        return LANES[self.lane]

    @property
    def end(self) -> datetime:
        return self.start + relativedelta(months=1)

    @property
    def bounds(self) -> tuple[UUID, UUID]:
        """The first id in it, and the first one after it."""
        return first_id(self.start), first_id(self.end)


class CreatePartitionedModel(migrations.CreateModel):
    """`CreateModel` for the event table: on PostgreSQL with its lanes, elsewhere as usual."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.name)
        sql, params = schema_editor.table_sql(model)
        # A unique key must hold what the table is split by; ids are unique without it, as a bit of
        # each says whether it is a pull.
        sql = sql.replace('"id" uuid NOT NULL PRIMARY KEY', '"id" uuid NOT NULL')
        sql = sql.removesuffix(")") + ', PRIMARY KEY ("id", "is_pull")) PARTITION BY LIST ("is_pull")'
        schema_editor.execute(sql, params)
        for index in model._meta.indexes:
            schema_editor.add_index(model, index)
        for lane, is_pull in LANES.items():
            parent = f"{TABLE}_{lane}"
            schema_editor.execute(
                f"CREATE TABLE {parent} PARTITION OF {TABLE} FOR VALUES IN ({is_pull})"
                " PARTITION BY RANGE (id)"
            )
            schema_editor.execute(f"CREATE TABLE {parent}_default PARTITION OF {parent} DEFAULT")


def is_partitioned() -> bool:
    return connection.vendor == "postgresql"


def months_from(start: datetime, count: int) -> list[datetime]:
    """Return the beginnings, in UTC, of the month of `start` and of those after it."""
    first = start.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return [first + relativedelta(months=number) for number in range(count)]


def tables() -> list[str]:
    """Return all tables that hold events, or are divided into those that do."""
    with connection.cursor() as cursor:
        there = [table.name for table in connection.introspection.get_table_list(cursor)]
    return [name for name in there if name == TABLE or name.startswith(tuple(f"{TABLE}_{x}" for x in LANES))]


def make_ahead(now: datetime) -> list[Partition]:
    """Make the partitions of this month and the next ones, where they are missing, and return them."""
    if not is_partitioned():
        return []
    there = {partition.name for partition in attached()}
    wanted = [Partition(lane, month) for month in months_from(now, MONTHS_AHEAD + 1) for lane in LANES]
    made = [partition for partition in wanted if partition.name not in there]
    for partition in made:
        _trying(partial(_make, partition))
    return made


def attached() -> list[Partition]:
    """Return the partitions of the table that hold a month, oldest first."""
    return (
        _found("EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid)") if is_partitioned() else []
    )


def detached() -> list[Partition]:
    """Return what a run that died had detached, and neither dropped nor attached again."""
    return (
        _found("NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid)")
        if is_partitioned()
        else []
    )


def detach(partition: Partition) -> None:
    """Take a partition out of the table. Its events are out of everybody's sight then.

    Raises OperationalError if a reader or a recording kept it from its lock for all tries.
    """
    _trying(partial(_alter, f"ALTER TABLE {TABLE}_{partition.lane} DETACH PARTITION {partition.name}"))


def attach(partition: Partition) -> None:
    """Bring a partition back into the table, if it was detached."""
    _trying(partial(_attach_again, partition))


def keep_detached(partition: Partition) -> bool:
    """Keep others from attaching a partition until the transaction ends; tell whether it is detached."""
    _execute(f"LOCK TABLE {partition.name} IN SHARE MODE")
    return partition in detached()


def events(partition: Partition) -> QuerySet[Event]:
    """Return the events of a partition, attached or not."""
    found = Event.objects.all()
    alias = found.query.get_initial_alias()
    found.query.alias_map[alias] = BaseTable(partition.name, alias)
    return found


def drop(partition: Partition, *, by_repository: bool) -> Gone:
    """Drop a partition that was detached, within a transaction, and return how many events went."""
    _execute(f"DROP TABLE {partition.name}")
    return tallies.drop([partition.is_pull], partition.start, partition.end, by_repository=by_repository)


@transaction.atomic
def _make(partition: Partition) -> None:
    # Attached rather than made in place: that would lock readers and recording out of the table.
    # With its indexes, so that they aren't built while the table is locked.
    like = f"{TABLE}_{partition.lane} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES"
    _execute(f"CREATE TABLE {partition.name} (LIKE {like})")
    append_only.protect(partition.name)
    _attach(partition)


@transaction.atomic
def _attach_again(partition: Partition) -> None:
    if partition not in detached():
        return
    low, high = partition.bounds
    again = Event.objects.filter(is_pull=partition.is_pull, id__gte=low, id__lt=high)
    _attach(partition, again.filter(id__in=RawSQL(f"SELECT id FROM {partition.name}", [])))  # noqa: S611


def _attach(partition: Partition, again: QuerySet[Event] | None = None) -> None:
    """Attach a table, with the events of its month from the default partition, but for those given."""
    low, high = partition.bounds
    # Said beforehand, since attaching would read through it for that while the table is locked.
    check = f"CHECK ({'' if partition.is_pull else 'NOT '}is_pull AND id >= '{low}' AND id < '{high}')"
    _execute(f"ALTER TABLE {partition.name} ADD CONSTRAINT bounds {check}")
    if again is None:
        _take_strays(partition)  # most of them, while recording goes on
    _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    # An INSERT that was on its way to the default partition would fail once that has lost the month.
    _execute(f"LOCK TABLE ONLY {TABLE} IN SHARE ROW EXCLUSIVE MODE")
    if again is not None:
        removal.remove(again)  # delivered again meanwhile, so there twice
    _take_strays(partition)
    parent, bounds = f"{TABLE}_{partition.lane}", f"FROM ('{low}') TO ('{high}')"
    _execute(f"ALTER TABLE {parent} ATTACH PARTITION {partition.name} FOR VALUES {bounds}")
    _execute(f"ALTER TABLE {partition.name} DROP CONSTRAINT bounds")


def _take_strays(partition: Partition) -> None:
    with append_only.deleting():
        _execute(
            f"WITH moved AS (DELETE FROM {TABLE}_{partition.lane}_default"
            " WHERE id >= %s AND id < %s RETURNING *)"
            f" INSERT INTO {partition.name} SELECT * FROM moved",
            *partition.bounds,
        )


def _alter(sql: str) -> None:
    with transaction.atomic():
        _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        _execute(sql)


def _found(condition: str) -> list[Partition]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)"
            rf" AND relname ~ '^{TABLE}_(pull|other)_\d{{4}}_\d{{2}}$' AND {condition}"
        )
        found = [row[0].removeprefix(f"{TABLE}_").partition("_") for row in cursor.fetchall()]
    partitions = [
        Partition(lane, datetime.strptime(month, "%Y_%m").replace(tzinfo=UTC)) for lane, _, month in found
    ]
    return sorted(partitions, key=lambda partition: (partition.start, partition.lane))


def _trying(attempt: Callable[[], Result]) -> Result:
    """Try again what waited too long for its lock, since those who held it are done by then."""
    for _ in range(TRIES - 1):
        try:
            return attempt()
        except OperationalError as error:
            logger.info("A change of partitions is tried again: %s", error)
            time.sleep(REST)
    return attempt()


def _execute(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
