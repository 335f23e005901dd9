"""Exports in the order of positions, which can be resumed after the last line that was received.

An export ends at the position at which it began, so a resumed one gives the same lines. Each line has a
cursor, which also says which deletions the export has taken into account: after another one, lines could be
missing, so the export ends with an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from activity.feed import tail
from activity.feed.export import CHUNK, Columns, EventsRemoved, columns_for
from activity.models import Event, EventQuerySet, load_marks
from activity.storage import positions
from repositories.access.resolving import Access
from repositories.utils.keyset import InvalidCursor

CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})", re.ASCII)


@dataclass(frozen=True)
class Cursor:
    """Where an export is, and where it ends."""

    position: int
    end: int
    removal: int
    """The last removal before the export began."""

    @classmethod
    def begin(cls) -> Cursor:
        """Return the cursor of a new export."""
        newest = positions.newest()
        # Read after the newest position: until the first event is read, no deletion matters.
        return cls(0, newest, positions.last_removal())

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor of a line. Raises InvalidCursor if no export can have such a cursor."""
        if match := CURSOR.fullmatch(text):
            cursor = cls(*map(int, match.groups()))
            if cursor.position <= cursor.end <= positions.newest():
                return cursor
        raise InvalidCursor(_("The cursor is not one of an export."))

    def __str__(self) -> str:
        return f"{self.position}-{self.end}-{self.removal}"


def pages(events: EventQuerySet, access: Access, cursor: Cursor) -> Iterator[list[Event]]:
    """Yield those of `events`, which the viewer may see, that follow a cursor, page by page.

    Raises EventsRemoved if events that follow the cursor were deleted since the export began.
    """
    position = cursor.position
    while position < cursor.end:
        up_to = min(position + CHUNK, cursor.end)
        page = list(tail.events_between(events, access, position, up_to))
        load_marks(page)
        # Asked after reading, so that no deletion goes unnoticed.
        if positions.were_removed(position, cursor.end, cursor.removal):
            raise EventsRemoved
        yield page
        position = up_to


def columns(access: Access, cursor: Cursor, format: str) -> Columns:
    """Return the columns of an export, with the cursor of each line."""
    return {
        "cursor": lambda event: str(replace(cursor, position=event.position)),
        "position": lambda event: event.position,
        **columns_for(access, format),
    }
