"""Limits how many requests occupy a thread for long: downloads, and requests that wait for new events.

The limits apply to each process of the web server, because each process has its own threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

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


class Texts(NamedTuple):
    """What to say if an account, an address or everybody together occupies as many slots as possible."""

    account: Promise
    address: Promise
    everybody: Promise


class Slots:
    """The slots for requests that do the same, and what to say when there is none."""

    def __init__(self, texts: Texts, *, slots: int, per_account: int, per_address: int) -> None:
        self.texts = texts
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
            raise NoSlot(429, str(self.texts.account))
        if self._taken[address] >= self.per_address:
            raise NoSlot(429, str(self.texts.address))
        if self._taken[everything] >= self.slots:
            raise NoSlot(503, str(self.texts.everybody))


DOWNLOADS = Slots(
    Texts(
        account=_("Your account is already downloading as much as it may at a time."),
        address=_("Your IP address is already downloading as much as it may at a time."),
        everybody=_("As many clients as possible are already downloading."),
    ),
    slots=4,
    per_account=2,
    per_address=3,
)
"""A download lasts until its client has read it."""
WAITING = Slots(
    Texts(
        account=_("Your account is already waiting for events as much as it may at a time."),
        address=_("Your IP address is already waiting for events as much as it may at a time."),
        everybody=_("As many clients as possible are already waiting for events."),
    ),
    slots=3,
    per_account=2,
    per_address=3,
)
