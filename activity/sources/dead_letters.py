"""Stores dead letters: messages that can't be recorded as events, but must not be lost."""

import hashlib
from collections.abc import Iterable

from django.contrib.auth import get_user_model

from activity.models import DeadLetter
from activity.recording.drafts import Delivery
from activity.sources.credentials import remove_credentials_from_body

TRUNCATED_SIZE = 64 * 1024
"""The number of bytes to store from the beginning of an oversized message."""
MAX_REASON_LENGTH = 500


def store_dead_letters(
    rejected: Iterable[tuple[bytes, str]],
    source: DeadLetter.Source,
    delivery: Delivery,
    *,
    size: int | None = None,
) -> None:
    """Store each message, or part of a message, with the reason why it can't be recorded. Ignores duplicates.

    Credentials are removed from messages that are JSON.
    If `rejected` contains only the beginning of a message, `size` is the size of the whole message in bytes.
    """
    account_id = _existing(delivery.account_id)
    letters = [
        DeadLetter(
            fingerprint=fingerprint(content, source, account_id, size),
            source=source,
            account_id=account_id,
            token_key=delivery.token_key,
            received_at=delivery.received_at,
            reason=escape_non_ascii(reason)[:MAX_REASON_LENGTH],
            content=content,
            size=len(content) if size is None else size,
        )
        for content, reason in ((remove_credentials_from_body(body), reason) for body, reason in rejected)
    ]
    letters.sort(key=lambda letter: letter.fingerprint)  # sorted, so that concurrent inserts can't deadlock
    DeadLetter.objects.bulk_create(letters, ignore_conflicts=True)


def _existing(account_id: int | None) -> int | None:
    """Return the id of an account, or None if it has been deleted while its message waited in the journal."""
    accounts = get_user_model()._default_manager.filter(pk=account_id or 0)
    return account_id if account_id and accounts.exists() else None


def fingerprint(content: bytes, source: str, account_id: int | None, size: int | None = None) -> str:
    """Return a hash of a message's source, account, size and content. Duplicates have the same hash."""
    size = len(content) if size is None else size
    return hashlib.sha256(f"{source}:{account_id}:{size}:".encode() + content).hexdigest()


def escape_non_ascii(text: str) -> str:
    """Escape NUL and non-ASCII characters, because a reason can quote a malicious message."""
    return text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
