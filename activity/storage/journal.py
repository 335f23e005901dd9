"""The journal: messages wait here from their receipt until a recorder records them.

A message is acknowledged as soon as its entry is committed. It is recorded in the transaction that removes
the entry, so it is recorded exactly once, whenever a process or the database stops.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from activity.models import JournalEntry
from activity.storage import positions

CHANNEL = "registry_activity_journal"
"""The channel on which PostgreSQL notifies the recorder of new entries."""
MAX_BYTES = 32 * 1024 * 1024
"""The approximate size of the messages to take at once, so that they fit into memory."""


class Entry(NamedTuple):
    """An entry of the journal; see `JournalEntry`."""

    id: int
    source: int
    account_id: int | None
    token_key: str
    received_at: datetime
    content: bytes
    size: int


APPEND = """
    INSERT INTO registry_activity_journalentry (source, account_id, token_key, received_at, content, size)
    VALUES (%s, %s, %s, %s, %s, %s) RETURNING id
"""
# One statement, because a second one would cost as much time again. The notification is sent by the commit.
APPEND_AND_NOTIFY = """
    WITH appended AS (
        INSERT INTO registry_activity_journalentry (source, account_id, token_key, received_at, content, size)
        VALUES (%s, %s, %s, %s, %s, %s) RETURNING id
    )
    SELECT id, pg_notify('registry_activity_journal', '') FROM appended
"""
NOTICE_INTERVAL = 0.05
"""How often a process notifies the recorder, in seconds.

PostgreSQL commits transactions that notify one after the other. If all did, eight clients would commit 270
messages a second instead of 2,500, and 140 instead of 1,200 on a slow disk. The recorder gathers entries for
as long anyway, and looks for entries that it wasn't notified of.
"""
OLDEST = """
    SELECT id FROM (
        SELECT id, SUM(size) OVER (ORDER BY id) - size AS before
        FROM (SELECT id, size FROM registry_activity_journalentry ORDER BY id LIMIT %s) AS oldest
    ) AS summed
    WHERE before < %s
"""
TAKE = """
    DELETE FROM registry_activity_journalentry WHERE id IN ({ids})
    RETURNING id, source, account_id, token_key, received_at, content, size
"""


def append(
    source: JournalEntry.Source,
    content: bytes,
    account_id: int | None = None,
    token_key: str = "",
    size: int | None = None,
) -> int:
    """Append an entry, and return its id. If `content` is truncated, `size` is the size of the whole.

    Outside a transaction, a lost connection to the database is replaced. An entry that was committed just
    before the loss is then appended twice, but recorded once, like a message that is delivered again.
    """
    received_at = connection.ops.adapt_datetimefield_value(timezone.now())
    account: Any = JournalEntry._meta.get_field("account")
    account_key = account.get_db_prep_value(account_id, connection)  # the site's users can have UUIDs
    size = len(content) if size is None else size
    values = [source.value, account_key, token_key, received_at, content, size]
    if connection.in_atomic_block:
        return _insert(values)
    # Skip Django's check for a lost connection, which takes as long as the INSERT.
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return _insert(values)
    except (InterfaceError, OperationalError):
        if connection.is_usable():
            raise
        connection.close()
        return _insert(values)


def _insert(values: list[Any]) -> int:
    with _cursor() as cursor, connection.wrap_database_errors:
        notify = connection.vendor == "postgresql" and _is_notice_due()
        cursor.execute(APPEND_AND_NOTIFY if notify else APPEND, values)
        return cursor.fetchone()[0]


def _cursor() -> Any:
    """Return a cursor. Outside a transaction on PostgreSQL, it sends values apart from the statement.

    Django's cursor writes them into the statement, as a text that is twice as long, which takes a third more.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return connection.cursor()
    from psycopg import Cursor  # sites on SQLite don't need it

    connection.ensure_connection()
    return Cursor(connection.connection)


_next_notice = 0.0


def _is_notice_due() -> bool:
    """Return whether this process should notify the recorder now. If so, the next notice is due later."""
    global _next_notice
    now = monotonic()
    if now < _next_notice:
        return False
    _next_notice = now + NOTICE_INTERVAL
    return True


@transaction.atomic
def probe(size: int) -> None:
    """Append an entry of this size, and remove it before any other transaction can see it.

    Raises a database error if messages can't be stored, for example because the disk is full.
    """
    _insert([JournalEntry.Source.REGISTRY.value, None, "", timezone.now(), os.urandom(size), size])
    transaction.set_rollback(True)


def count_waiting(limit: int) -> int:
    """Return the number of waiting entries, or `limit` if there are more."""
    return JournalEntry.objects.order_by("pk").values("pk")[:limit].count()


def oldest() -> datetime | None:
    """Return when the oldest waiting entry was received, or None if there is none."""
    return JournalEntry.objects.order_by("pk").values_list("received_at", flat=True).first()


def is_empty() -> bool:
    return not JournalEntry.objects.exists()


def oldest_ids(limit: int) -> list[int]:
    """Return the ids of the entries that `take` would remove."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST, [limit, MAX_BYTES])
        return sorted(id for (id,) in cursor)


def take(limit: int) -> list[Entry]:
    """Remove up to this many of the oldest entries, and return them, oldest first.

    Call this in the transaction that records them. Another such transaction waits until this one ends.
    """
    return _take(OLDEST, limit, MAX_BYTES)


def take_one(id: int) -> list[Entry]:
    """Remove an entry, and return it in a list, which is empty if the entry has been removed already."""
    return _take("%s", id)


def _take(ids: str, *params: int) -> list[Entry]:
    # Otherwise, two transactions that record several messages could deadlock: each message locks rows.
    positions.lock()
    with connection.cursor() as cursor:
        cursor.execute(TAKE.format(ids=ids), params)
        to_account_id = get_user_model()._meta.pk.to_python
        return sorted(_entry(row, to_account_id) for row in cursor.fetchall())


def _entry(row: Sequence, to_account_id: Callable[[Any], Any]) -> Entry:
    id, source, account_id, token_key, received_at, content, size = row
    received_at = received_at.replace(tzinfo=UTC)  # SQLite stores no time zone
    return Entry(id, source, to_account_id(account_id), token_key, received_at, bytes(content), size)
