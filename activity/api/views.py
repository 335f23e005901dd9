"""The API: events in and out."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property
from drf_spectacular.utils import OpenApiTypes, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import status
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from activity.api.base import ApiView, describe
from activity.api.pagination import RepositoryPagination
from activity.api.parsers import read_body
from activity.api.permissions import MayAddEvents
from activity.api.serializers import (
    EventSerializer,
    OutcomeSerializer,
    ReceiptSerializer,
    RepositorySerializer,
)
from activity.feed.filters import EventFilterBackend, EventFilterSet
from activity.models import Event
from activity.sources import notifications, producers, registries
from activity.sources.dead_letters import KEPT_OF_AN_OVERSIZED_MESSAGE
from repositories.access.resolving import repository_or_404
from repositories.accounts.authentication import TokenAuthentication
from repositories.models import Repository


class EventListView(ApiView, ListAPIView):
    """All events that the caller may see, newest first; and the way in for other producers' events."""

    queryset = Event.objects.none()  # tells the schema the model
    serializer_class = EventSerializer
    filter_backends = [EventFilterBackend]
    filterset_class = EventFilterSet

    def get_permissions(self) -> Any:
        return (
            [IsAuthenticated(), MayAddEvents()]
            if self.request.method == "POST"
            else super().get_permissions()
        )

    def get_queryset(self) -> QuerySet[Event]:
        return with_actors(Event.objects.visible_to(self.access, self.repository))

    @cached_property
    def repository(self) -> Repository | None:
        """The one repository of the list, None for a list of all."""
        return None

    @describe(
        request=producers.ProducedEventSerializer(many=True), responses={201: OutcomeSerializer(many=True)}
    )
    def post(self, request: Request) -> Response:
        """Record one event, or a list of up to 100: all of them, or, with a 400, none."""
        many = isinstance(request.data, list)
        limits: dict[str, Any] = {"max_length": producers.MAX_EVENTS} if many else {}
        serializer = producers.ProducedEventSerializer(data=request.data, many=many, **limits)
        serializer.is_valid(raise_exception=True)
        events = serializer.validated_data if many else [serializer.validated_data]
        outcomes = producers.receive(events, request.user)
        return Response(outcomes if many else outcomes[0], status=status.HTTP_201_CREATED)


class RepositoryEventListView(EventListView):
    """The events of one repository that the caller may see, newest first."""

    http_method_names = ["get", "head", "options"]

    @cached_property
    def repository(self) -> Repository:
        return repository_or_404(self.access, **self.kwargs)


class EventDetailView(ApiView, RetrieveAPIView):
    """One event, if the caller may see it."""

    serializer_class = EventSerializer

    def get_queryset(self) -> QuerySet[Event]:
        return with_actors(Event.objects.visible_to(self.access))


class RepositoryListView(ApiView, ListAPIView):
    """The repositories that the caller can see, by name."""

    serializer_class = RepositorySerializer
    pagination_class = RepositoryPagination

    def get_queryset(self) -> QuerySet[Repository]:
        return self.access.repositories().with_names()


class AnyContentNegotiation(BaseContentNegotiation):
    """Answers in JSON whatever the caller accepts: a message must not be refused for its headers."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class RegistryNotificationView(ApiView):
    """Takes the notifications of CNCF Distribution registries.

    Answers 200 once everything in the message is committed, as events or stored aside.
    """

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated, MayAddEvents]
    content_negotiation_class = AnyContentNegotiation

    @describe(request=OpenApiTypes.OBJECT, responses=ReceiptSerializer)
    def post(self, request: Request) -> Response:
        body, size = read_body(request, notifications.MAX_SIZE, KEPT_OF_AN_OVERSIZED_MESSAGE)
        receipt = notifications.receive(body, account_id=request.user.pk or 0, size=size)
        registries.heard_from(request.user)
        return Response(ReceiptSerializer(receipt).data)


def with_actors(events: QuerySet[Event]) -> QuerySet[Event]:
    """Load what the links to actors need, in the same query."""
    return events.select_related("actor_user", "policy__repository__namespace")


@extend_schema(exclude=True)
class SchemaView(ApiView, SpectacularAPIView):
    """The OpenAPI schema of this API."""

    renderer_classes = SpectacularAPIView.renderer_classes


@extend_schema(exclude=True)
class DocsView(ApiView, SpectacularSwaggerSplitView):
    """The API as Swagger UI describes it."""

    renderer_classes = [TemplateHTMLRenderer]
    url_name = "registry_api:schema"
    template_name = "activity/api.html"
