"""Limits how many requests occupy a thread for long: downloads, and requests that wait for new events.

The limits apply to each process of the web server, because each process has its own threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from django.http import HttpResponse

from repositories.accounts import current_request

RETRY_AFTER = 30
"""The number of seconds after which a client should try again."""


class NoSlot(Exception):
    """Raised if there is no slot for another request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def response(self) -> HttpResponse:
        """The response to the client."""
        headers = {"Retry-After": str(RETRY_AFTER), "Content-Type": "text/plain; charset=utf-8"}
        return HttpResponse(f"{self}\n", status=self.status, headers=headers)


class Slots:
    """The slots for requests that do the same, for example `downloading`."""

    def __init__(self, doing: str, *, slots: int, per_account: int, per_address: int) -> None:
        self.doing = doing
        self.slots = slots
        self.per_account = per_account
        self.per_address = per_address
        self._lock = Lock()
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def take(self, account_id: Any) -> Iterator[None]:
        """Occupy a slot for the current request during the block. Raises NoSlot if there is none."""
        keys: list[Hashable] = ["all", ("account", account_id)]
        if address := current_request.client_details().get("client_address"):
            keys.append(("address", address))
        with self._lock:
            self._check(*keys)
            self._taken.update(keys)
        try:
            yield
        finally:
            with self._lock:
                self._taken.subtract(keys)
                for key in keys:
                    if not self._taken[key]:
                        del self._taken[key]

    def _check(self, everything: Hashable, account: Hashable, address: Hashable = None) -> None:
        if self._taken[account] >= self.per_account:
            raise NoSlot(429, f"Your account is already {self.doing} as much as it may at a time.")
        if self._taken[address] >= self.per_address:
            raise NoSlot(429, f"Your IP address is already {self.doing} as much as it may at a time.")
        if self._taken[everything] >= self.slots:
            raise NoSlot(503, f"As many clients as possible are already {self.doing}.")


DOWNLOADS = Slots("downloading", slots=4, per_account=2, per_address=3)
"""A download lasts until its client has read it."""
WAITING = Slots("waiting for events", slots=3, per_account=2, per_address=3)
