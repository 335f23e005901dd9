"""Looks up objects of the admin by any text, without server errors."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest

from repositories.utils.text import is_storable


class LookupMixin(ModelAdmin):
    """Treats an id that no database can store as unknown, and an empty `_to_field` parameter as missing.

    Django's own admin passes both to the database.
    """

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None) if is_storable(object_id) else None
