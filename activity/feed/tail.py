"""Reads events in the order in which they were committed: late arrivals and imports come last.

A reader keeps the position up to which it has read, and continues from there. The cost of a page doesn't
depend on the number of events: a viewer who can see few of them gets an empty page with a higher position.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from activity import gating
from activity.feed.reading import read_from
from activity.models import Event, EventQuerySet, load_marks
from activity.storage import positions
from repositories.access.resolving import Access

MAX_POSITIONS = 10_000
"""The maximum number of events to read for a page, whether the viewer can see them or not."""
POLL = 0.25
"""How often to look for new events while waiting, in seconds."""


@dataclass(frozen=True)
class TailPage:
    """Events in the order of their positions."""

    rows: list[Event]
    position: int
    """The position up to which all events were read, and from which to continue."""
    newest: int
    """The position of the newest event, whether the viewer can see it or not."""
    removed: int
    """The highest position from which an event was deleted, or 0 if none was deleted."""

    @property
    def is_last(self) -> bool:
        return self.position >= self.newest


def read_page(access: Access, after: int, size: int) -> TailPage:
    """Return up to `size` events that a viewer may see, from the positions that follow `after`.

    A position that doesn't exist yet, for example because a backup was restored, stands for the newest one.
    """
    newest = positions.newest()
    after = min(after, newest)
    # Every event is on the page of a viewer who sees everything, so there is no point in reading more.
    reach = size if access.sees_everything else max(size, MAX_POSITIONS)
    up_to = min(after + reach, newest)
    rows = list(events_between(Event.objects.visible_to(access), access, after, up_to)[:size])
    load_marks(rows)
    position = rows[-1].position if len(rows) == size else up_to
    # Read last, so that what is missing from the rows was certainly recorded as removed before.
    return TailPage(rows, position, newest, positions.highest_removed())


def events_between(events: EventQuerySet, access: Access, after: int, up_to: int) -> EventQuerySet:
    """Return those of `events`, which the viewer may see, in a range of positions, in their order.

    The database reads the range of positions, and then filters it. It would otherwise have to estimate
    whether another index is better, and could read all events of the viewer's repositories.
    """
    window = positions.between(after, up_to).order_by()
    if not gating.sees_pulls(access):
        window = window.without_pulls()
    return read_from(events, [(window[: max(up_to - after, 0)], None)]).order_by("position")


def wait_for_newer(position: int, deadline: float) -> bool:
    """Wait until there are events after a position, and return whether there are any.

    `deadline` is the time, of the monotonic clock, until which to wait.
    """
    while positions.newest() <= position:
        if (seconds := deadline - time.monotonic()) <= 0:
            return False
        # SQLite can't notify, and on PostgreSQL, each waiting request would need a connection to listen on.
        time.sleep(min(seconds, POLL))
    return True
