"""The partitions of the event table on PostgreSQL.

`registry_activity_event` is partitioned by `is_pull` into two groups, pulls and other events. Each group is
partitioned by month, so that a month's pulls can be dropped without touching other events. The partition
key is the id, because it begins with the time of the event. Celery beat creates the partitions in advance. If
there is no partition for an event's month, the event is stored in the default partition of its group.

A partition is dropped, or replaced by a table with the few remaining events, in a single transaction. If the
run dies, the partition is left unchanged.

On SQLite the table isn't partitioned, and this module does nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.db import OperationalError, connection, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Q, QuerySet
from django.db.models.sql.datastructures import BaseTable

from activity.identity import first_id
from activity.models import Event
from activity.storage import append_only, positions, tallies
from activity.storage.tallies import DeletedCounts
from repositories.access.levels import Category

logger = logging.getLogger(__name__)

TABLE = "registry_activity_event"
GROUPS = {"pull": True, "other": False}
FIXED_WIDTHS = ["bigint", "timestamp with time zone", "integer", "smallint", "boolean", "uuid"]
"""The types of columns with a fixed width, those that must begin at a multiple of eight bytes first."""
MONTHS_AHEAD = 3
LOCK_TIMEOUT = "500ms"
"""How long to wait for a lock when changing partitions. Recording and reading are blocked during the wait."""
VACUUM_TIMEOUT = "5s"
"""How long to wait for an autovacuum when changing partitions. Recording and reading continue meanwhile.

The timeout must exceed `deadlock_timeout` (one second), after which PostgreSQL cancels an autovacuum that
blocks a transaction.
"""
MAX_ATTEMPTS = 5
RETRY_DELAY = 0.5
"""Seconds to pause between attempts, so that waiting transactions can proceed."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Partition:
    """The partition of a group for one month."""

    group: str
    start: datetime

    @property
    def name(self) -> str:
        return f"{TABLE}_{self.group}_{self.start:%Y_%m}"

    @property
    def is_pull(self) -> bool:
        return GROUPS[self.group]

    @property
    def end(self) -> datetime:
        return self.start + relativedelta(months=1)

    @property
    def bounds(self) -> tuple[UUID, UUID]:
        """The lowest possible id in the partition, and the lowest possible id after the partition."""
        return first_id(self.start), first_id(self.end)


class CreatePartitionedModel(migrations.CreateModel):
    """`CreateModel` for the event table, which is partitioned on PostgreSQL."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.name)
        # In this order, the columns of a row need no padding between them.
        model._meta.local_fields.sort(key=lambda field: _width(field.db_type(schema_editor.connection)))
        sql, params = schema_editor.table_sql(model)
        # Each group has a primary key of its own. One for the whole table would have to include `is_pull`,
        # which would take eight more bytes an event. No id is in both groups, because one of the bits of an
        # id is `is_pull`.
        sql = sql.replace('"id" uuid NOT NULL PRIMARY KEY', '"id" uuid NOT NULL')
        schema_editor.execute(f'{sql} PARTITION BY LIST ("is_pull")', params)
        # Finds late events in a month of millions. Events are stored in the order of their receipt, so a BRIN
        # index is enough.
        schema_editor.execute(f"CREATE INDEX event_received ON {TABLE} USING brin (received_at)")
        for group, is_pull in GROUPS.items():
            parent = f"{TABLE}_{group}"
            schema_editor.execute(
                f"CREATE TABLE {parent} PARTITION OF {TABLE} FOR VALUES IN ({is_pull})"
                " PARTITION BY RANGE (id)"
            )
            schema_editor.execute(f"ALTER TABLE {parent} ADD PRIMARY KEY (id)")
            schema_editor.execute(f"CREATE TABLE {parent}_default PARTITION OF {parent} DEFAULT")


def _width(type: str) -> int:
    """Return the place of a type of columns: those with the widest alignment first, texts last."""
    return FIXED_WIDTHS.index(type) if type in FIXED_WIDTHS else len(FIXED_WIDTHS)


def is_partitioned() -> bool:
    return connection.vendor == "postgresql"


def in_category(category: str) -> Q:
    """Return the condition for events of a category, which lets PostgreSQL skip the other group."""
    return Q(category=category, is_pull=category == Category.PULL)


def in_groups(groups: Collection[str]) -> Q:
    """Return the condition for events in any of the given groups."""
    return Q(is_pull__in=pull_flags(groups))


def pull_flags(groups: Collection[str]) -> list[bool]:
    """Return the `is_pull` values of the events in the given groups."""
    return [GROUPS[group] for group in groups]


def contains_only(group: str, category: str) -> bool:
    """Return whether all events in a group have the given category."""
    return GROUPS[group] and category == Category.PULL


def months_from(start: datetime, count: int) -> list[datetime]:
    """Return the starts of `count` consecutive months (UTC). The first is the month that contains `start`."""
    first = start.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return [first + relativedelta(months=number) for number in range(count)]


def tables() -> list[str]:
    """Return the names of the event table and all its partitions."""
    with connection.cursor() as cursor:
        existing = [table.name for table in connection.introspection.get_table_list(cursor)]
    prefixes = tuple(f"{TABLE}_{group}" for group in GROUPS)
    return [name for name in existing if name == TABLE or name.startswith(prefixes)]


def create_ahead(now: datetime) -> list[Partition]:
    """Create the missing partitions for this month and the next `MONTHS_AHEAD` months, and return them."""
    if not is_partitioned():
        return []
    existing = {partition.name for partition in monthly_partitions()}
    wanted = [Partition(group, month) for month in months_from(now, MONTHS_AHEAD + 1) for group in GROUPS]
    missing = [partition for partition in wanted if partition.name not in existing]
    for partition in missing:
        retry_on_lock(partial(_create_partition, partition))
    return missing


def monthly_partitions() -> list[Partition]:
    """Return the existing monthly partitions, oldest first."""
    if not is_partitioned():
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE pg_table_is_visible(oid)"
            rf" AND relname ~ '^{TABLE}_(pull|other)_\d{{4}}_\d{{2}}$'"
        )
        found = [row[0].removeprefix(f"{TABLE}_").partition("_") for row in cursor.fetchall()]
    partitions = [
        Partition(group, datetime.strptime(month, "%Y_%m").replace(tzinfo=UTC)) for group, _, month in found
    ]
    return sorted(partitions, key=lambda partition: (partition.start, partition.group))


def events(partition: Partition) -> QuerySet[Event]:
    """Return the events of a partition, in no particular order."""
    found = Event.objects.order_by()
    alias = found.query.get_initial_alias()
    found.query.alias_map[alias] = BaseTable(partition.name, alias)
    return found


def of_group(events: QuerySet[Event], *, is_pull: bool) -> QuerySet[Event]:
    """Read events from the table of a group instead of from the table of all events. PostgreSQL only.

    An index of that table is enough to find its events: a condition on `is_pull` would have to read the rows.
    """
    (group,) = (name for name, pulls in GROUPS.items() if pulls is is_pull)
    alias: Any = events.query.get_initial_alias()
    events.query.alias_map[alias] = BaseTable(f"{TABLE}_{group}", alias)
    return events


def freeze(partition: Partition) -> None:
    """Block writes to a partition until the end of the transaction. It can still be read."""
    _lock_out_vacuum(partition.name, f"{TABLE}_{partition.group}_default")
    _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    _execute(f"LOCK TABLE {partition.name} IN SHARE MODE")


def drop(
    partition: Partition, remaining: QuerySet[Event] | None, *, by_repository: bool, cause: str
) -> DeletedCounts:
    """Drop a frozen partition in the transaction that froze it, and return the number of deleted events.

    The `remaining` events are moved to a new partition; None means that no events remain. If `by_repository`
    is False, the deleted events are counted only by category, which is faster. Raises OperationalError if
    reading or recording blocks the partition for too long; see `retry_on_lock`.
    """
    parent = f"{TABLE}_{partition.group}"
    remaining_table = f"{parent}_default"  # contains no events of this month
    if remaining is not None:
        remaining_table = f"{partition.name}_new"
        _create_table(remaining_table, parent)
        columns = [field.column for field in Event._meta.local_concrete_fields if field.column]
        select, params = remaining.values_list(*columns).query.sql_with_params()
        _execute(f"INSERT INTO {remaining_table} ({', '.join(columns)}) {select}", *params)
    deleted = tallies.drop(
        [partition.is_pull],
        partition.start,
        partition.end,
        remaining_table=remaining_table,
        by_repository=by_repository,
        cause=cause,
    )
    _record_removal(partition, remaining_table if remaining is not None else "")
    _raise_if_recording_waits(partition)
    # From here on, all other access to the table is blocked, for a few milliseconds.
    _execute(f"ALTER TABLE {parent} DETACH PARTITION {partition.name}")
    _execute(f"DROP TABLE {partition.name}")
    if remaining is not None:
        _execute(f"ALTER TABLE {remaining_table} RENAME TO {partition.name}")
        append_only.protect(partition.name)
        _add_bounds_constraint(partition)
        _attach(partition)
    _execute("SET LOCAL lock_timeout TO DEFAULT")
    return deleted


def _record_removal(partition: Partition, remaining_table: str) -> None:
    """Record the positions of the events in a partition that aren't in the table of the remaining events."""
    deleted = f"SELECT MIN(position), MAX(position) FROM {partition.name} AS event"
    if remaining_table:
        deleted += (
            f" WHERE NOT EXISTS (SELECT FROM {remaining_table} AS remaining WHERE remaining.id = event.id)"
        )
    with connection.cursor() as cursor:
        cursor.execute(deleted)
        positions.record_removal(*cursor.fetchone())


def retry_on_lock(attempt: Callable[[], Result]) -> Result:
    """Call `attempt`, and retry it if it can't get a lock in time.

    Raises OperationalError if `MAX_ATTEMPTS` attempts fail.
    """
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return attempt()
        except OperationalError as error:
            logger.info("Retrying to change partitions: %s", error)
            time.sleep(RETRY_DELAY)  # lets the statements run that waited behind this lock request
    return attempt()


@transaction.atomic
def _create_partition(partition: Partition) -> None:
    _lock_out_vacuum(f"{TABLE}_{partition.group}_default")
    # CREATE TABLE … PARTITION OF would block reading and recording, so create a table and then attach it.
    _create_table(partition.name, f"{TABLE}_{partition.group}")
    append_only.protect(partition.name)
    _add_bounds_constraint(partition)
    _move_events_from_default(partition)  # moves most events without blocking recording
    _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    # A concurrent INSERT into the default partition would fail once that partition excludes the month.
    _execute(f"LOCK TABLE ONLY {TABLE} IN SHARE ROW EXCLUSIVE MODE")
    _move_events_from_default(partition)
    _attach(partition)
    _execute("SET LOCAL lock_timeout TO DEFAULT")  # the caller's transaction may go on


def _create_table(name: str, parent: str) -> None:
    # Include the indexes, so that attaching doesn't have to build them while the table is locked.
    like = f"{parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES"
    _execute(f"CREATE TABLE {name} (LIKE {like})")


def _add_bounds_constraint(partition: Partition) -> None:
    """Add a constraint, so that ATTACH PARTITION doesn't scan the partition while the tables are locked."""
    low, high = partition.bounds
    check = f"CHECK ({'' if partition.is_pull else 'NOT '}is_pull AND id >= '{low}' AND id < '{high}')"
    _execute(f"ALTER TABLE {partition.name} ADD CONSTRAINT bounds {check}")


def _attach(partition: Partition) -> None:
    parent, (low, high) = f"{TABLE}_{partition.group}", partition.bounds
    _execute(
        f"ALTER TABLE {parent} ATTACH PARTITION {partition.name} FOR VALUES FROM ('{low}') TO ('{high}')"
    )
    _execute(f"ALTER TABLE {partition.name} DROP CONSTRAINT bounds")


def _move_events_from_default(partition: Partition) -> None:
    with append_only.deletion_allowed():
        _execute(
            f"WITH moved AS (DELETE FROM {TABLE}_{partition.group}_default"
            " WHERE id >= %s AND id < %s RETURNING *)"
            f" INSERT INTO {partition.name} SELECT * FROM moved",
            *partition.bounds,
        )


def _raise_if_recording_waits(partition: Partition) -> None:
    """Raise OperationalError if a transaction is waiting to record events in a frozen partition.

    That transaction has locked the parent table, so waiting for the parent table would cause a deadlock.
    PostgreSQL might resolve the deadlock by aborting the waiting transaction, which may already have waited
    for nearly a second.
    Transactions that start later are safe: `LOCK_TIMEOUT` expires before PostgreSQL looks for a deadlock.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND relation = %s::regclass AND NOT granted",
            [partition.name],
        )
        if cursor.fetchall():
            raise OperationalError(f"A transaction is waiting to record events in {partition.name}.")


def _lock_out_vacuum(*tables: str) -> None:
    """Prevent vacuums of the tables until the transaction ends, without blocking recording or reading."""
    _execute(f"SET LOCAL lock_timeout = '{VACUUM_TIMEOUT}'")
    _execute(f"LOCK TABLE {', '.join(tables)} IN SHARE UPDATE EXCLUSIVE MODE")


def _execute(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
