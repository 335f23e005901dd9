"""What is new since a page of events was shown: asked for every few seconds, so it must cost little.

A page tells where it stands: an id (`since`), and how many events from there on it shows (`had`). If there
are more of them now, those are news, late arrivals too. It looks back an hour at most, so that an answer
reads few rows, however rarely there is something to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from activity.identity import first_id
from activity.models import Event

LOOK_BACK = timedelta(hours=1)
MOST = 100
"""Events that are counted; of more, the page says only that there are more."""


def position(rows: Sequence[Event]) -> dict[str, str]:
    """Return where a page with these rows, the newest, stands."""
    horizon = first_id(timezone.now() - LOOK_BACK)
    since = max(rows[-1].pk, horizon) if rows else horizon
    return {"since": str(since), "had": str(sum(row.pk >= since for row in rows))}


def response(
    request: HttpRequest, events: QuerySet[Event], query: Mapping[str, str], url: str
) -> HttpResponse:
    """Say how much is new, or, with a 204, that nothing is that the page didn't tell (`told`) already.

    Raises Http404 for a position that no page has.
    """
    try:
        since = UUID(query["since"])
    except ValueError as error:
        raise Http404 from error
    had, told = (_number(query.get(name, "0")) for name in ("had", "told"))
    ids = events.filter(id__gte=since).order_by("-id").values_list("id", flat=True)
    new = len(ids[: had + MOST]) - had
    if new <= 0 or new == told:
        return HttpResponse(status=204)
    return render(request, "activity/_news.html", {"new": new, "more": new == MOST, "url": url})


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise Http404
    return int(text)
