"""The partitions of the event table on PostgreSQL. No other module knows of them.

`registry_activity_event` is split by `is_pull` into two lanes, and each lane by month, as ranges of the id,
which begins with the time. So pulls can be dropped apart from the rest, a month at a time. Months are
made ahead by Celery beat; an event of a month that has no partition goes to its lane's default.

A partition is dropped, or replaced by a table of the few events that stay, in one transaction: a run that
dies leaves nothing half done.

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
from django.db.models.sql.datastructures import BaseTable

from activity.identity import first_id
from activity.models import Event
from activity.storage import append_only, tallies
from activity.storage.events import Gone

logger = logging.getLogger(__name__)

TABLE = "registry_activity_event"
LANES = {"pull": True, "other": False}
MONTHS_AHEAD = 3
LOCK_TIMEOUT = "500ms"
"""How long a change of partitions may wait for its lock, and recording and reading behind it."""
VACUUM_TIMEOUT = "5s"
"""How long it may wait for an autovacuum, and nobody behind it. PostgreSQL cancels one that somebody has
waited for as long as its `deadlock_timeout`, a second; who waits for less outwaits none."""
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


def create_ahead(now: datetime) -> list[Partition]:
    """Make the partitions of this month and the next ones, where they are missing, and return them."""
    if not is_partitioned():
        return []
    there = {partition.name for partition in attached()}
    wanted = [Partition(lane, month) for month in months_from(now, MONTHS_AHEAD + 1) for lane in LANES]
    made = [partition for partition in wanted if partition.name not in there]
    for partition in made:
        trying(partial(_make, partition))
    return made


def attached() -> list[Partition]:
    """Return the partitions that hold a month, oldest first."""
    if not is_partitioned():
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE pg_table_is_visible(oid)"
            rf" AND relname ~ '^{TABLE}_(pull|other)_\d{{4}}_\d{{2}}$'"
        )
        found = [row[0].removeprefix(f"{TABLE}_").partition("_") for row in cursor.fetchall()]
    partitions = [
        Partition(lane, datetime.strptime(month, "%Y_%m").replace(tzinfo=UTC)) for lane, _, month in found
    ]
    return sorted(partitions, key=lambda partition: (partition.start, partition.lane))


def events(partition: Partition) -> QuerySet[Event]:
    """Return the events of a partition."""
    found = Event.objects.all()
    alias = found.query.get_initial_alias()
    found.query.alias_map[alias] = BaseTable(partition.name, alias)
    return found


def freeze(partition: Partition) -> None:
    """Let no more events come into a partition until the transaction ends; it can still be read."""
    _keep_vacuum_out(partition.name, f"{TABLE}_{partition.lane}_default")
    _limit_waiting()
    _execute(f"LOCK TABLE {partition.name} IN SHARE MODE")


def drop(partition: Partition, staying: QuerySet[Event], *, by_repository: bool) -> Gone:
    """Drop a frozen partition but for the events that stay, within its transaction.

    These are moved to a new partition, unless there are none. Returns how many events went. Raises
    OperationalError if a reader or a recording kept it from its lock: see `trying`.
    """
    parent, successor = f"{TABLE}_{partition.lane}", f"{partition.name}_new"
    _create(successor, parent)
    if staying.exists():
        select, params = staying.order_by().values_list(*_columns()).query.sql_with_params()
        _execute(f"INSERT INTO {successor} ({', '.join(_columns())}) {select}", *params)
    gone = tallies.drop(
        [partition.is_pull], partition.start, partition.end, left=successor, by_repository=by_repository
    )
    _refuse_to_wait_for_who_waits(partition)
    # From here on everybody waits, for some milliseconds.
    _execute(f"ALTER TABLE {parent} DETACH PARTITION {partition.name}")
    _execute(f"DROP TABLE {partition.name}")
    _execute(f"ALTER TABLE {successor} RENAME TO {partition.name}")
    if events(partition).exists():
        append_only.protect(partition.name)
        _state_bounds(partition)
        _attach(partition)
    else:
        _execute(f"DROP TABLE {partition.name}")
    _execute("SET LOCAL lock_timeout TO DEFAULT")
    return gone


def trying(attempt: Callable[[], Result]) -> Result:
    """Try again what waited too long for its lock, since those who held it are done by then."""
    for _ in range(TRIES - 1):
        try:
            return attempt()
        except OperationalError as error:
            logger.info("A change of partitions is tried again: %s", error)
            time.sleep(REST)
    return attempt()


@transaction.atomic
def _make(partition: Partition) -> None:
    _keep_vacuum_out(f"{TABLE}_{partition.lane}_default")
    # Attached rather than made in place: that would lock readers and recording out of the table.
    _create(partition.name, f"{TABLE}_{partition.lane}")
    append_only.protect(partition.name)
    _state_bounds(partition)
    _take_strays(partition)  # most of them, while recording goes on
    _limit_waiting()
    # An INSERT that was on its way to the default partition would fail once that has lost the month.
    _execute(f"LOCK TABLE ONLY {TABLE} IN SHARE ROW EXCLUSIVE MODE")
    _take_strays(partition)
    _attach(partition)


def _create(name: str, parent: str) -> None:
    # With its indexes, so that they aren't built while the table is locked.
    like = f"{parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES"
    _execute(f"CREATE TABLE {name} (LIKE {like})")


def _state_bounds(partition: Partition) -> None:
    """Say what is in a table, or attaching it would read through it for that while all is locked."""
    low, high = partition.bounds
    check = f"CHECK ({'' if partition.is_pull else 'NOT '}is_pull AND id >= '{low}' AND id < '{high}')"
    _execute(f"ALTER TABLE {partition.name} ADD CONSTRAINT bounds {check}")


def _attach(partition: Partition) -> None:
    parent, (low, high) = f"{TABLE}_{partition.lane}", partition.bounds
    _execute(
        f"ALTER TABLE {parent} ATTACH PARTITION {partition.name} FOR VALUES FROM ('{low}') TO ('{high}')"
    )
    _execute(f"ALTER TABLE {partition.name} DROP CONSTRAINT bounds")


def _take_strays(partition: Partition) -> None:
    with append_only.deleting():
        _execute(
            f"WITH moved AS (DELETE FROM {TABLE}_{partition.lane}_default"
            " WHERE id >= %s AND id < %s RETURNING *)"
            f" INSERT INTO {partition.name} SELECT * FROM moved",
            *partition.bounds,
        )


def _refuse_to_wait_for_who_waits(partition: Partition) -> None:
    """Raise OperationalError if a recording waits for a frozen partition.

    It has locked the lane: to wait for that would be a deadlock, for which PostgreSQL might have the
    recording fail, if it has waited for nearly a second by then. Others that come are let through before.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND relation = %s::regclass AND NOT granted",
            [partition.name],
        )
        if cursor.fetchall():
            raise OperationalError(f"A recording waits for {partition.name}.")


def _columns() -> list[str]:
    return [field.column for field in Event._meta.local_concrete_fields if field.column]


def _keep_vacuum_out(*tables: str) -> None:
    """Keep vacuums out of tables until the transaction ends. Recording and reading go on."""
    _execute(f"SET LOCAL lock_timeout = '{VACUUM_TIMEOUT}'")
    _execute(f"LOCK TABLE {', '.join(tables)} IN SHARE UPDATE EXCLUSIVE MODE")


def _limit_waiting() -> None:
    _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def _execute(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
