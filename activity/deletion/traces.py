"""Says what auto-deletion left behind: up to when events were deleted, and where they are archived."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from django.db.models import Max, QuerySet
from django.utils.translation import gettext

from activity.deletion.verification import RUN
from activity.identity import moment_of
from activity.models import Archive, LedgerEntry, TallyChange
from repositories.utils.moments import format_time

MAX_ARCHIVES = 5
"""The maximum number of archives to name for an event."""


def deleted_up_to() -> date | None:
    """Return the last day (UTC) of which a run has deleted events, or None if no run has deleted any."""
    deletions: dict[str, Any] = {"cause__startswith": RUN, "events__lt": 0}
    folded = LedgerEntry.objects.filter(**deletions).aggregate(last=Max("day"))["last"]
    unfolded = TallyChange.objects.filter(**deletions).aggregate(last=Max("start"))["last"]
    return max(filter(None, (folded, unfolded and unfolded.astimezone(UTC).date())), default=None)


def deletion_note(start: datetime | None = None) -> str:
    """Return a sentence about deleted events for a list that begins at `start`, or "" if none of it is gone.

    It says the same whether the viewer could have seen the deleted events or not.
    """
    last = deleted_up_to()
    if last is None or (start and start.date() > last):
        return ""
    text = gettext("Auto-deletion has deleted some or all events up to %(day)s.")
    return text % {"day": _formatted(last)}


def missing_event_note(id: UUID) -> str:
    """Return what to say about an id of which no event is there, or can't be seen.

    It depends only on the time in the id, so that nobody learns whether there is or was such an event.
    """
    last = deleted_up_to()
    if last is None or moment_of(id).date() > last:
        return ""
    text = gettext(
        "Auto-deletion has deleted some or all events up to %(last)s, so an event from %(day)s may be gone."
    )
    return text % {"last": _formatted(last), "day": _formatted(moment_of(id))}


def missing_event_sources(id: UUID) -> str:
    """Name the archives that may contain an event, for MSR admins and auditors alone."""
    run = gettext("a run")
    named = [f"{archive} ({archive.run or run}: {', '.join(archive.rules)})" for archive in archives_of(id)]
    if not named:
        return ""
    return gettext("It may be in the archive %(archives)s.") % {"archives": gettext(", or in ").join(named)}


def archives_of(id: UUID) -> QuerySet[Archive]:
    """Return the archives that may contain an event. Only MSR admins and auditors may know them."""
    found = Archive.objects.filter(first_id__lte=id, last_id__gte=id).exclude(deleted_at=None)
    return found.select_related("run")[:MAX_ARCHIVES]


def _formatted(day: date) -> str:
    return format_time(day, "long_day")
