"""The recorder: records the journal, batch by batch, for as long as it runs.

Of several recorders, one records, and the others stand by. On PostgreSQL, it holds an advisory lock, and
listens for new entries. SQLite lets one transaction write at a time anyway, so there is no lock.
"""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Callable
from threading import Event as Signal
from typing import Any

from django.db import DataError, Error, IntegrityError, connection, transaction

from activity.sources import notifications
from activity.sources.notifications import Receipt
from activity.storage import heartbeats, journal

logger = logging.getLogger(__name__)

BATCH = 1_000
"""The maximum number of entries to record in one transaction."""
GATHERING = 0.05
"""How long to wait for further entries after the first one, in seconds.

Without it, the recorder would record many tiny batches, and leave less of the processor to the web server.
"""
POLL = 0.2
"""How often to look for entries if PostgreSQL doesn't report any, in seconds."""
STANDBY = 1.0
"""How often a recorder that stands by tries to take over, and how long to wait after an error, in seconds."""
GARBAGE_THRESHOLD = 50_000
"""A batch creates fewer objects at a time."""
LOCK_KEY = 7_021_966
"""The key of the advisory lock that the active recorder holds."""

Results = dict[int, Receipt]
"""What resulted from each entry, by the entry's id."""


def record_batch(limit: int = BATCH) -> Results:
    """Record up to this many of the oldest entries, and return the results.

    If one of them can't be recorded, they are recorded one by one, and that one becomes a dead letter. Raises
    a database error if the database is the reason that nothing can be recorded.
    """
    try:
        return _record(lambda: journal.take(limit))
    except Exception:
        logger.exception("A batch could not be recorded. Its messages are recorded one by one.")
        return _record_one_by_one(journal.oldest_ids(limit))


@transaction.atomic
def _record(take: Callable[[], list[journal.Entry]]) -> Results:
    return notifications.record_entries(take())


def _record_one_by_one(ids: list[int]) -> Results:
    """Record entries in transactions of their own.

    A database error, such as a full disk, is not the fault of a message, unless others can be recorded.
    """
    results: Results = {}
    errors: dict[int, Error] = {}
    for id in ids:
        try:
            results |= _record_one(id)
        except Error as error:
            errors[id] = error
    if errors and not results:
        raise next(iter(errors.values()))
    for id in errors:
        try:
            results |= _record_one(id)
        except Error as error:
            results |= _store_as_dead_letter(id, error)
    return results


def _record_one(id: int) -> Results:
    try:
        return _record(lambda: journal.take_one(id))
    except Exception as error:
        if isinstance(error, Error) and not isinstance(error, DataError | IntegrityError):
            raise
        logger.exception("A message could not be recorded and was stored as a dead letter.")
        return _store_as_dead_letter(id, error)


@transaction.atomic
def _store_as_dead_letter(id: int, error: Exception) -> Results:
    """Store an entry of the journal as a dead letter."""
    entries = journal.take_one(id)
    for entry in entries:
        notifications.store_as_dead_letter(entry, error)
    return {entry.id: Receipt(events=0, dead_letters=1) for entry in entries}


def run() -> None:
    """Record the journal until the process receives a signal to stop."""
    stop = Signal()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    heartbeats.keep_beating(heartbeats.RECORDER)
    collect_garbage_rarely()
    while not stop.is_set():
        try:
            if _become_active():
                _record_until(stop)
            else:
                stop.wait(STANDBY)
        except Exception:
            # The messages in the journal wait until, for example, the database works again.
            logger.exception("The journal can't be recorded at the moment.")
            connection.close()
            stop.wait(STANDBY)
    connection.close()


def collect_garbage_rarely() -> None:
    """Look for garbage neither among what was loaded at the start nor while a batch is recorded.

    Otherwise, this takes a quarter of the time.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def _become_active() -> bool:
    """Return whether this process is the one that records. If so, it remains it until it disconnects."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY])
        (is_active,) = cursor.fetchone()
        if is_active:
            cursor.execute(f"LISTEN {journal.CHANNEL}")
    return is_active


def _record_until(stop: Signal) -> None:
    """Record the journal until a signal to stop, or until the connection that holds the lock is lost."""
    locked = connection.connection
    while not stop.is_set() and connection.connection is locked:
        if journal.is_empty():
            _wait_for_entries()
        elif len(record_batch()) < BATCH:
            stop.wait(GATHERING)


def _wait_for_entries() -> None:
    """Wait until there may be entries, and then for further ones."""
    if connection.vendor == "postgresql":
        driver: Any = connection.connection
        with connection.wrap_database_errors:
            for _ in driver.notifies(timeout=POLL, stop_after=1):
                pass
    time.sleep(GATHERING)  # gathers further entries; on SQLite, which notifies nobody, also the poll
