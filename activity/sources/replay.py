"""Tries messages that were stored aside again, after what kept them from being recorded was mended.

Those that never will be recorded are dismissed, with a note that says why.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from activity.models import DeadLetter
from activity.recording.record import record_events
from activity.sources import auditing, notification_parser, producers
from activity.sources.dead_letters import ascii_only, fingerprint, store_aside

logger = logging.getLogger(__name__)

CHUNK = 500
"""Messages whose ids are read at a time."""
BUDGET = 20.0
"""Seconds that a replay of many may take: web servers give up on a request after 30."""


@dataclass
class Outcome:
    """What became of messages that were replayed."""

    recorded: int = 0
    left: int = 0
    """Still stored aside, each with its reason."""
    failed: int = 0
    """Still stored aside, since an error came up that is in the server's log."""
    is_partial: bool = False
    """Whether time ran out before all were tried."""


def replay_all(letters: QuerySet[DeadLetter], budget: float = BUDGET) -> Outcome:
    """Replay messages, the oldest first, each in a transaction of its own; it may take `budget` seconds."""
    outcome, end = Outcome(), time.monotonic() + budget
    for pk in _ids(letters):
        if time.monotonic() > end:
            outcome.is_partial = True
            break
        try:
            if replay(DeadLetter.objects.select_related("account").get(pk=pk)):
                outcome.recorded += 1
            else:
                outcome.left += 1
        except Exception:
            logger.exception("Message %s, stored aside, could not be replayed.", pk)
            outcome.failed += 1
    recorded, left, failed = outcome.recorded, outcome.left, outcome.failed
    if recorded or left or failed:
        auditing.record("replay_messages", recorded=recorded, left=left, failed=failed)
    return outcome


def _ids(letters: QuerySet[DeadLetter]) -> Iterator[int]:
    """Yield ids by keyset: what is replayed may leave the list meanwhile."""
    last = 0
    while ids := list(letters.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK]):
        yield from ids
        last = ids[-1]


@transaction.atomic
def dismiss_all(letters: QuerySet[DeadLetter], user: Any, note: str) -> int:
    """Dismiss those messages that are waiting, and return how many these were."""
    waiting = letters.filter(DeadLetter.WAITING).order_by()
    count = waiting.update(dismissed_at=timezone.now(), dismissed_by=user.pk, note=note)
    if count:
        auditing.record("dismiss_messages", count=count, note=auditing.storable(note))
    return count


@transaction.atomic
def replay(letter: DeadLetter) -> bool:
    """Record what can be recorded now, and tell whether nothing of the message is left aside.

    Idempotent: events recorded before are left as they are. What still can't be understood stays,
    with the reason of today.
    """
    content = bytes(letter.content)
    if letter.is_truncated:
        problems = [(content, "Only the beginning of the message was kept: it can't be replayed.")]
    elif letter.source == DeadLetter.Source.REGISTRY:
        problems = _replay_notification(content, letter.account_id)
    else:
        problems = _replay_event(content, letter)
    left = [reason for raw, reason in problems if _is_same(raw, letter)]
    if left:
        letter.reason = ascii_only(left[0])
    else:
        store_aside(problems, DeadLetter.Source(letter.source), letter.account_id)
        letter.replayed_at = timezone.now()
    letter.save(update_fields=["reason", "replayed_at"])
    return not left


def _replay_notification(content: bytes, account_id: int | None) -> list[tuple[bytes, str]]:
    reading = notification_parser.read(content)
    record_events(reading.drafts, account_id)
    return reading.problems


def _replay_event(content: bytes, letter: DeadLetter) -> list[tuple[bytes, str]]:
    if letter.account is None:
        return [(content, "The account that sent it is gone.")]
    serializer = producers.ProducedEventSerializer(data=json.loads(content))
    if not serializer.is_valid():
        return [(content, str(serializer.errors))]
    (outcome,) = producers.receive([serializer.validated_data], letter.account)
    return [(content, outcome["stored_aside"])] if outcome["stored_aside"] else []


def _is_same(content: bytes, letter: DeadLetter) -> bool:
    """Tell whether a problem is the letter itself, and not one of several in it."""
    size = letter.size if letter.is_truncated else len(content)
    return fingerprint(content, letter.source, letter.account_id, size) == letter.fingerprint
