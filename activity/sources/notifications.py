"""Records messages: what registries have delivered, and what happened in this application.

Any number of messages can be recorded at once. The result is the same as if each was recorded on its own, in
the order of receipt.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from django.db import transaction

from activity.models import DeadLetter, JournalEntry
from activity.recording.drafts import Delivery, Draft
from activity.recording.record import record_events
from activity.sources import manifest_requests, nodes, notification_parser
from activity.sources.dead_letters import store_dead_letters
from activity.sources.notification_parser import ParsedMessage
from activity.storage.journal import Entry

logger = logging.getLogger(__name__)

MAX_SIZE = 16 * 1024 * 1024
"""The maximum size of a message in bytes. Registries send one event of a few KB per message."""
SOURCES: dict[int, DeadLetter.Source] = {
    JournalEntry.Source.REGISTRY: DeadLetter.Source.REGISTRY,
    JournalEntry.Source.APPLICATION: DeadLetter.Source.APPLICATION,
}
"""The sources of the dead letters that entries of the journal become."""


@dataclass(frozen=True)
class Receipt:
    """The number of events and the number of dead letters that resulted from a message."""

    events: int
    dead_letters: int


@transaction.atomic
def record_entries(entries: Sequence[Entry]) -> dict[int, Receipt]:
    """Record entries of the journal as events or dead letters, and return what resulted from each, by its id.

    Call this in the transaction that removes the entries.
    """
    messages = [_parse(entry, number) for number, entry in enumerate(entries)]
    starts = nodes.update_nodes((message.sightings, message.delivery) for message in messages)
    events = record_messages(messages)
    if starts:
        record_events(starts)
    for entry, message in zip(entries, messages, strict=True):
        if message.rejected:
            store_dead_letters(
                message.rejected, SOURCES[entry.source], message.delivery, size=_full_size(entry)
            )
    return {
        entry.id: Receipt(number, len(message.rejected))
        for entry, message, number in zip(entries, messages, events, strict=True)
    }


def record_messages(messages: Sequence[ParsedMessage]) -> list[int]:
    """Record the valid notifications of messages, and return the number of events of each message."""
    pulls = manifest_requests.resolve([message.requests for message in messages])
    recorded = [
        (message.drafts + pulled, [request.draft for request in message.requests if request.asks_for_tag])
        for message, pulled in zip(messages, pulls, strict=True)
    ]
    for part in _split_at_deletions(recorded):
        drafts, asked = zip(*part, strict=True)
        record_events(list(chain.from_iterable(drafts)), list(chain.from_iterable(asked)))
    return [len(drafts) for drafts, _ in recorded]


def store_as_dead_letter(entry: Entry, error: Exception) -> None:
    """Store an entry of the journal that can't be recorded as a dead letter."""
    store_dead_letters(
        [(entry.content, f"Recording failed: {type(error).__name__}: {error}")],
        SOURCES[entry.source],
        _delivery(entry),
        size=_full_size(entry),
    )


def _parse(entry: Entry, number: int) -> ParsedMessage:
    """Return what an entry says. If it can't be parsed for any reason, it is rejected as a whole."""
    delivery = _delivery(entry, number)
    if entry.size > MAX_SIZE:
        reason = f"The message is larger than {MAX_SIZE} bytes."
        return ParsedMessage(delivery, rejected=[(entry.content, reason)])
    try:
        if entry.source == JournalEntry.Source.APPLICATION:
            return ParsedMessage(delivery, drafts=[Draft.from_json(entry.content, delivery)])
        return notification_parser.parse(entry.content, delivery)
    except Exception as error:
        logger.exception("A message could not be parsed and was stored as a dead letter.")
        reason = f"Parsing failed: {type(error).__name__}: {error}"
        return ParsedMessage(delivery, rejected=[(entry.content, reason)])


def _delivery(entry: Entry, number: int = 0) -> Delivery:
    return Delivery(entry.account_id, entry.token_key, entry.received_at, number)


def _full_size(entry: Entry) -> int | None:
    """Return the size of an oversized message, of which only the beginning was kept, or None for others."""
    return entry.size if entry.size > len(entry.content) else None


def _split_at_deletions(messages: Sequence[tuple[list[Draft], list[Draft]]]) -> Iterator[Sequence[Any]]:
    """Yield messages in parts: a message that deletes a repository is a part of its own.

    After it, the repository's name stands for another repository.
    """
    deletions = [
        number
        for number, (drafts, _) in enumerate(messages)
        if any(draft.kind == "delete_repository" for draft in drafts)
    ]
    bounds = sorted({0, len(messages), *deletions, *(number + 1 for number in deletions)})
    for start, end in pairwise(bounds):
        yield messages[start:end]
