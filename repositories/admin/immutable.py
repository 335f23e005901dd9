"""A mixin for fields that can't be changed once an object is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest


class ImmutableFieldsMixin:
    """Makes fields read-only once the object is stored, because other objects and events refer to them."""

    immutable_fields: Sequence[str]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))  # type: ignore[misc]
        return [*fields, *self.immutable_fields] if obj else fields
