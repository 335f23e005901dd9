"""The refusal of a request that would occupy a thread for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rest_framework.exceptions import APIException

from activity.feed.slots import RETRY_AFTER, NoSlot


class Busy(APIException):
    """The caller or the server is doing as much as possible already."""

    wait = RETRY_AFTER  # for the Retry-After header

    def __init__(self, refusal: NoSlot) -> None:
        super().__init__(str(refusal))
        self.status_code = refusal.status


@contextmanager
def busy_without_slot() -> Iterator[None]:
    """Raise Busy if the block finds no slot."""
    try:
        yield
    except NoSlot as refusal:
        raise Busy(refusal) from refusal
