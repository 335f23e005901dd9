"""The identity of events: a UUID in version 7 layout (RFC 9562) that begins with the event's time.

| bits | what                                                                              |
| ---- | --------------------------------------------------------------------------------- |
| 48   | `occurred_at`, in milliseconds since 1970                                         |
| 4    | version, 7                                                                        |
| 12   | the fraction of the millisecond, in units of 1/4096 ms                            |
| 2    | variant                                                                           |
| 1    | whether it is a pull, so that pulls and the rest can be stored apart              |
| 3    | the ordinal, where one message makes several events                               |
| 58   | a hash of the recording account and of the source's own id of the event           |

So one key makes a redelivered message harmless (the same event has the same id), orders the feed,
is the cursor of its pages, and selects a time range, without an index on time.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9000, 1, 1, tzinfo=UTC)
"""No event occurs from then on: nearer to Python's last year, time zones and charts would reach beyond it."""
MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)

_VERSION = 7 << 76
_VARIANT = 0b10 << 62


def event_id(
    occurred_at: datetime, ordinal: int, account_id: int | None, source_id: str, *, is_pull: bool = False
) -> UUID:
    """Return the id of an event.

    `ordinal` (0 to 7) tells the events of one message apart, and orders them. `account_id` is the
    user whose token delivered it (None for the application itself), so that no account can take
    the ids of another's events.

    Raises ValueError for a time before 1970.
    """
    if occurred_at < EPOCH:
        raise ValueError("it happened before 1970")
    milliseconds, remainder = divmod(occurred_at - EPOCH, MILLISECOND)
    fraction = (remainder // MICROSECOND) * 4096 // 1000
    digest = hashlib.sha256(f"{account_id or 0}:{source_id}".encode("utf-8", "surrogatepass")).digest()
    hashed = int.from_bytes(digest[:8]) >> 6
    rest = is_pull << 61 | ordinal << 58 | hashed
    return UUID(int=milliseconds << 80 | _VERSION | fraction << 64 | _VARIANT | rest)


def first_id(moment: datetime) -> UUID:
    """Return the lowest id that an event at `moment`, to the millisecond, can have.

    Events from a moment on have this id or a higher one; those before it have a lower one.
    """
    milliseconds = max(moment - EPOCH, timedelta()) // MILLISECOND
    return UUID(int=milliseconds << 80)


def moment_of(id: UUID) -> datetime:
    """Return when an event of this id occurred, to the millisecond."""
    return EPOCH + (id.int >> 80) * MILLISECOND
