"""Accepts messages from registries: appends them to the journal, so that they can be acknowledged.

A registry delivers one message after the other, and keeps those that wait in memory. So the answer must come
fast, and what a message means is found out later, by the recorder.
"""

from __future__ import annotations

import logging
import time

from django.db import Error

from activity import config
from activity.models import JournalEntry
from activity.recording.drafts import Delivery
from activity.sources import nodes, notification_parser, recorder
from activity.sources.notifications import MAX_SIZE, Receipt
from activity.storage import journal

logger = logging.getLogger(__name__)

MAX_RECORDED = 100
"""The number of messages to record in a request, if there is no recorder."""
THROTTLE_FROM = 5_000
"""The number of waiting entries from which on answers are slowed down, so that the recorder can catch up."""
MAX_DELAY = 0.05
"""The longest delay of an answer, in seconds. It is reached at twice the number of entries."""
COUNT_INTERVAL = 1.0
"""How often a process counts the waiting entries, in seconds."""

_journaled = nodes.RecentlyDone()
"""When this process last journaled a message of each node.

Once a minute, a message about layers is journaled, only to update the row of its node.
"""


def accept(body: bytes, account_id: int, token_key: str, size: int) -> Receipt | None:
    """Accept a message, and return what resulted from it, or None if it waits in the journal.

    `account_id` and `token_key` identify who delivers the message. If `body` is only the beginning of an
    oversized message, `size` is the full size of the message in bytes. Raises a database error if the message
    could not be stored, so that the registry delivers it again.
    """
    delivery = Delivery(account_id, token_key)
    sightings = None if size > MAX_SIZE else notification_parser.sightings_of_layers(body)
    outdated = _journaled.outdated(sightings or [], delivery)
    if sightings is not None and not outdated:
        return Receipt(events=0, dead_letters=0)
    id = journal.append(JournalEntry.Source.REGISTRY, body, account_id, token_key, size)
    _journaled.remember(outdated, delivery)
    if config.record_in_request():
        return _record(id)
    if delay := _backpressure.delay():
        time.sleep(delay)  # slows registries down while the recorder is behind
    return None


def _record(id: int) -> Receipt | None:
    """Record waiting entries, and return what resulted from the entry with this id, if it was among them."""
    try:
        return recorder.record_batch(MAX_RECORDED).get(id)
    except Error:
        # The message is stored, so it is acknowledged. The next request tries again.
        logger.exception("The journal could not be recorded.")
        return None


class Backpressure:
    """Slows down answers while many entries wait."""

    def __init__(self) -> None:
        self.checked_at = -COUNT_INTERVAL
        self.seconds = 0.0

    def delay(self) -> float:
        """Return for how long to delay an answer, in seconds."""
        if time.monotonic() >= self.checked_at + COUNT_INTERVAL:
            self.checked_at = time.monotonic()
            excess = journal.count_waiting(2 * THROTTLE_FROM) - THROTTLE_FROM
            self.seconds = MAX_DELAY * max(excess, 0) / THROTTLE_FROM
        return self.seconds


_backpressure = Backpressure()
