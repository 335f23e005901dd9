"""The base class of API views. It sets all options that could otherwise come from `REST_FRAMEWORK`."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.fields import Field
from rest_framework.metadata import SimpleMetadata
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.views import APIView

from activity.api import caching, problems
from activity.api.parsers import JSONParser
from activity.api.permissions import HasScope
from activity.api.schema import Schema
from activity.api.serializers import SparseSerializer
from activity.api.throttling import ReadThrottle
from repositories.access.resolving import Access
from repositories.accounts.authentication import TokenAuthentication
from repositories.accounts.throttling import Allowance
from repositories.models import Scope

READ = frozenset({Scope.READ})
WRITE = frozenset({Scope.WRITE})
ANY_SCOPE = frozenset(Scope)


class Negotiation(DefaultContentNegotiation):
    """Chooses the format of an answer by the `Accept` header alone, without a query parameter."""

    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE=None)


class Metadata(SimpleMetadata):
    """Answers OPTIONS requests without the fields of a view, which are in the OpenAPI schema."""

    def determine_actions(self, request: Any, view: Any) -> dict[str, Any]:
        return {}


class ApiView(APIView):
    """A view of this API, independent of the project's `REST_FRAMEWORK` settings."""

    authentication_classes = [TokenAuthentication, SessionAuthentication]
    permission_classes = [IsAuthenticated, HasScope]
    scopes: ClassVar[Mapping[str, frozenset[Scope]]] = {}
    """For each method, the scopes of which an access token needs one. Tokens can't use other methods."""
    renderer_classes = [JSONRenderer]
    parser_classes = [JSONParser]
    throttle_classes = [ReadThrottle]
    allowance: Allowance | None = None
    """What the caller's access token may still read, if there is a limit."""
    content_negotiation_class: type[BaseContentNegotiation] = Negotiation
    metadata_class = Metadata
    versioning_class = None
    pagination_class: Any = None
    filter_backends: Any = []
    schema: Any = Schema()
    parameters: frozenset[str] = frozenset()
    """The names of the query parameters, except filters and those that choose the page and its fields."""
    serializer_class: Any = None
    is_stored = True
    """Whether browsers may keep what the view returns, and ask whether their copy is still up to date."""

    def get_exception_handler(self) -> Any:
        return problems.handle

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        for name, value in self.allowance.headers.items() if self.allowance else ():
            response.headers[name] = value
        caching.prepare(request, response, self.is_stored)
        return response

    @cached_property
    def access(self) -> Access:
        """The permissions of the caller."""
        return Access.for_user(self.request.user)

    def read_parameter(self, name: str, field: Field) -> Any:
        """Return the value of a query parameter, or None if it is missing. Raises ValidationError."""
        text = self.request.query_params.get(name)
        try:
            return None if text is None else field.run_validation(text)
        except ValidationError as error:
            raise ValidationError({name: error.detail}) from error

    def get_serializer_context(self) -> dict[str, Any]:
        context = super().get_serializer_context()  # type: ignore[misc]
        return {**context, "access": self.access, "fields": self.fields}

    @property
    def is_sparse(self) -> bool:
        """Whether callers can choose the fields that the view returns."""
        return self.serializer_class is not None and issubclass(self.serializer_class, SparseSerializer)

    @cached_property
    def fields(self) -> frozenset[str] | None:
        """The names of the fields that the caller asks for. None means all fields."""
        text = self.request.query_params.get("fields")
        if text is None:
            return None
        names = text.split(",")
        known = self.serializer_class().fields
        if unknown := [name for name in names if name not in known]:
            raise ValidationError({"fields": [_("There is no field “%(name)s”.") % {"name": unknown[0]}]})
        return frozenset(names)


def document(**description: Any) -> Any:
    """Return a decorator like `extend_schema` that uses this API's schema class instead of the project's."""

    def decorate(method: Any) -> Any:
        method.kwargs = {"schema": Schema}
        return extend_schema(**description)(method)

    return decorate
