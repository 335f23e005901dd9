"""API views that receive and return events, and list repositories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.utils.functional import cached_property
from rest_framework import status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from activity.api.base import READ, WRITE, ApiView, document
from activity.api.pagination import EventPagination, RepositoryPagination
from activity.api.parsers import parse_json
from activity.api.permissions import CanAddEvents
from activity.api.serializers import EventSerializer, RepositorySerializer, ResultSerializer
from activity.deletion import traces
from activity.feed.filters import EventFilterBackend, EventFilterSet, NoFilters
from activity.models import ACTORS, Event, EventQuerySet
from activity.sources import producers
from repositories.access.resolving import repository_or_404
from repositories.models import AccessToken, Repository


class EventListView(ApiView, ListAPIView):
    """List the events that the caller can see, newest first."""

    queryset = Event.objects.none()  # for the OpenAPI schema, which needs the model
    scopes = {"GET": READ, "POST": WRITE}
    serializer_class = EventSerializer
    filter_backends = [EventFilterBackend]
    filterset_class = EventFilterSet
    pagination_class = EventPagination
    repository: Repository | None = None
    """The repository that the list is limited to, or None for all repositories."""

    def get_permissions(self) -> Any:
        permissions = super().get_permissions()
        return [*permissions, CanAddEvents()] if self.request.method == "POST" else permissions

    def get_queryset(self) -> EventQuerySet:
        return with_actors(Event.objects.visible_to(self.access, self.repository))

    @document(
        request=producers.ProducedEventSerializer(many=True), responses={201: ResultSerializer(many=True)}
    )
    def post(self, request: Request) -> Response:
        """Record one event, or a list of up to 100 events. If any event is invalid, none is recorded."""
        # Django REST framework takes a chunked body for an empty one.
        data = request.data if request.META.get("CONTENT_LENGTH") else parse_json(request)
        many = isinstance(data, list)
        limits: dict[str, Any] = {"max_length": producers.MAX_EVENTS} if many else {}
        serializer = producers.ProducedEventSerializer(data=data, many=many, **limits)
        serializer.is_valid(raise_exception=True)
        events = serializer.validated_data if many else [serializer.validated_data]
        _check_restriction(request, events)
        results = producers.receive(events, request.user, _token_key(request))
        return Response(results if many else results[0], status=status.HTTP_201_CREATED)


class RepositoryEventListView(EventListView):
    """List the events that the caller can see in one repository, newest first."""

    http_method_names = ["get", "head", "options"]

    @cached_property
    def repository(self) -> Repository:  # type: ignore[override]
        return repository_or_404(self.access, **self.kwargs)


class EventDetailView(ApiView, RetrieveAPIView):
    """Return one event, if the caller can see it."""

    scopes = {"GET": READ}
    serializer_class = EventSerializer

    def get_queryset(self) -> EventQuerySet:
        return with_actors(Event.objects.visible_to(self.access))

    def get_object(self) -> Event:
        try:
            return super().get_object()
        except Http404 as error:
            id = self.kwargs["pk"]
            sources = traces.missing_event_sources(id) if self.access.sees_everything else ""
            words = (str(error), traces.missing_event_note(id), sources)
            raise NotFound(" ".join(filter(None, words))) from error


class RepositoryListView(ApiView, ListAPIView):
    """List the repositories that the caller can see, sorted by name."""

    scopes = {"GET": READ}
    serializer_class = RepositorySerializer
    pagination_class = RepositoryPagination
    filter_backends = [NoFilters]

    def get_queryset(self) -> QuerySet[Repository]:
        return self.access.repositories().with_names()


def _check_restriction(request: Request, events: Sequence[dict[str, Any]]) -> None:
    """Raise PermissionDenied if the request's token can't be used for the repository of an event."""
    if not isinstance(request.auth, AccessToken):
        return
    for name in {event["repository"] for event in events}:
        if not request.auth.may_write_in(name):
            raise PermissionDenied(f"This access token can't be used for {name}.")


def _token_key(request: Request) -> str:
    """Return the beginning of the access token that authenticates a request, or "" for a session."""
    return request.auth.token_key if isinstance(request.auth, AccessToken) else ""


def with_actors(events: EventQuerySet) -> EventQuerySet:
    """Load the rows needed to show actors, policies and accounts, to avoid a query for each event."""
    return events.select_related(*ACTORS)
