"""Errors as problem details (RFC 9457): JSON with `type`, `title`, `status` and `detail`.

Invalid parameters and bodies also have `errors`, which say where each error is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse, UnreadablePostError
from django.utils.log import log_response
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, NotFound, ParseError
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler, set_rollback

from activity.feed import slots
from repositories.accounts.authentication import TokenAuthentication

CONTENT_TYPE = "application/problem+json"
MAX_ERRORS = 100
"""The maximum number of errors to list. The body of a request can contain any number of them."""
RETRY_AFTER = 60
"""The number of seconds after which to try again if the database can't be reached."""
HEADERS = ("WWW-Authenticate", "Retry-After")
"""The headers that REST framework's exception handler sets."""


def response(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JsonResponse:
    """Return an error response. `more` contains further members of the problem."""
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    headers = {"Cache-Control": "private, no-store", **(headers or {})}
    return JsonResponse({**problem, **more}, status=status, headers=headers, content_type=CONTENT_TYPE)


def handle(error: Exception, context: dict[str, Any]) -> JsonResponse:
    """Return the response to any exception that an API view raises."""
    request = context["request"]
    if isinstance(error, (BadRequest, SuspiciousOperation, UnreadablePostError)):
        error = ParseError(_("The request can't be read."))
    if isinstance(error, Http404):
        error = NotFound()  # the message of Django's exception is always in English
    if isinstance(error, slots.NoSlot):
        set_rollback()
        return response(error.status, str(error), {"Retry-After": str(slots.RETRY_AFTER)})
    handled = exception_handler(error, context)
    if handled is None:
        set_rollback()
        return report(error, request._request)
    headers = {name: handled[name] for name in HEADERS if name in handled}
    if isinstance(error, APIException) and isinstance(error.detail, (dict, list)):
        return _invalid(error, in_body=request.method not in ("GET", "HEAD"))
    return response(handled.status_code, str(handled.data["detail"]), headers)


def refuse(error: APIException) -> JsonResponse:
    """Return the response to an exception outside of API views."""
    is_unknown = error.status_code == HTTPStatus.UNAUTHORIZED
    headers = {"WWW-Authenticate": TokenAuthentication.keyword} if is_unknown else {}
    return response(error.status_code, str(error.detail), headers)


def report(error: Exception, request: HttpRequest) -> JsonResponse:
    """Report the exception being handled as Django does, and return the response."""
    got_request_exception.send(sender=None, request=request)
    answer = server_error(error)
    arguments = ("%s: %s", answer.reason_phrase, request.path)
    log_response(*arguments, response=answer, request=request, exception=error)
    return answer


def server_error(error: BaseException | None) -> JsonResponse:
    """Return a 503 response if the database can't be reached, or a 500 response for any other error."""
    if isinstance(error, (OperationalError, InterfaceError)):
        text = _("The database can't be reached. Try again in a minute.")
        return response(503, text, {"Retry-After": str(RETRY_AFTER)})
    return response(500, _("A server error occurred. It has been logged."))


def errors_of(error: APIException, in_body: bool) -> list[dict[str, str]]:
    """Return what is wrong with each parameter, or with each part of the body."""
    return list(islice(_errors(error.detail, (), in_body), MAX_ERRORS))


def _invalid(error: APIException, in_body: bool) -> JsonResponse:
    errors = errors_of(error, in_body)
    first = errors[0]
    place = first.get("parameter") or first.get("pointer")
    detail = f"{place}: {first['detail']}" if place else first["detail"]
    return response(error.status_code, detail, errors=errors)


def _errors(detail: Any, place: tuple[Any, ...], in_body: bool) -> Iterator[dict[str, str]]:
    """Yield the errors in the nested detail of a ValidationError, each with its place.

    In a body, the place is a JSON pointer, as in the examples of RFC 9457.
    """
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _errors(
                inner, place if name == api_settings.NON_FIELD_ERRORS_KEY else (*place, name), in_body
            )
    elif isinstance(detail, list) and any(isinstance(item, (dict, list)) for item in detail):
        for number, inner in enumerate(detail):
            yield from _errors(inner, (*place, number), in_body)
    else:
        for text in detail if isinstance(detail, list) else [detail]:
            yield {"detail": str(text), **_as_member(place, in_body)}


def _as_member(place: tuple[Any, ...], in_body: bool) -> dict[str, str]:
    if in_body:
        escaped = (str(name).replace("~", "~0").replace("/", "~1") for name in place)
        return {"pointer": "".join(["#", *(f"/{name}" for name in escaped)])}
    return {"parameter": str(place[0])} if place else {}
