"""Tries messages that were stored aside again, after what kept them from being recorded was mended."""

import json

from django.db import transaction
from django.utils import timezone

from activity import distribution, producers
from activity.dead_letters import ascii_only, fingerprint, store_aside
from activity.models import DeadLetter
from activity.recording import record_events


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
    reading = distribution.read(content)
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
