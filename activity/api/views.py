"""API views that receive and return events, and list repositories."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpResponsePermanentRedirect
from django.urls import resolve
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_view
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, PermissionDenied, ValidationError
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from activity.api import not_pulled_for
from activity.api.base import READ, WRITE, ApiView, document
from activity.api.pagination import EventPagination, RepositoryPagination
from activity.api.parsers import parse_json
from activity.api.permissions import CanAddEvents
from activity.api.problems import errors_of
from activity.api.schema import one_or_many
from activity.api.serializers import (
    EventSerializer,
    ListedResultSerializer,
    RepositorySerializer,
    ResultSerializer,
)
from activity.deletion import traces
from activity.feed.filters import EventFilterBackend, EventFilterSet, NoFilters
from activity.models import ACTORS, Event, EventQuerySet
from activity.sources import producers
from repositories.access.levels import Category
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
        return Event.objects.visible_to(self.access, self.repository)

    @document(
        request=one_or_many("EventOrEvents", producers.ProducedEventSerializer),
        responses={
            201: one_or_many("ResultOrResults", ResultSerializer, ListedResultSerializer),
            207: ListedResultSerializer(many=True),
        },
    )
    def post(self, request: Request) -> Response:
        """Record one event, or a list of up to 1,000 events.

        The answer to a list contains a result for each event, in the same order. Its status is 201 if all
        events were accepted, and 207 otherwise: the others have been recorded.
        """
        # Django REST framework takes a chunked body for an empty one.
        data = request.data if request.META.get("CONTENT_LENGTH") else parse_json(request)
        if not isinstance(data, list):
            (checked,) = _check([data], request)
            if isinstance(checked, APIException):
                raise checked
            (result,) = producers.receive([checked], request.user, _token_key(request))
            return Response(result, status=status.HTTP_201_CREATED)
        if len(data) > producers.MAX_EVENTS:
            raise ValidationError(
                [_("At most %(number)s events are allowed.") % {"number": producers.MAX_EVENTS}]
            )
        results = _record_each(data, request)
        complete = all(result["errors"] is None for result in results)
        return Response(results, status.HTTP_201_CREATED if complete else status.HTTP_207_MULTI_STATUS)


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
    filter_backends = [NoFilters]

    def get_queryset(self) -> EventQuerySet:
        return Event.objects.visible_to(self.access).select_related(*ACTORS)

    def get_object(self) -> Event:
        try:
            return super().get_object()
        except Http404 as error:
            id = self.kwargs["pk"]
            sources = traces.missing_event_sources(id) if self.access.sees_everything else ""
            sentences = (str(NotFound.default_detail), traces.missing_event_note(id), sources)
            raise NotFound(" ".join(filter(None, sentences))) from error


@extend_schema_view(get=document(parameters=[not_pulled_for.PARAMETER]))
class RepositoryListView(ApiView, ListAPIView):
    """List the repositories that the caller can see, sorted by name."""

    scopes = {"GET": READ}
    serializer_class = RepositorySerializer
    pagination_class = RepositoryPagination
    filter_backends = [NoFilters]
    parameters = frozenset({not_pulled_for.NAME})

    def get_queryset(self) -> QuerySet[Repository]:
        repositories = self.access.repositories().select_related("namespace")
        days = not_pulled_for.read(self)
        if days is None:
            return repositories
        with_pulls = self.access.repositories([Category.PULL.permission]).order_by().values("pk")
        return repositories.filter(pk__in=with_pulls).not_pulled_for(days)


class UnknownAddressView(ApiView):
    """Answer for all other addresses, also those to which only the slash at the end is missing."""

    authentication_classes = []
    permission_classes = []
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(_("There is nothing at this address."))

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        view = getattr(resolve(f"{request.path_info}/").func, "view_class", None)
        if request.method in ("GET", "HEAD") and view is not type(self):
            return HttpResponsePermanentRedirect(request.get_full_path(force_append_slash=True))
        return super().dispatch(request, *args, **kwargs)


def _record_each(items: list[Any], request: Request) -> list[dict[str, Any]]:
    """Record the valid ones of the items that somebody has sent, and return a result for each item."""
    checked = _check(items, request)
    valid = [event for event in checked if not isinstance(event, APIException)]
    recorded = iter(producers.receive(valid, request.user, _token_key(request)))
    return [
        {
            "status": event.status_code,
            "id": None,
            "dead_letter": None,
            "errors": errors_of(event, in_body=True),
        }
        if isinstance(event, APIException)
        else {"status": status.HTTP_201_CREATED, **next(recorded), "errors": None}
        for event in checked
    ]


def _check(items: list[Any], request: Request) -> list[dict[str, Any] | APIException]:
    """Return for each item the validated event, or the error with which it is refused."""
    checked: list[dict[str, Any] | APIException] = [*producers.validate_each(items)]
    if not isinstance(request.auth, AccessToken):
        return checked
    return [
        event
        if isinstance(event, APIException) or request.auth.may_write_in(event["repository"])
        else PermissionDenied(
            {"repository": [_("This access token can't be used for %(repository)s.") % event]}
        )
        for event in checked
    ]


def _token_key(request: Request) -> str:
    """Return the beginning of the access token that authenticates a request, or "" for a session."""
    return request.auth.token_key if isinstance(request.auth, AccessToken) else ""
