"""The tail: the events that the caller can see, in the order in which they were committed."""

from __future__ import annotations

import time
from typing import Any

from django.contrib.auth import get_user
from django.db import transaction
from django.db.models import prefetch_related_objects
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from activity.api.base import READ, ApiView, document
from activity.api.serializers import EventSerializer
from activity.feed import slots, tail
from activity.feed.filters import check_parameters
from activity.feed.tail import TailPage
from activity.models import ACTORS

DEFAULT_SIZE = 100
MAX_SIZE = 1_000
MAX_WAIT = 25
"""How long a request can wait for new events, in seconds. Many proxies give up after 30 seconds."""
LARGEST = 2**63 - 1
"""The largest integer that the database can compare."""
POSITION_HELP = "The number of the event in the order in which events were committed."


class TailParameters(serializers.Serializer):
    """The parameters of the tail."""

    after = serializers.IntegerField(
        min_value=0, max_value=LARGEST, default=0, help_text="The `position` of the previous answer."
    )
    page_size = serializers.IntegerField(
        min_value=1, max_value=MAX_SIZE, default=DEFAULT_SIZE, help_text="The maximum number of events."
    )
    wait = serializers.IntegerField(
        min_value=0,
        max_value=MAX_WAIT,
        default=0,
        help_text="For how many seconds to wait for events if there are none yet.",
    )


class PositionedEventSerializer(EventSerializer):
    """An event with its position."""

    position = serializers.IntegerField(help_text=POSITION_HELP)

    class Meta(EventSerializer.Meta):
        fields = ["position", *EventSerializer.Meta.fields]


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "allOf": [
                {"$ref": "#/components/schemas/Event"},
                {
                    "type": "object",
                    "properties": {"position": {"type": "integer", "description": POSITION_HELP}},
                },
            ]
        },
    }
)
class EventsField(serializers.ListField):
    """Events with their positions."""


class TailSerializer(serializers.Serializer):
    """A page of the tail."""

    position = serializers.IntegerField(
        help_text="The position to continue from, as `after`. An answer without events can advance it, too."
    )
    newest = serializers.IntegerField(
        help_text="The position of the newest event. There is nothing more to read if it equals `position`."
    )
    removed_up_to = serializers.IntegerField(
        help_text=(
            "The highest position from which an event was deleted since it was recorded, or 0. Nothing is"
            " missing after it."
        )
    )
    next = serializers.URLField(help_text="The URL to continue from.")
    results = EventsField()


# In a transaction, waiting would keep others from writing on SQLite.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TailView(ApiView):
    """Return the events that the caller can see, in the order in which they were committed."""

    scopes = {"GET": READ}
    serializer_class = PositionedEventSerializer
    parameters = frozenset(TailParameters().fields)

    @document(parameters=[TailParameters], responses=TailSerializer)
    def get(self, request: Request) -> Response:
        """Return the next events that the caller can see, in the order in which they were committed.

        Late arrivals and imports come last, so a reader that continues from each answer's `position` misses
        nothing and gets nothing twice. An answer can have no events and a higher position: each request reads
        a limited number of events, whether the caller can see them or not.
        """
        check_parameters(request, self)
        parameters = TailParameters(data=request.query_params.dict())
        parameters.is_valid(raise_exception=True)
        query = parameters.validated_data
        fields = self.fields  # raises an exception if there is no such field, before the request waits
        page = self.read_page(query)
        if query["wait"] and not page.rows and page.is_last:
            page = self.wait(page, query)
        prefetch_related_objects(page.rows, *ACTORS)
        context = {"request": self.request, "access": self.access, "fields": fields}
        return Response(
            {
                "position": page.position,
                "newest": page.newest,
                "removed_up_to": page.removed,
                "next": replace_query_param(request.build_absolute_uri(), "after", page.position),
                "results": PositionedEventSerializer(page.rows, many=True, context=context).data,
            }
        )

    def read_page(self, query: dict[str, Any]) -> TailPage:
        return tail.read_page(self.access, query["after"], query["page_size"])

    def wait(self, page: TailPage, query: dict[str, Any]) -> TailPage:
        """Wait until there are events that the caller can see, and return the last page that was read."""
        deadline = time.monotonic() + query["wait"]
        with slots.WAITING.take(self.request.user.pk):
            while not page.rows and page.is_last and tail.wait_for_newer(page.position, deadline):
                self.authenticate_again()
                page = self.read_page({**query, "after": page.position})
        return page

    def authenticate_again(self) -> None:
        """Check the caller again, because an account, a token or a grant may be gone by now."""
        request: Any = self.request._request
        if isinstance(self.request.successful_authenticator, SessionAuthentication):
            request.session = type(request.session)(request.session.session_key)
            request.user = get_user(request)  # who may have other permissions, or be nobody, by now
        self.request = self.initialize_request(request, *self.args, **self.kwargs)
        self.perform_authentication(self.request)
        self.check_permissions(self.request)
        self.__dict__.pop("access", None)
