"""The handlers for unknown addresses, bad requests and server errors, on pages and in the API."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views import defaults

from activity.api import problems
from repositories.accounts.profiles import with_preferences

API = "/api/"


def server_error(request: HttpRequest) -> HttpResponse:
    """Return a 503 response if the database can't be reached, or a 500 response for any other error."""
    error = sys.exception()
    if request.path.startswith(API):
        return problems.server_error(error)
    if not isinstance(error, (OperationalError, InterfaceError)):
        return defaults.server_error(request)
    page = loader.render_to_string("503.html")
    return HttpResponse(page, status=503, headers={"Retry-After": "60"})


def _problem_or(
    status: int, detail: Promise, page: Callable[..., HttpResponse]
) -> Callable[..., HttpResponse]:
    """Return a handler that answers in the API with a problem, and otherwise with a page."""

    def handler(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.path.startswith(API):
            return problems.response(status, str(detail))
        return page(request, *args, **kwargs)

    return handler


bad_request = _problem_or(400, _("The request can't be read."), defaults.bad_request)
# The page is in the theme that the user prefers.
not_found = _problem_or(
    404, _("There is nothing at this address."), with_preferences(defaults.page_not_found)
)
