"""Keyset pagination for the API: `{next, previous, results}` with absolute URLs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import prefetch_related_objects
from django.utils.translation import gettext as _
from drf_spectacular.plumbing import build_parameter_type
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from activity.feed.ordering import BY_TIME
from activity.feed.plans import Plan
from activity.feed.reading import find
from activity.feed.tag_list import DEFAULT_ORDER, ORDERS
from activity.models import ACTORS, Event
from repositories.utils.keyset import BY_NAME, InvalidCursor, Keyset, Page

DEFAULT_SIZE = 10
MAX_SIZE = 1_000
NEWEST_FIRST, OLDEST_FIRST = "-time", "time"
"""The values of the `sort` parameter of events."""
BEFORE_ALL_EVENTS = BY_TIME.encode(Event(pk=UUID(int=0)), reverse=True)
"""The cursor of the page with the oldest events."""


class KeysetPagination(BasePagination):
    """Paginates a list in a fixed order, without counting all rows."""

    keyset: Keyset
    parameters = frozenset({"cursor", "page_size"})
    """The query parameters that determine the page."""
    cursor_format = "cursor"
    """The format of the cursor in the OpenAPI schema."""
    orders: Sequence[str] = ()
    """The values of the `sort` parameter, if there is one. The first is the default."""
    orders_help = ""
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
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_SIZE):
            problem = _("Must be a whole number from 1 to %(maximum)s.") % {"maximum": MAX_SIZE}
            raise ValidationError({"page_size": [problem]})
        return int(text)

    def get_paginated_response(self, data: Any) -> Response:
        links = {"next": self._link(self.page.next), "previous": self._link(self.page.previous)}
        relations = {"next": links["next"], "prev": links["previous"]}
        header = ", ".join(f'<{url}>; rel="{name}"' for name, url in relations.items() if url)
        return Response({**links, "results": data}, headers={"Link": header} if header else None)

    def _link(self, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        return replace_query_param(self.request.build_absolute_uri(), "cursor", cursor)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": MAX_SIZE, "default": DEFAULT_SIZE}
        position = "The position of the page, taken from `next` or `previous`."
        parameters = [
            build_parameter_type(
                "cursor", {"type": "string", "format": self.cursor_format}, "query", description=position
            ),
            build_parameter_type("page_size", size, "query", description="The number of results per page."),
        ]
        if self.orders:
            orders = {"type": "string", "enum": [*self.orders], "default": self.orders[0]}
            parameters.append(build_parameter_type("sort", orders, "query", description=self.orders_help))
        return parameters


class EventPagination(KeysetPagination):
    """Paginates events by time, newest or oldest first.

    A page can have fewer results than there is room for, or none, if reading the maximum number of events
    found no more. `next` then continues the search.
    """

    parameters = KeysetPagination.parameters | {"sort"}
    orders = (NEWEST_FIRST, OLDEST_FIRST)
    orders_help = (
        f"The order of time: `{NEWEST_FIRST}` is newest first, and `{OLDEST_FIRST}` is oldest first."
    )

    def get_page(self, queryset: Any, view: Any, size: int, cursor: str | None) -> Page:
        sort = self.request.query_params.get("sort", NEWEST_FIRST)
        if sort == NEWEST_FIRST:
            return self.newest_first(view.plan, size, cursor)
        if sort != OLDEST_FIRST:
            orders = _(" or ").join(self.orders)
            raise ValidationError({"sort": [_("Must be %(values)s.") % {"values": orders}]})
        # Read backward, beginning with the page before the oldest event.
        page = self.newest_first(view.plan, size, cursor or BEFORE_ALL_EVENTS)
        return Page(page.rows[::-1], next=page.previous, previous=page.next if cursor else None)

    def newest_first(self, plan: Plan, size: int, cursor: str | None) -> Page:
        found = find(plan, size, cursor)
        prefetch_related_objects(found.rows, *ACTORS)
        return Page(found.rows, next=found.older, previous=found.newer)


class TagPagination(KeysetPagination):
    """Paginates the tags of a repository."""

    parameters = KeysetPagination.parameters | {"sort"}
    orders = tuple(ORDERS)
    orders_help = "The order: by the time of the newest push or by name, descending with `-`."

    def get_page(self, queryset: Any, view: Any, size: int, cursor: str | None) -> Page:
        sort = self.request.query_params.get("sort", DEFAULT_ORDER)
        if sort not in ORDERS:
            problem = _("Must be one of %(values)s.") % {"values": ", ".join(ORDERS)}
            raise ValidationError({"sort": [problem]})
        return ORDERS[sort][1].page(queryset, size, cursor)


class RepositoryPagination(KeysetPagination):
    """Paginates repositories by name."""

    keyset = BY_NAME
    cursor_format = "cursor-by-name"
