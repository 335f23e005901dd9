"""Keyset pagination for the API: `{next, previous, results}` with absolute URLs."""

from __future__ import annotations

from typing import Any

from django.db.models import prefetch_related_objects
from drf_spectacular.plumbing import build_parameter_type
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from activity.feed.ordering import BY_TIME
from activity.feed.search import find
from activity.models import ACTORS
from repositories.utils.keyset import BY_NAME, InvalidCursor, Keyset, Page

DEFAULT_SIZE = 10
MAX_SIZE = 100


class KeysetPagination(BasePagination):
    """Paginates a list in a fixed order, without counting all rows."""

    keyset: Keyset
    page: Page
    request: Request

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.request = request
        try:
            self.page = self.get_page(queryset, view, self.size(request), request.query_params.get("cursor"))
        except InvalidCursor as error:
            raise ValidationError({"cursor": [str(error)]}) from error
        return self.page.rows

    def get_page(self, queryset: Any, view: Any, size: int, cursor: str | None) -> Page:
        return self.keyset.page(queryset, size, cursor)

    def size(self, request: Request) -> int:
        """Return the requested page size."""
        text = request.query_params.get("page_size", str(DEFAULT_SIZE))
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_SIZE):
            raise ValidationError({"page_size": [f"Must be a whole number from 1 to {MAX_SIZE}."]})
        return int(text)

    def get_paginated_response(self, data: Any) -> Response:
        links = {"next": self._link(self.page.next), "previous": self._link(self.page.previous)}
        return Response({**links, "results": data})

    def _link(self, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        return replace_query_param(self.request.build_absolute_uri(), "cursor", cursor)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": MAX_SIZE, "default": DEFAULT_SIZE}
        position = "The position of the page, taken from `next` or `previous`."
        return [
            build_parameter_type("cursor", {"type": "string"}, "query", description=position),
            build_parameter_type("page_size", size, "query", description="The number of results per page."),
        ]


class EventPagination(KeysetPagination):
    """Paginates events by time, newest first.

    A page of a search that no index supports can have fewer results than there is room for, or none, if
    reading the maximum number of events found no more. `next` then continues the search.
    """

    keyset = BY_TIME

    def get_page(self, queryset: Any, view: Any, size: int, cursor: str | None) -> Page:
        if not view.plan.conditions:
            return super().get_page(queryset, view, size, cursor)
        found = find(view.plan, size, cursor)
        prefetch_related_objects(found.rows, *ACTORS)
        return Page(found.rows, next=found.older, previous=found.newer)


class RepositoryPagination(KeysetPagination):
    """Paginates repositories by name."""

    keyset = BY_NAME
