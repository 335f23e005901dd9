"""Receives messages from registries and records them as events, or stores them as dead letters."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, transaction

from activity.models import DeadLetter
from activity.recording.record import record_events, record_requests
from activity.sources import manifest_requests, nodes, notification_parser
from activity.sources.dead_letters import store_dead_letters
from activity.sources.notification_parser import ParsedMessage

logger = logging.getLogger(__name__)

MAX_SIZE = 16 * 1024 * 1024
"""The maximum size of a message in bytes. Registries send one event of a few KB per message."""


@dataclass(frozen=True)
class Receipt:
    """The number of events and the number of dead letters that resulted from a message."""

    events: int
    dead_letters: int


def receive(body: bytes, account_id: int, token_key: str = "", size: int | None = None) -> Receipt:
    """Record a message, and commit everything in it, as events or as dead letters.

    `account_id` and `token_key` identify who delivers the message; see `record_events`.
    If `body` is only the beginning of an oversized message, `size` is the full size of the message in bytes.
    Raises OperationalError or InterfaceError if the database is unavailable, so that the registry retries
    the message. Raises no other exceptions.
    """
    if size is not None and size > MAX_SIZE:
        return _store_dead_letter(
            body, f"The message is larger than {MAX_SIZE} bytes.", account_id, token_key, size
        )
    try:
        parsed = notification_parser.parse(body)
        if parsed.is_empty and nodes.are_up_to_date(parsed.sightings, account_id):
            # Most messages are about layers. Skip the transaction, which would wait for SQLite's lock.
            return Receipt(events=0, dead_letters=0)
        return _record(parsed, account_id, token_key)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        # If this function raised the error, the registry would retry the message forever, and would never
        # send the messages after it. Store the message as a dead letter instead.
        logger.exception("A notification could not be recorded and was stored as a dead letter.")
        reason = f"Recording failed: {type(error).__name__}: {error}"
        return _store_dead_letter(body, reason, account_id, token_key)


@transaction.atomic
def _record(parsed: ParsedMessage, account_id: int, token_key: str) -> Receipt:
    starts = nodes.update_nodes(parsed.sightings, account_id)
    drafts = record_message(parsed, account_id, token_key)
    if starts:
        record_events(starts, account_id, token_key)
    if parsed.rejected:
        store_dead_letters(parsed.rejected, DeadLetter.Source.REGISTRY, account_id, token_key)
    return Receipt(events=drafts, dead_letters=len(parsed.rejected))


def record_message(parsed: ParsedMessage, account_id: int, token_key: str = "") -> int:
    """Record the valid notifications of a message, and return the number of their events."""
    drafts = parsed.drafts + manifest_requests.resolve(parsed.requests, account_id)
    if drafts:
        record_events(drafts, account_id, token_key)
    if looked_up := [request.draft for request in parsed.requests if request.is_head and request.draft.tag]:
        record_requests(looked_up)
    return len(drafts)


def _store_dead_letter(
    body: bytes, reason: str, account_id: int, token_key: str, size: int | None = None
) -> Receipt:
    store_dead_letters([(body, reason)], DeadLetter.Source.REGISTRY, account_id, token_key, size)
    return Receipt(events=0, dead_letters=1)
