"""Connections with limits on the time and the size of requests, and on the time to read a response."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from msr_project.server.pools import Busy, is_recording

MAX_CONNECTIONS = 400
"""The maximum number of open connections of a process.

Each can have a file open that it sends, and processes may usually open 1024 files.
"""
HEADER_SECONDS = 20
"""The time for a request's headers, from the opening of the connection or the end of the last response."""
BODY_SECONDS = 30
"""The time for a request's body, in addition to one second for each `BODY_RATE` bytes received."""
BODY_RATE = 100_000
STALL_SECONDS = 30
"""The time in which a client must read `STALL_BYTES` of a response, or its remainder."""
STALL_BYTES = 64 * 1024

MAX_QUERY = 8_000
"""The maximum length of a query string, which a page repeats in many of its links."""
MAX_PAGE_BODY = 3 * 1024 * 1024
"""The maximum size of a request that doesn't deliver events. Django limits forms to 2.5 MB."""
MAX_EVENTS_BODY = 16 * 1024 * 1024
"""The part that is kept of a message. The view reports the size of what is longer as a dead letter."""
SPOOLED_BODY = 512 * 1024
"""A body larger than this is kept in a file."""
MAX_SPOOLED_BODIES = 16
"""How many bodies a process keeps in files at a time, which limits the disk space to 256 MB."""


class UriTooLong(BadRequest):
    code = 414
    reason = "URI Too Long"


class Problem(Error):
    """An error in the format of the API (RFC 9457)."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.body)
        self.error = error

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status, headers, _ = self.error.to_response(ident)
        error = self.error
        problem = {"type": "about:blank", "title": error.reason, "status": error.code, "detail": error.body}
        kept = [(name, value) for name, value in headers if name != "Content-Type"]
        return status, [*kept, ("Content-Type", "application/problem+json")], json.dumps(problem).encode()


class Refusal(ErrorTask):
    """Sends an error, to clients of the API in its format."""

    def execute(self) -> None:
        if getattr(self.request, "path", "").startswith("/api/"):
            self.request.error = Problem(self.request.error)
        super().execute()


class Body(OverflowableBuffer):
    """A request's body, of which only the beginning is kept if it is too large."""

    def __init__(self) -> None:
        super().__init__(SPOOLED_BODY)
        self.size = 0

    def __len__(self) -> int:
        return self.size  # becomes the Content-Length of a chunked request

    def append(self, data: bytes) -> None:
        self.size += len(data)
        super().append(data[: max(0, MAX_EVENTS_BODY - self.size + len(data))])


class Request(HTTPRequestParser):
    """A request that is being received, or waits for its response."""

    completed: bool
    error: Error | None

    def __init__(self, adjustments: Any, server: Server) -> None:
        super().__init__(adjustments)
        self.server = server
        self.body_started = 0.0

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        self.body_started = monotonic()
        if self.body_rcv is not None:
            self.body_rcv.buf = Body()

    def received(self, data: bytes) -> int:
        """Parse the next bytes, and return how many of them belong to this request."""
        consumed: int = super().received(data)
        if self.headers_finished and not self.error and len(self.query) > MAX_QUERY:
            self.error, self.completed = UriTooLong(f"The limit of the query is {MAX_QUERY} bytes."), True
        if self.body_rcv is not None and not self.error:
            size = max(self.content_length, self.body_bytes_received)
            if size > MAX_PAGE_BODY and not is_recording(self.command, self.path):
                self.error = RequestEntityTooLarge(f"The limit is {MAX_PAGE_BODY} bytes.")
            elif self.is_spooled and self.server.spooled_bodies() > MAX_SPOOLED_BODIES:
                self.error = Busy("Too many large requests are being received.")
            self.completed = self.completed or self.error is not None
        return consumed

    @property
    def is_spooled(self) -> bool:
        """Whether the body is kept in a file."""
        return self.body_rcv is not None and self.body_rcv.getbuf().overflowed


class Connection(HTTPChannel):
    """A client's connection, which is closed if the client is too slow."""

    error_task_class = Refusal
    request: Request | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.waiting_since = monotonic()  # for the headers of a request
        self.bytes_sent = 0
        self.progress = (self.waiting_since, 0)  # the time at which the client had read so many bytes
        super().__init__(*arguments, **options)

    def parser_class(self, adjustments: Any) -> Request:
        return Request(adjustments, self.server)

    def service(self) -> None:
        super().service()
        self.waiting_since = monotonic()

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent: int = super().send(data, do_close)
        self.bytes_sent += sent
        return sent

    def is_too_slow(self, now: float) -> bool:
        """Return whether the time for what the client has to do next is up."""
        if self.requests or self.total_outbufs_len:
            self.waiting_since = now
            return self._is_stalled(now)
        self.progress = (now, self.bytes_sent)
        if self.request is not None and self.request.headers_finished:
            seconds = BODY_SECONDS + self.request.body_bytes_received / BODY_RATE
            return now > self.request.body_started + seconds
        return now > self.waiting_since + HEADER_SECONDS

    def _is_stalled(self, now: float) -> bool:
        since, before = self.progress
        if not self.total_outbufs_len or self.bytes_sent >= before + STALL_BYTES:
            self.progress = (now, self.bytes_sent)
            return False
        return now > since + STALL_SECONDS

    def cut(self) -> None:
        """Close the connection, even if the client doesn't read. A thread that writes to it gets an error."""
        self.will_close = True
        self.handle_close()


class Server(TcpWSGIServer):
    """Accepts connections, and closes those that are too slow."""

    channel_class = Connection
    active_channels: dict[int, Connection]

    def maintenance(self, now: float) -> None:
        """Close the connections that are too slow. Waitress calls this about once a second."""
        for connection in [*self.active_channels.values()]:
            if connection.is_too_slow(monotonic()):
                connection.cut()

    def handle_accept(self) -> None:
        """Accept a connection. If there are too many, close the one that waits longest for its client."""
        if len(self.active_channels) >= MAX_CONNECTIONS:
            waiting = [connection for connection in self.active_channels.values() if not connection.requests]
            for oldest in sorted(waiting, key=lambda connection: connection.waiting_since)[:1]:
                oldest.cut()
        super().handle_accept()

    def is_busy(self) -> bool:
        """Return whether a request is being served or a response is being sent."""
        return any(
            connection.requests or connection.total_outbufs_len
            for connection in self.active_channels.values()
        )

    def spooled_bodies(self) -> int:
        """Return how many requests have a body that is kept in a file."""
        return sum(
            request.is_spooled
            for connection in self.active_channels.values()
            for request in (connection.request, *connection.requests)
            if request is not None
        )
