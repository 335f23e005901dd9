"""Stores aside what can't be recorded, so that nothing authenticated is refused or lost."""

import hashlib
from collections.abc import Iterable

from activity.models import DeadLetter

KEPT_OF_AN_OVERSIZED_MESSAGE = 64 * 1024
MAX_REASON_LENGTH = 500


def store_aside(
    problems: Iterable[tuple[bytes, str]],
    source: DeadLetter.Source,
    account_id: int | None,
    size: int | None = None,
) -> None:
    """Store contents with the reasons why they can't be recorded; one that comes again is kept once.

    `size` is that of the whole message, in bytes, where the content is only its beginning.
    """
    letters = [
        DeadLetter(
            fingerprint=fingerprint(content, source, account_id, size),
            source=source,
            account_id=account_id,
            reason=ascii_only(reason)[:MAX_REASON_LENGTH],
            content=content,
            size=len(content) if size is None else size,
        )
        for content, reason in problems
    ]
    letters.sort(key=lambda letter: letter.fingerprint)  # one order, so that no two deadlock
    DeadLetter.objects.bulk_create(letters, ignore_conflicts=True)


def fingerprint(content: bytes, source: str, account_id: int | None, size: int | None = None) -> str:
    """Return what makes two messages the same: account, source, size and content."""
    size = len(content) if size is None else size
    return hashlib.sha256(f"{source}:{account_id}:{size}:".encode() + content).hexdigest()


def ascii_only(text: str) -> str:
    """Escape what isn't printable everywhere: a reason may quote a hostile message."""
    return text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
