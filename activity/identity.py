"""Event ids: version 7 UUIDs (RFC 9562), which begin with the time of the event.

| bits | content                                                                           |
| ---- | --------------------------------------------------------------------------------- |
| 48   | `occurred_at`, in milliseconds since 1970                                         |
| 4    | version, 7                                                                        |
| 12   | the fraction of the millisecond, in units of 1/4096 ms                            |
| 2    | variant                                                                           |
| 1    | whether the event is a pull, so that pulls can be stored in separate partitions   |
| 3    | the ordinal, which distinguishes the events from one message                      |
| 58   | a hash of the account that delivered the message, and of the message's source id  |

A redelivered message is harmless, because the same event has the same id. The id also orders the feed, serves
as the pagination cursor, and selects time ranges, so no index on time is needed.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9000, 1, 1, tzinfo=UTC)
"""All events occur before this time.

A later time could exceed the range of `datetime` when it is converted to a time zone or used in a chart.
"""
by_number = attrgetter("int")
"""Sorts ids in the same order as without a key, in a twentieth of the time."""
MILLISECOND = timedelta(milliseconds=1)

_VERSION = 7 << 76
_VARIANT = 0b10 << 62


def event_id(
    occurred_at: datetime, ordinal: int, account_id: int | None, source_id: str, *, is_pull: bool = False
) -> UUID:
    """Return the id of an event.

    `ordinal` (0 to 7) distinguishes the events from one message and orders them. `account_id` is the id
    of the user whose token delivered the event, or None for the application itself. The hash includes the
    account, so that an account can't create an event with the id of another account's event.

    Raises ValueError if `occurred_at` is before 1970, because an id can't contain a negative time.
    """
    if occurred_at < EPOCH:
        raise ValueError("The time is before 1970.")
    since = occurred_at - EPOCH
    # In integers, because dividing a timedelta takes several times as long.
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    milliseconds, remainder = divmod(microseconds, 1_000)
    fraction = remainder * 4096 // 1000
    digest = hashlib.sha256(f"{account_id or 0}:{source_id}".encode("utf-8", "surrogatepass")).digest()
    hashed = int.from_bytes(digest[:8]) >> 6
    low_bits = is_pull << 61 | ordinal << 58 | hashed
    return UUID(int=milliseconds << 80 | _VERSION | fraction << 64 | _VARIANT | low_bits)


def is_id_of(id: UUID, occurred_at: datetime, *, is_pull: bool) -> bool:
    """Return whether an event with this time can have this id."""
    return id.int >> 61 == event_id(occurred_at, 0, None, "", is_pull=is_pull).int >> 61


def with_time(id: UUID, moment: datetime) -> UUID:
    """Return the id that an event would have if it had occurred at `moment`, to the millisecond."""
    return UUID(int=first_id(moment).int | id.int & ((1 << 80) - 1))


def first_id(moment: datetime) -> UUID:
    """Return the lowest possible id of an event at `moment`, to the millisecond.

    Events before `moment` have lower ids. All other events have this id or a higher one.
    """
    milliseconds = max(moment - EPOCH, timedelta()) // MILLISECOND
    return UUID(int=milliseconds << 80)


def last_id(id: UUID) -> UUID:
    """Return the highest possible id of an event at the same time as the event with this id."""
    return UUID(int=id.int | (1 << 62) - 1)


def moment_of(id: UUID) -> datetime:
    """Return the time of the event with this id, to the millisecond."""
    return EPOCH + (id.int >> 80) * MILLISECOND
