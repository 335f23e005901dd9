"""Replays dead letters after the cause of their rejection has been fixed, or dismisses them with a note."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone, translation

from activity.models import DeadLetter
from activity.recording.drafts import Delivery, Draft
from activity.recording.record import record_events
from activity.sources import auditing, notification_parser, notifications, producers
from activity.sources.dead_letters import escape_non_ascii, fingerprint, store_dead_letters
from activity.storage import positions
from repositories.utils.text import storable_text

logger = logging.getLogger(__name__)

CHUNK = 500
"""The number of ids to read per query."""
BUDGET = 20.0
"""The time limit of a bulk replay in seconds. Web servers usually abort a request after 30 seconds."""


@dataclass
class ReplayResult:
    """The result of a bulk replay: the number of dead letters with each outcome."""

    recorded: int = 0
    rejected: int = 0
    """The number of messages that still can't be recorded. Each keeps the reason for its latest rejection."""
    failed: int = 0
    """The number of messages whose replay raised an exception. The server's log has the details."""
    is_partial: bool = False
    """Whether the time limit was reached before all messages were replayed."""


def replay_all(letters: QuerySet[DeadLetter], budget: float = BUDGET) -> ReplayResult:
    """Replay messages, oldest first, each in its own transaction, for up to `budget` seconds."""
    result, end = ReplayResult(), time.monotonic() + budget
    for pk in _iterate_ids(letters):
        if time.monotonic() > end:
            result.is_partial = True
            break
        try:
            if replay(DeadLetter.objects.select_related("account").get(pk=pk)):
                result.recorded += 1
            else:
                result.rejected += 1
        except Exception:
            logger.exception("Dead letter %s could not be replayed.", pk)
            result.failed += 1
    recorded, rejected, failed = result.recorded, result.rejected, result.failed
    if recorded or rejected or failed:
        auditing.record("replay_messages", recorded=recorded, rejected=rejected, failed=failed)
    return result


def _iterate_ids(letters: QuerySet[DeadLetter]) -> Iterator[int]:
    """Yield the ids of the letters.

    Keyset pagination skips no letters, even if letters stop matching the queryset once they are replayed.
    """
    last = 0
    while ids := list(letters.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK]):
        yield from ids
        last = ids[-1]


@transaction.atomic
def dismiss_all(letters: QuerySet[DeadLetter], user: Any, note: str) -> int:
    """Dismiss the messages that are still waiting, and return their number."""
    waiting = letters.filter(DeadLetter.WAITING).order_by()
    count = waiting.update(dismissed_at=timezone.now(), dismissed_by=user.pk, note=note)
    if count:
        auditing.record("dismiss_messages", count=count, note=storable_text(note, auditing.MAX_TEXT_LENGTH))
    return count


@transaction.atomic
def replay(letter: DeadLetter) -> bool:
    """Replay a dead letter, and return whether it is resolved.

    Existing events are left unchanged. A message that is rejected again stays a dead letter, with the new
    reason. If only parts of a message are rejected, these parts become separate dead letters.
    """
    positions.lock()  # before any row is locked, so that this can't deadlock with the recorder
    content = bytes(letter.content)
    delivery = Delivery(letter.account_id, letter.token_key)
    if letter.is_truncated:
        rejected = [(content, "Only the beginning of the message was stored, so it can't be replayed.")]
    elif letter.source == DeadLetter.Source.REGISTRY:
        rejected = _replay_notification(content, delivery)
    elif letter.source == DeadLetter.Source.APPLICATION:
        record_events([Draft.from_json(content, Delivery(received_at=letter.received_at))])
        rejected = []
    else:
        rejected = _replay_event(content, letter)
    reasons = [reason for part, reason in rejected if _is_whole_letter(part, letter)]
    if reasons:
        letter.reason = escape_non_ascii(reasons[0])
    else:
        store_dead_letters(rejected, DeadLetter.Source(letter.source), delivery)
        letter.replayed_at = timezone.now()
    letter.save(update_fields=["reason", "replayed_at"])
    return not reasons


def _replay_notification(content: bytes, delivery: Delivery) -> list[tuple[bytes, str]]:
    parsed = notification_parser.parse(content, delivery)
    notifications.record_messages([parsed])
    return parsed.rejected


def _replay_event(content: bytes, letter: DeadLetter) -> list[tuple[bytes, str]]:
    if letter.account is None:
        return [(content, "The account that sent this event has been deleted.")]
    serializer = producers.ProducedEventSerializer(data=json.loads(content))
    with translation.override(None):  # what is stored is in English, whatever language the page is in
        if not serializer.is_valid():
            return [(content, str(serializer.errors))]
    (result,) = producers.receive([serializer.validated_data], letter.account, letter.token_key)
    return [(content, result["dead_letter"])] if result["dead_letter"] else []


def _is_whole_letter(content: bytes, letter: DeadLetter) -> bool:
    """Return whether rejected content is the whole letter, not just one of its notifications."""
    size = letter.size if letter.is_truncated else len(content)
    return fingerprint(content, letter.source, letter.account_id, size) == letter.fingerprint
