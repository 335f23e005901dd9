"""Receives the notifications of registries: reads them, records the events, stores the rest aside."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, transaction

from activity.models import DeadLetter
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.sources import head_requests, notification_parser
from activity.sources.dead_letters import store_aside

logger = logging.getLogger(__name__)

MAX_SIZE = 16 * 1024 * 1024
"""Bytes in a message that is read at all. The registry sends one event of a few KB at a time."""
MAX_LOOKUPS = 100
"""Look-ups remembered of one message, which has one as registries send them: each costs a write."""


@dataclass(frozen=True)
class Receipt:
    """What became of a message."""

    events: int
    stored_aside: int


def receive(body: bytes, account_id: int, size: int | None = None) -> Receipt:
    """Take a message in; when this returns, everything in it is committed, as events or aside.

    `size`, in bytes, is given where `body` is only the beginning of an oversized message.
    Raises OperationalError or InterfaceError where the database is out of reach, and nothing else:
    the registry then sends the message again.
    """
    if size is not None and size > MAX_SIZE:
        return _refuse(body, f"The message is larger than {MAX_SIZE} bytes.", account_id, size)
    try:
        reading = notification_parser.read(body)
        head_requests.remember(
            {_lookup(head, account_id): head.tag for head in reading.lookups[-MAX_LOOKUPS:]}
        )
        if not reading.drafts and not reading.problems:
            return Receipt(events=0, stored_aside=0)  # most are of layers: no need to wait for SQLite's lock
        return _keep(_with_tags(reading.drafts, account_id), reading.problems, account_id)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        # A registry would send a refused message forever, and no later one: keep it for us instead.
        logger.exception("A notification could not be recorded, and was stored aside.")
        return _refuse(body, f"Recording failed: {type(error).__name__}: {error}", account_id)


@transaction.atomic
def _keep(drafts: list[Draft], problems: list[tuple[bytes, str]], account_id: int) -> Receipt:
    if drafts:
        record_events(drafts, account_id)
    if problems:
        store_aside(problems, DeadLetter.Source.REGISTRY, account_id)
    return Receipt(events=len(drafts), stored_aside=len(problems))


def _refuse(body: bytes, reason: str, account_id: int, size: int | None = None) -> Receipt:
    store_aside([(body, reason)], DeadLetter.Source.REGISTRY, account_id, size)
    return Receipt(events=0, stored_aside=1)


def _with_tags(drafts: Sequence[Draft], account_id: int) -> list[Draft]:
    """Turn pulls by digest into those of the tags that their clients looked up just before."""
    lookups = [_lookup(draft, account_id) if draft.kind == "get_manifest" else None for draft in drafts]
    tags = head_requests.recall(lookup for lookup in lookups if lookup)
    return [
        draft.of_kind("get_tag", tag=tags[lookup]) if lookup in tags else draft
        for draft, lookup in zip(drafts, lookups, strict=True)
    ]


def _lookup(draft: Draft, account_id: int) -> head_requests.Lookup:
    return head_requests.Lookup(
        account_id=account_id,
        repository_name=draft.repository_name,
        digest=draft.digest,
        client_host=host_of(draft.details.get("client_address", "")),
    )


def host_of(address: str) -> str:
    """Return the host of a client's address: `10.0.0.7:5000`, `[::1]:5000`, or without a port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
