"""Notifies open pages of new events. Pages poll every few seconds, so each poll must be cheap.

A page sends its position: an id (`since`), and the number of events that it shows from that id on (`shown`).
If there are now more events from that id on, the difference is the number of new events, including events
that arrived late. The id is at most an hour old, so that few rows are read even if events are rare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from activity.feed.plans import Plan
from activity.feed.reading import find
from activity.identity import first_id
from activity.models import Event

LOOK_BACK = timedelta(hours=1)
MAX_COUNTED = 100
"""The maximum number of new events to count. If there may be more, the page says “or more”."""


def position(rows: Sequence[Event]) -> dict[str, str]:
    """Return, as query parameters, the position of a page that shows `rows`, the newest events."""
    horizon = first_id(timezone.now() - LOOK_BACK)
    since = max(rows[-1].pk, horizon) if rows else horizon
    return {"since": str(since), "shown": str(sum(row.pk >= since for row in rows))}


def response(request: HttpRequest, plan: Plan, query: Mapping[str, str], url: str) -> HttpResponse:
    """Return a notice with the number of new events, or a 204 response if there is nothing new to announce.

    The `announced` parameter is the number in the notice that the page already shows. Raises Http404 for an
    invalid position.
    """
    try:
        since = UUID(query["since"])
    except ValueError as error:
        raise Http404 from error
    shown, announced = (_parse_count(query.get(name, "0")) for name in ("shown", "announced"))
    new = len(find(plan.since(since), shown + MAX_COUNTED).rows) - shown
    if new <= 0 or new == announced:
        return HttpResponse(status=204)
    return render(
        request, "registry_activity/_new_events.html", {"new": new, "more": new == MAX_COUNTED, "url": url}
    )


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise Http404
    return int(text)
