"""Exports any number of events as CSV or JSON Lines.

Two events record each export. The first is recorded before any data is sent, so that the export is on
record even if the process dies. The second is recorded at the end, with the number of exported events and
whether the export is complete. Both events have the same `request_id`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Any
from uuid import uuid4
from weakref import finalize

from asgiref.sync import sync_to_async
from django.db.models import QuerySet, prefetch_related_objects
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.http import content_disposition_header

from activity import gating
from activity.feed import slots
from activity.feed.ordering import BY_TIME
from activity.models import Event
from activity.sources import auditing
from activity.storage import positions
from repositories.access.resolving import Access
from repositories.accounts import current_request
from repositories.utils.text import storable_text, visible_text

Columns = Mapping[str, Callable[[Event], Any]]
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
"""The content types of the export formats."""
CHUNK = 2000
"""The number of events to read and hold in memory at a time."""
MAX_FILTERS_LENGTH = 1024
MAX_PLACE_LENGTH = 100
BYTE_ORDER_MARK = "\ufeff"
"""Without it, Excel takes UTF-8 for the encoding of old versions of Windows."""

# Matches the positions where a spreadsheet could detect a formula. A formula begins with a sign (`=+-@`). The
# sign can be full-width or small, or follow invisible characters. A formula can be at the start of a value,
# or after a semicolon, tab or line break, because spreadsheets that use semicolons as separators ignore the
# quotes. Source: OWASP, CSV Injection.
FORMULA = re.compile(
    r"(^|[;\t\r\n])(?=[\s\0-\x1f\x7f\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠﹦﹢﹣﹫−])|^(?=[\t\r\n])"
)


class EventsRemoved(Exception):
    """Raised by the pages of an export if events were deleted after it began."""

    def __init__(self) -> None:
        super().__init__("Events of this export were deleted after it had begun. Begin a new one.")


def response(
    events: QuerySet[Event] | Iterator[list[Event]],
    format: str,
    place: str = "",
    *,
    actor: Any,
    filters: str = "",
) -> HttpResponseBase:
    """Return a response that streams events as a download for a spreadsheet, newest first.

    If too many downloads are being streamed already, return a response that says so. `events` is a queryset
    or an iterator of pages. For the other values, see `download`.
    """
    pages = _complete(_pages(events) if isinstance(events, QuerySet) else events)
    columns = columns_for(Access.for_user(actor), format)
    header = BYTE_ORDER_MARK + header_of(columns, format) if format == "csv" else ""
    try:
        return download(pages, format, columns, header, place, actor=actor, filters=filters)
    except slots.NoSlot as refusal:
        return refusal.response
    except EventsRemoved as error:
        return HttpResponse(str(error), status=HTTPStatus.CONFLICT, content_type="text/plain; charset=utf-8")


def download(
    pages: Iterator[list[Event]],
    format: str,
    columns: Columns,
    header: str,
    place: str = "",
    *,
    actor: Any,
    filters: str,
) -> HttpResponseBase:
    """Return a response that streams events as a download, in constant memory.

    `actor` is the user who exports the events. The pages must contain only events that `actor` may see.
    `header` is the beginning of the file. `place` is what the events are about, for the name of the file.
    `filters` is the text of the filters or the search. It is recorded with the export.

    Raises NoSlot if too many downloads are being streamed already.
    """
    access, username = Access.for_user(actor), actor.get_username()
    with ExitStack() as stack:
        stack.enter_context(slots.DOWNLOADS.take(actor.pk))
        pieces = export(pages, format, access, columns, header, username=username, filters=filters)
        stream = _Stream(pieces, stack.pop_all().close)
        return StreamingHttpResponse(
            _AsyncStream(stream) if current_request.is_asynchronous() else stream,
            headers={
                "Content-Type": CONTENT_TYPES[format],
                "Content-Disposition": content_disposition_header(True, _file_name(place, format)),
            },
        )


def export(
    pages: Iterator[list[Event]],
    format: str,
    access: Access,
    columns: Columns,
    header: str,
    *,
    username: str | None = None,
    filters: str = "",
) -> Generator[str]:
    """Record that an export has started, and return the pieces of the file.

    For the values, see `download`. Without `username`, the current actor exports the events.
    """
    # Read the first page now, so that errors can be reported and the export doesn't include its own event.
    first = next(pages, [])
    record = partial(
        auditing.record,
        "export_events",
        username=username,
        request_id=str(uuid4()),
        format=format,
        filters=storable_text(filters, MAX_FILTERS_LENGTH),
    )
    record(state="started")
    pieces = _write(header, chain([first], pages), format, access, columns, record)
    next(pieces)  # from now on, the end is recorded, even if nobody reads the file
    return pieces


def _file_name(place: str, format: str) -> str:
    """Return a name that says what was exported and when: `events-acme-web-2026-11-26T0930Z.csv`."""
    place_name = re.sub(r"[^A-Za-z0-9._]+", "-", place).strip("-.")[:MAX_PLACE_LENGTH]
    return "-".join(filter(None, ["events", place_name, f"{timezone.now():%Y-%m-%dT%H%MZ}"])) + f".{format}"


class _Stream:
    """The pieces of a file, and what to do at the end, or when nobody reads them any more."""

    def __init__(self, pieces: Generator[str], end: Callable[[], None]) -> None:
        self.pieces = pieces
        self.end = finalize(self, end)  # runs once, even if the response is dropped without being closed

    def __iter__(self) -> Iterator[str]:
        yield from self.pieces
        self.close()

    def close(self) -> None:
        self.pieces.close()
        self.end()


class _AsyncStream:
    """A stream for an ASGI server, which would read a synchronous one to its end before it sends anything."""

    def __init__(self, stream: _Stream) -> None:
        self.stream = stream

    async def __aiter__(self) -> AsyncIterator[str]:
        pieces = iter(self.stream)
        read = sync_to_async(lambda: next(pieces, None))
        while (piece := await read()) is not None:
            yield piece

    def close(self) -> None:
        self.stream.close()


def _complete(pages: Iterator[list[Event]]) -> Iterator[list[Event]]:
    """Yield pages. Raises EventsRemoved if any event that was there at the beginning has been deleted."""
    newest, removal = positions.newest(), positions.last_removal()
    for page in pages:
        # Asked after reading, so that no deletion goes unnoticed.
        if positions.were_removed(0, newest, removal):
            raise EventsRemoved
        yield page


def _pages(events: QuerySet[Event]) -> Iterator[list[Event]]:
    """Yield the events page by page, using keyset pagination, so that no database cursor stays open."""
    cursor = None
    while True:
        page = BY_TIME.page(events, CHUNK, cursor)
        yield page.rows
        if not (cursor := page.next):
            return


def _write(
    header: str,
    pages: Iterable[list[Event]],
    format: str,
    access: Access,
    columns: Columns,
    record: Callable[..., Any],
) -> Generator[str]:
    """Yield the file in pieces, and then record whether the export was completed or aborted."""
    exported, state = 0, "aborted"
    try:
        yield ""  # see `export`
        if header:
            yield header
        for page in pages:
            exported += len(page)
            yield as_lines(page, format, access, columns)
        state = "complete"
    except EventsRemoved as error:
        yield _csv([["error", str(error)]]) if format == "csv" else f"{json.dumps({'error': str(error)})}\n"
    finally:
        record(state=state, exported=exported)


def header_of(columns: Columns, format: str) -> str:
    """Return the first line of a file, or "" if files of this format have none."""
    return _csv([columns.keys()]) if format == "csv" else ""


def as_lines(events: list[Event], format: str, access: Access, columns: Columns) -> str:
    """Return events as lines of a file."""
    # The details depend on the repository unless the viewer can see everything.
    prefetch_related_objects(events, "delivered_by" if access.sees_everything else "repository__namespace")
    rows = [{name: value(event) for name, value in columns.items()} for event in events]
    if format == "csv":
        return _csv([*map(_cell, row.values())] for row in rows)
    return "".join(f"{json.dumps(row)}\n" for row in rows)


COLUMNS: Columns = {
    "id": lambda event: str(event.pk),
    "occurred_at": lambda event: iso(event.occurred_at),
    "label": lambda event: event.english_label,
    "kind": lambda event: event.kind,
    "type": lambda event: event.type,
    "category": lambda event: event.category,
    "subject": lambda event: event.subject,
    "repository": lambda event: event.repository_name,
    "tag": lambda event: event.tag,
    "digest": lambda event: event.digest,
    "actor_type": lambda event: event.actor_type,
    "actor": lambda event: event.actor_name,
    "disputed": lambda event: event.is_disputed,
}

DELIVERY_COLUMNS: Columns = {
    "delivered_by": lambda event: event.delivery_account or "",
    "delivered_with": lambda event: event.delivery_token or "",
}


def columns_for(access: Access, format: str) -> Columns:
    """Return the columns of an export, including what the viewer may see of the delivery and the details."""
    delivery = DELIVERY_COLUMNS if gating.sees_delivery(access) else {}
    details = partial(gating.visible_details, access=access)
    if format != "csv":
        return {**COLUMNS, **delivery, "details": details}

    def client_address(event: Event) -> Any:
        known = details(event)
        return known.get("client_address", "") if isinstance(known, dict) else ""

    # A spreadsheet would read a tag such as 1.10 as a number, and can't search within the details.
    tag = {"tag": lambda event: event.reference if event.tag and event.repository_name else event.tag}
    return {**COLUMNS, **tag, **delivery, "client_address": client_address, "details": details}


def iso(moment: datetime) -> str:
    """Format a time in UTC, always with microseconds, so that all times have the same form."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    """Return a value as a CSV cell that spreadsheets don't interpret as a formula.

    Invisible characters are escaped.
    """
    return visible_text(FORMULA.sub(r"\1'", value if isinstance(value, str) else json.dumps(value)))
