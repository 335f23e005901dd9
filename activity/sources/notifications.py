"""Receives messages from registries and records them as events, or stores them as dead letters."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, transaction

from activity.models import DeadLetter
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.sources import head_requests, notification_parser
from activity.sources.dead_letters import store_dead_letters

logger = logging.getLogger(__name__)

MAX_SIZE = 16 * 1024 * 1024
"""The maximum size of a message in bytes. Registries send one event of a few KB per message."""
MAX_HEAD_REQUESTS = 100
"""The maximum number of HEAD requests to cache per message, which limits the number of cache writes.

Registries report one HEAD request per message.
"""


@dataclass(frozen=True)
class Receipt:
    """The number of events and the number of dead letters that resulted from a message."""

    events: int
    dead_letters: int


def receive(body: bytes, account_id: int, size: int | None = None) -> Receipt:
    """Record a message, and commit everything in it, as events or as dead letters.

    If `body` is only the beginning of an oversized message, `size` is the full size of the message in bytes.
    Raises OperationalError or InterfaceError if the database is unavailable, so that the registry retries
    the message. Raises no other exceptions.
    """
    if size is not None and size > MAX_SIZE:
        return _store_dead_letter(body, f"The message is larger than {MAX_SIZE} bytes.", account_id, size)
    try:
        parsed = notification_parser.parse(body)
        head_requests.store_tags(
            {
                _head_request(draft, account_id): draft.tag
                for draft in parsed.head_requests[-MAX_HEAD_REQUESTS:]
            }
        )
        if not parsed.drafts and not parsed.rejected:
            # Most messages are about layers. Skip the transaction, which would wait for SQLite's lock.
            return Receipt(events=0, dead_letters=0)
        return _record(_with_tags(parsed.drafts, account_id), parsed.rejected, account_id)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        # If this function raised the error, the registry would retry the message forever, and would never
        # send the messages after it. Store the message as a dead letter instead.
        logger.exception("A notification could not be recorded and was stored as a dead letter.")
        return _store_dead_letter(body, f"Recording failed: {type(error).__name__}: {error}", account_id)


@transaction.atomic
def _record(drafts: list[Draft], rejected: list[tuple[bytes, str]], account_id: int) -> Receipt:
    if drafts:
        record_events(drafts, account_id)
    if rejected:
        store_dead_letters(rejected, DeadLetter.Source.REGISTRY, account_id)
    return Receipt(events=len(drafts), dead_letters=len(rejected))


def _store_dead_letter(body: bytes, reason: str, account_id: int, size: int | None = None) -> Receipt:
    store_dead_letters([(body, reason)], DeadLetter.Source.REGISTRY, account_id, size)
    return Receipt(events=0, dead_letters=1)


def _with_tags(drafts: Sequence[Draft], account_id: int) -> list[Draft]:
    """Turn pulls by digest into pulls of the tag that a HEAD request looked up, and return all drafts."""
    requests = [
        _head_request(draft, account_id) if draft.kind == "get_manifest" else None for draft in drafts
    ]
    tags = head_requests.find_tags(request for request in requests if request)
    return [
        draft.with_kind("get_tag", tag=tags[request]) if request in tags else draft
        for draft, request in zip(drafts, requests, strict=True)
    ]


def _head_request(draft: Draft, account_id: int) -> head_requests.HeadRequest:
    """Return the HEAD request that corresponds to a pull."""
    return head_requests.HeadRequest(
        account_id=account_id,
        repository_name=draft.repository_name,
        digest=draft.digest,
        client_host=host_of(draft.details.get("client_address", "")),
    )


def host_of(address: str) -> str:
    """Return the host of a client address such as `10.0.0.7:5000`, `[::1]:5000` or `10.0.0.7`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
