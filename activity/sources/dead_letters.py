"""Stores dead letters: messages that can't be recorded as events, but must not be lost."""

import hashlib
from collections.abc import Iterable

from activity.models import DeadLetter
from activity.sources.credentials import remove_credentials_from_body

TRUNCATED_SIZE = 64 * 1024
"""The number of bytes to store from the beginning of an oversized message."""
MAX_REASON_LENGTH = 500


def store_dead_letters(
    rejected: Iterable[tuple[bytes, str]],
    source: DeadLetter.Source,
    account_id: int | None,
    token_key: str = "",
    size: int | None = None,
) -> None:
    """Store each message, or part of a message, with the reason why it can't be recorded. Ignores duplicates.

    Credentials are removed from messages that are JSON.
    If `rejected` contains only the beginning of a message, `size` is the size of the whole message in bytes.
    """
    letters = [
        DeadLetter(
            fingerprint=fingerprint(content, source, account_id, size),
            source=source,
            account_id=account_id,
            token_key=token_key,
            reason=escape_non_ascii(reason)[:MAX_REASON_LENGTH],
            content=content,
            size=len(content) if size is None else size,
        )
        for content, reason in ((remove_credentials_from_body(body), reason) for body, reason in rejected)
    ]
    letters.sort(key=lambda letter: letter.fingerprint)  # sorted, so that concurrent inserts can't deadlock
    DeadLetter.objects.bulk_create(letters, ignore_conflicts=True)


def fingerprint(content: bytes, source: str, account_id: int | None, size: int | None = None) -> str:
    """Return a hash of a message's source, account, size and content. Duplicates have the same hash."""
    size = len(content) if size is None else size
    return hashlib.sha256(f"{source}:{account_id}:{size}:".encode() + content).hexdigest()


def escape_non_ascii(text: str) -> str:
    """Escape NUL and non-ASCII characters, because a reason can quote a malicious message."""
    return text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
