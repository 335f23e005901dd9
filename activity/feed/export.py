"""Exports events as CSV or as JSON lines, newest first, however many they are.

An export is recorded twice: before anything is sent, so that none goes unrecorded whatever becomes of
the program, and when it ends, with how many events were sent and whether these were all. Both records
have the same `request_id`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from functools import partial
from itertools import chain
from typing import Any, Literal
from uuid import uuid4

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

from activity import gating
from activity.feed.ordering import BY_TIME
from activity.models import Event
from activity.sources import auditing
from repositories.access.resolving import Access

Format = Literal["csv", "jsonl"]
Columns = Mapping[str, Callable[[Event], Any]]
CONTENT_TYPES: Mapping[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl; charset=utf-8",
}
CHUNK = 2000
"""Events that are read at a time, and so all that are in memory."""
MAX_FILTERS_LENGTH = 1024

# Where a spreadsheet may see the beginning of a formula: at the start of a value, be the sign of full
# width, small, or behind what is invisible; and after a semicolon or a line's end, as one that takes
# semicolons for separators doesn't see the quotes. Source: OWASP, CSV Injection.
FORMULA = re.compile(
    r"(^|[;\t\r\n])(?=[\s\0-\x1f\x7f\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠﹦﹢﹣﹫−])|^(?=[\t\r\n])"
)


def response(
    events: QuerySet[Event] | Iterator[list[Event]],
    format: Format,
    filename: str,
    *,
    actor: Any,
    filters: str = "",
) -> StreamingHttpResponse:
    """Return events as a file to download, streamed in flat memory.

    `events`, or pages of them, are such as `actor`, a user, may see; `filters` says what they were
    narrowed by, as the user gave it, for the record.
    """
    chunks = _chunks(events) if isinstance(events, QuerySet) else events
    first = next(chunks)  # while an error can still be told, and before the export is an event itself
    record = partial(
        auditing.record,
        "export_events",
        username=actor.get_username(),
        request_id=str(uuid4()),
        format=format,
        filters=auditing.storable(filters, MAX_FILTERS_LENGTH),
    )
    record(state="begun")
    return StreamingHttpResponse(
        _stream(chain([first], chunks), format, columns_for(actor), record),
        headers={
            "Content-Type": CONTENT_TYPES[format],
            "Content-Disposition": content_disposition_header(True, filename),
            "Cache-Control": "no-store",
        },
    )


def _chunks(events: QuerySet[Event]) -> Iterator[list[Event]]:
    """Yield the events by keyset pages: no cursor of the database is held open meanwhile."""
    cursor = None
    while True:
        page = BY_TIME.page(events, CHUNK, cursor)
        yield page.rows
        if not (cursor := page.next):
            return


def _stream(
    chunks: Iterable[list[Event]], format: Format, columns: Columns, record: Callable[..., None]
) -> Iterator[str]:
    """Yield the file. A client that goes away ends it early: the web server closes the response then."""
    exported, state = 0, "broken off"
    try:
        if format == "csv":
            yield _csv([columns.keys()])
        for chunk in chunks:
            exported += len(chunk)
            rows = [{name: value(event) for name, value in columns.items()} for event in chunk]
            if format == "csv":
                yield _csv([*map(_cell, row.values())] for row in rows)
            else:
                yield "".join(f"{json.dumps(row)}\n" for row in rows)
        state = "complete"
    finally:
        record(state=state, exported=exported)


COLUMNS: Columns = {
    "id": lambda event: str(event.pk),
    "occurred_at": lambda event: event.occurred_at.astimezone(UTC).isoformat(),
    "label": lambda event: event.label,
    "kind": lambda event: event.kind,
    "type": lambda event: event.type,
    "category": lambda event: event.category,
    "repository": lambda event: event.repository_name,
    "tag": lambda event: event.tag,
    "digest": lambda event: event.digest,
    "actor_type": lambda event: event.actor_type,
    "actor": lambda event: event.actor_name,
}


def columns_for(viewer: Any) -> Columns:
    """Return what a file tells of each event."""
    return {**COLUMNS, "details": partial(gating.details_of, access=Access.of(viewer))}


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    """Return a value as a spreadsheet shows it, and doesn't run it."""
    return FORMULA.sub(r"\1'", value if isinstance(value, str) else json.dumps(value))
