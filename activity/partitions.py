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
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from dateutil.relativedelta import relativedelta
from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, connection, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Q, QuerySet
from django.db.models.sql.datastructures import BaseTable

from activity.identity import first_id

if TYPE_CHECKING:
    from activity.models import Event

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
    def bounds(self) -> tuple[UUID, UUID]:
        """The first id in it, and the first one after it."""
        return first_id(self.start), first_id(self.start + relativedelta(months=1))


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
    """Return what a run that died had detached, but not dropped yet."""
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


def events(partition: Partition) -> QuerySet[Event]:
    """Return the events of a partition that was detached."""
    from activity.models import Event  # the model's migration needs this module

    found = Event.objects.all()
    alias = found.query.get_initial_alias()
    found.query.alias_map[alias] = BaseTable(partition.name, alias)
    return found


def put_back(partition: Partition, staying: Q) -> None:
    """Move the events of a condition from a partition that was detached back into the table."""
    try:
        ids, params = events(partition).filter(staying).order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:  # the condition is of nothing
        return
    _execute(
        f"WITH moved AS (DELETE FROM {partition.name} WHERE id IN ({ids}) RETURNING *)"
        f" INSERT INTO {TABLE} SELECT * FROM moved ON CONFLICT DO NOTHING",
        *params,
    )


def drop(partition: Partition) -> None:
    """Drop a partition that was detached."""
    _execute(f"DROP TABLE IF EXISTS {partition.name}")


def _make(partition: Partition) -> None:
    parent, (low, high) = f"{TABLE}_{partition.lane}", partition.bounds
    with transaction.atomic():
        _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # Attached rather than made in place: that would lock readers and recording out of the table.
        _execute(f"CREATE TABLE {partition.name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        # What is recorded between the move and the end would stay behind, and forbid the attaching.
        _execute(f"LOCK TABLE {parent}_default IN SHARE ROW EXCLUSIVE MODE")
        _execute(
            f"WITH moved AS (DELETE FROM {parent}_default WHERE id >= %s AND id < %s RETURNING *)"
            f" INSERT INTO {partition.name} SELECT * FROM moved",
            low,
            high,
        )
        _execute(
            f"ALTER TABLE {parent} ATTACH PARTITION {partition.name} FOR VALUES FROM ('{low}') TO ('{high}')"
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
