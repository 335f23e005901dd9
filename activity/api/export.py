"""The export: all events that the caller can see and that match the filters, as one file."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes
from rest_framework.exceptions import APIException, PermissionDenied, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from activity.api.base import READ, ApiView, document
from activity.feed import export, resumable
from activity.feed.filters import EventFilterBackend, EventFilterSet
from activity.feed.resumable import Cursor
from activity.models import Event
from repositories.utils.keyset import InvalidCursor


class Gone(APIException):
    """Events of the export were deleted after it had begun."""

    status_code = 410


class JSONLinesRenderer(JSONRenderer):
    """Lets the caller ask for JSON Lines. Only errors are rendered."""

    media_type = "application/jsonl"
    format = "jsonl"


class CSVRenderer(JSONRenderer):
    """Lets the caller ask for CSV. Only errors are rendered."""

    media_type = "text/csv"
    format = "csv"


class EventExportView(ApiView, GenericAPIView):
    """Export the events that the caller can see, in the order in which they were committed."""

    http_method_names = ["get", "options"]
    scopes = {"GET": READ}
    parameters = frozenset({"cursor", "export_format"})
    queryset = Event.objects.none()  # for the OpenAPI schema, which needs the model
    filter_backends = [EventFilterBackend]
    filterset_class = EventFilterSet
    renderer_classes = [JSONLinesRenderer, CSVRenderer]

    @document(
        filters=True,
        parameters=[
            OpenApiParameter("format", exclude=True),  # REST framework's own
            OpenApiParameter(
                "export_format", enum=[*export.CONTENT_TYPES], description="Instead of the `Accept` header."
            ),
            OpenApiParameter(
                "cursor",
                {"type": "string", "format": "cursor-by-position"},
                description="The `cursor` of the last line that was received, to resume an export after it.",
            ),
        ],
        responses={
            (200, "application/jsonl"): OpenApiTypes.STR,
            (200, "text/csv"): OpenApiTypes.STR,
            410: OpenApiTypes.OBJECT,
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Export the events that the caller can see, in the order in which they were committed.

        The export ends at the newest event of the moment at which it began. It is recorded as an event.
        """
        if not request.auth and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise PermissionDenied(_("Another site's link can't start an export."))
        events: Any = self.filter_queryset(Event.objects.visible_to(self.access))
        format, cursor = self.get_format(), self.get_cursor()
        filters = request.query_params.copy()
        filters.pop("export_format", None)
        columns = resumable.columns(self.access, cursor, format)
        try:
            return export.download(
                resumable.pages(events, self.access, cursor),
                format,
                columns,
                "" if "cursor" in request.query_params else export.header_of(columns, format),
                actor=request.user,
                filters=filters.urlencode(),
            )
        except export.EventsRemoved as error:
            raise Gone(str(error)) from error

    def get_format(self) -> str:
        format = self.request.query_params.get("export_format") or self.request.accepted_renderer.format
        if format not in export.CONTENT_TYPES:
            formats = _(" or ").join(export.CONTENT_TYPES)
            raise ValidationError({"export_format": [_("Must be %(values)s.") % {"values": formats}]})
        return format

    def get_cursor(self) -> Cursor:
        text = self.request.query_params.get("cursor")
        try:
            return Cursor.begin() if text is None else Cursor.parse(text)
        except InvalidCursor as error:
            raise ValidationError({"cursor": [str(error)]}) from error
