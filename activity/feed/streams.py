"""Limits how many responses are streamed at a time.

Each stream occupies a thread of the web server until its client has read it. The limits apply to each process
of the web server, because each process has its own threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from django.http import HttpResponse

MAX_STREAMS = 4
MAX_PER_ACCOUNT = 2
MAX_PER_ADDRESS = 3
RETRY_AFTER = 30
"""The number of seconds after which a client should try again."""

_lock = Lock()
_open: Counter[Hashable] = Counter()


class TooManyStreams(Exception):
    """Raised if there is no place for another stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def response(self) -> HttpResponse:
        """The response to the client."""
        headers = {"Retry-After": str(RETRY_AFTER), "Content-Type": "text/plain; charset=utf-8"}
        return HttpResponse(f"{self}\n", status=self.status, headers=headers)


@contextmanager
def place(account_id: Any, address: str | None) -> Iterator[None]:
    """Occupy a place for a stream during the block. Raises TooManyStreams if there is none."""
    keys: list[Hashable] = ["all", ("account", account_id)]
    if address:
        keys.append(("address", address))
    with _lock:
        _check(*keys)
        _open.update(keys)
    try:
        yield
    finally:
        with _lock:
            _open.subtract(keys)
            for key in keys:
                if not _open[key]:
                    del _open[key]


def _check(everything: Hashable, account: Hashable, address: Hashable = None) -> None:
    if _open[account] >= MAX_PER_ACCOUNT:
        raise TooManyStreams(429, "Your account is already downloading as much as it may at a time.")
    if _open[address] >= MAX_PER_ADDRESS:
        raise TooManyStreams(429, "Your IP address is already downloading as much as it may at a time.")
    if _open[everything] >= MAX_STREAMS:
        raise TooManyStreams(503, "The server is already sending as many downloads as it can.")
