"""How the details of an event are stored: the usual ones in columns, and the others as JSON.

A value is stored in a column only if the column returns exactly the same value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Case, Q, When
from django.utils.functional import cached_property

from activity.gating import MESSAGE
from activity.models.messages import Message, find_messages
from activity.models.texts import MAX_TEXT, Text
from repositories.utils.addresses import MAX_CACHED, is_ipv4
from repositories.utils.fields import UnconstrainedForeignKey
from repositories.utils.text import is_storable

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _address(value: Any) -> str | None:
    """Return an IP address in canonical form, or None."""
    return value if isinstance(value, str) and _is_canonical_address(value) else None


@lru_cache(MAX_CACHED)
def _is_canonical_address(value: str) -> bool:
    """Return whether a text is an IP address in the form that every database returns.

    PostgreSQL spells the IPv6 addresses that contain an IPv4 address differently.
    """
    if is_ipv4(value):
        return True
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    has_ipv4 = address.version == 6 and int(address) < 1 << 48
    return str(address) == value and not has_ipv4 and "%" not in value


def _uuid(value: Any) -> UUID | None:
    return UUID(value) if isinstance(value, str) and _CANONICAL_UUID.fullmatch(value) else None


def _number(bits: int) -> Callable[[Any], int | None]:
    return lambda value: value if type(value) is int and 0 <= value < 1 << bits else None


def _text(value: Any) -> Text | None:
    return _new_text(value) if isinstance(value, str) and 0 < len(value) <= MAX_TEXT else None


@lru_cache(maxsize=1_000)
def _new_text(value: str) -> Text | None:
    """Return an unsaved text. It is created once, because most messages repeat the texts of earlier ones."""
    return Text(value=value) if is_storable(value) else None


COLUMNS: dict[str, Callable[[Any], Any]] = {
    "client_address": _address,
    "client_port": _number(31),
    "user_agent": _text,
    "media_type": _text,
    "size": _number(63),
    "request_id": _uuid,
    "node": _text,
    "notification_id": _uuid,
}
"""The details that have columns. Each function returns a value as its column stores it, or None."""
TEXTS = [name for name, read in COLUMNS.items() if read is _text]


def with_detail(name: str, value: str) -> Q:
    """Return the condition for events with this value of a detail that has a column. It is never NULL."""
    stored = COLUMNS[name](value)
    if stored is None:
        return with_more_detail(name, value)
    return Q(**{name: stored, f"{name}__isnull": False})


def with_more_detail(name: str, value: str, lookup: str = "exact") -> Q:
    """Return the condition for events with a value of a detail that is stored as JSON.

    A comparison with a missing detail is NULL, and so is its negation. This condition is never NULL.
    """
    found = When(**{f"more_details__{name}__{lookup}": value}, then=True)
    return Q(Case(found, default=False, output_field=models.BooleanField()))


def join_details(values: Iterable[Any], more: Any) -> Any:
    """Return the details whose values are in columns, in the order of `COLUMNS`, and those stored as JSON."""
    if more is not None and not isinstance(more, dict):
        return more
    in_columns = {name: value for name, value in zip(COLUMNS, values, strict=True) if value is not None}
    return {**in_columns, **(more or {})}


class EventDetails(models.Model):
    """The columns for the details of an event."""

    position: int
    listed_with: Collection[EventDetails] = ()
    """The events of the same list. The messages of all of them are loaded at once; see `load_marks`."""

    size = models.BigIntegerField(null=True)
    client_port = models.IntegerField(null=True)
    user_agent = UnconstrainedForeignKey(Text, null=True)
    media_type = UnconstrainedForeignKey(Text, null=True)
    node = UnconstrainedForeignKey(Text, null=True)
    """The address of the registry's node."""
    request_id = models.UUIDField(null=True)
    notification_id = models.UUIDField(null=True)
    client_address = models.GenericIPAddressField(null=True)
    more_details = models.JSONField(null=True)
    """The details that have no columns, and those whose values don't fit into their columns."""

    class Meta:
        abstract = True

    @property
    def details(self) -> Any:
        """What is known about the event, beyond the fields that every event has."""
        details = self.details_without_message
        return {**details, MESSAGE: self.message} if self.message is not None else details

    @details.setter
    def details(self, details: Any) -> None:
        values = details if isinstance(details, dict) else {}
        stored = {name: read(values.get(name)) for name, read in COLUMNS.items()}
        for name, value in stored.items():
            if isinstance(value, Text):
                self.refer_to(name, value)
            else:
                setattr(self, name, value)
        more = {name: value for name, value in values.items() if stored.get(name) is None}
        self.message = more.pop(MESSAGE) if isinstance(more.get(MESSAGE), dict) else None
        self.more_details = (more or None) if isinstance(details, dict) else details

    def refer_to(self, name: str, text: Text) -> None:
        """Refer to a text. Assigning it to the attribute would take twice as long."""
        field: Any = self._meta.get_field(name)
        field.set_cached_value(self, text)
        self.__dict__[field.attname] = text.pk

    @property
    def details_without_message(self) -> Any:
        """The details that are stored as long as the event."""
        found = [getattr(self, name) for name in COLUMNS]
        texts = [str(value) if isinstance(value, UUID | Text) else value for value in found]
        return join_details(texts, self.more_details)

    @cached_property
    def message(self) -> Message | None:
        """The message that led to the event, if it is still stored; see `MessageBatch`."""
        events = self.listed_with or [self]
        messages = find_messages({event.position for event in events} - {None})
        for event in events:
            event.__dict__["message"] = messages.get(event.position)
        return messages.get(self.position)
