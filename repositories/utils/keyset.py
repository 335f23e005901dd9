"""Pages through a list by keyset: each page starts where the other ended, however long the list.

An OFFSET would read all rows before the page, and a COUNT all rows there are (3.7 s for 20 million);
a keyset page reads its own rows through an index, the last as fast as the first.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet


class InvalidCursor(ValueError):
    """A cursor that this order didn't make."""


@dataclass(frozen=True)
class Key:
    """One part of an order: a field or annotation, and its direction."""

    name: str
    descending: bool = False
    type: type = str

    def after(self, value: Any, reverse: bool) -> Q:
        """Return the condition of coming after a value."""
        return Q(**{f"{self.name}__{'lt' if self.descending != reverse else 'gt'}": value})

    def ordering(self, reverse: bool) -> str:
        return ("-" if self.descending != reverse else "") + self.name


@dataclass(frozen=True)
class Page:
    """A page of rows, and the cursors of its neighbours, None where there is none."""

    rows: list[Any]
    next: str | None
    previous: str | None


@dataclass(frozen=True)
class Keyset:
    """A total order, the last key being unique, and how to page along it."""

    keys: Sequence[Key]

    def page(self, queryset: QuerySet, size: int, cursor: str | None = None) -> Page:
        """Return a page of `size` rows, in one query.

        Raises InvalidCursor for a cursor that this order didn't make.
        """
        reverse, values = self.decode(cursor) if cursor else (False, None)
        if values is not None:
            queryset = queryset.filter(self._after(values, reverse))
        rows = list(queryset.order_by(*(key.ordering(reverse) for key in self.keys))[: size + 1])
        more = len(rows) > size
        rows = rows[:size]
        if reverse:
            rows.reverse()
        has_next, has_previous = (values is not None, more) if reverse else (more, values is not None)
        return Page(
            rows=rows,
            next=self.encode(rows[-1], reverse=False) if rows and has_next else None,
            previous=self.encode(rows[0], reverse=True) if rows and has_previous else None,
        )

    def page_or_first(self, queryset: QuerySet, size: int, cursor: str | None) -> Page:
        """Return a page of `size` rows: the first one for a cursor that this order didn't make."""
        try:
            return self.page(queryset, size, cursor)
        except InvalidCursor:
            return self.page(queryset, size)

    def _after(self, values: Sequence[Any], reverse: bool) -> Q:
        """Compare lexicographically: equal in the first keys, and after in the next one."""
        condition, equal = Q(), Q()
        for key, value in zip(self.keys, values, strict=True):
            condition |= equal & key.after(value, reverse)
            equal &= Q(**{key.name: value})
        return condition

    def encode(self, row: Any, reverse: bool) -> str:
        """Return the cursor of what comes after a row, or, in reverse, of what comes before it."""
        values = [str(getattr(row, key.name)) for key in self.keys]
        text = json.dumps(["p" if reverse else "n", *values], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def decode(self, cursor: str) -> tuple[bool, list[Any]]:
        """Return whether a cursor goes in reverse, and the values of the row that it starts from.

        Raises InvalidCursor for one that this order didn't make.
        """
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            direction, *values = json.loads(text)
            if direction not in ("n", "p") or "\0" in "".join(values):
                raise ValueError
            typed = [key.type(value) for key, value in zip(self.keys, values, strict=True)]
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidCursor("This cursor is not one of this list.") from error
        return direction == "p", typed


BY_NAME = Keyset([Key("namespace_name"), Key("name")])
"""Repositories by name; see `RepositoryQuerySet.with_names`."""
