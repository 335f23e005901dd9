"""Limits how many requests occupy a thread for long: downloads, and requests that wait for new events.

The limits apply to each process of the web server, because each process has its own threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from django.http import HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from repositories.accounts import current_request

PER_ACCOUNT, PER_ADDRESS = 2, 3
"""How many slots of a kind an account and an IP address can occupy at a time."""
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


@dataclass
class Slots:
    """A number of slots for requests that do the same."""

    number: int
    account: Promise
    """What to say if the account occupies as many slots as it can."""
    address: Promise
    """What to say if the IP address occupies as many slots as it can."""
    everybody: Promise
    """What to say if all slots are occupied."""
    _lock: Any = field(default_factory=Lock)
    _taken: Counter[Hashable] = field(default_factory=Counter)

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
        if self._taken[account] >= PER_ACCOUNT:
            raise NoSlot(429, str(self.account))
        if self._taken[address] >= PER_ADDRESS:
            raise NoSlot(429, str(self.address))
        if self._taken[everything] >= self.number:
            raise NoSlot(503, str(self.everybody))


DOWNLOADS = Slots(
    4,
    account=_("Your account is already downloading as much as it may at a time."),
    address=_("Your IP address is already downloading as much as it may at a time."),
    everybody=_("As many clients as possible are already downloading."),
)
"""A download lasts until its client has read it."""
WAITING = Slots(
    3,
    account=_("Your account is already waiting for events as much as it may at a time."),
    address=_("Your IP address is already waiting for events as much as it may at a time."),
    everybody=_("As many clients as possible are already waiting for events."),
)
