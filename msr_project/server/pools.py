"""Threads that run Django, in pools, so that pages can't keep events from being recorded."""

from __future__ import annotations

import re
from typing import Any

from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import Error

RECORDING_THREADS = 4
PAGE_THREADS = 8
MAX_QUEUE = 200
"""The maximum number of requests that wait for a thread of a pool. Others are answered with 503."""

RECORDING_PATH = re.compile(r"/+api/v0/(events|notifications/registry)/?")


def is_recording(method: str, path: str) -> bool:
    """Return whether a request delivers events."""
    return method == "POST" and RECORDING_PATH.fullmatch(path) is not None


class Busy(Error):
    """The response to a request that the server has no capacity for."""

    code = 503
    reason = "Service Unavailable"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status, headers, body = super().to_response(ident)
        return status, [*headers, ("Retry-After", "5")], body


class Pools:
    """Dispatches each request to the threads that record events or to those that serve everything else."""

    def __init__(self) -> None:
        self.recording = _pool(RECORDING_THREADS)
        self.pages = _pool(PAGE_THREADS)
        self.refusals = _pool(1)

    def add_task(self, channel: Any) -> None:
        """Queue the first request of a connection."""
        request = channel.requests[0]
        if not request.error:
            pool = self.recording if is_recording(request.command, request.path) else self.pages
            if len(pool.queue) < MAX_QUEUE:
                pool.add_task(channel)
                return
            request.error = Busy("Too many requests are waiting.")
        # The threads of a pool may all be blocked, but an error needs no more than a moment.
        self.refusals.add_task(channel)


def _pool(threads: int) -> ThreadedTaskDispatcher:
    pool = ThreadedTaskDispatcher()
    pool.set_thread_count(threads)
    return pool
