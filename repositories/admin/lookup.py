"""Looks up objects of the admin by any text, and lists them by any parameters, without server errors."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict

from repositories.utils.text import is_storable, visible_text

SHOWS_NOTHING = "_shows_nothing"
"""The attribute of a request that lists nothing, because its parameters can't be understood."""


class LookupMixin(ModelAdmin):
    """Treats an id that no database can store as unknown, and an empty `_to_field` parameter as missing.

    Django's own admin passes both to the database. If it can't read the parameters of a list, it shows all
    objects. This class shows none, and says why.
    """

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None) if is_storable(object_id) else None

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        queryset = super().get_queryset(request)
        return queryset.none() if hasattr(request, SHOWS_NOTHING) else queryset

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            if not is_storable(request.GET.get(SEARCH_VAR, "")):
                raise IncorrectLookupParameters
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters:
            parameters = visible_text(request.GET.urlencode())[:200]
            messages.error(request, f"Nothing is shown, because the list can't be filtered by {parameters}.")
            request.GET = QueryDict()
            setattr(request, SHOWS_NOTHING, True)
            return super().get_changelist_instance(request)
