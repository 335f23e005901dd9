"""The handlers for unknown addresses and server errors."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.views import defaults

from repositories.accounts.profiles import with_preferences


def server_error(request: HttpRequest) -> HttpResponse:
    """Return a 503 page if the database can't be reached, or a 500 page for any other error."""
    if not isinstance(sys.exception(), (OperationalError, InterfaceError)):
        return defaults.server_error(request)
    page = loader.render_to_string("503.html")
    return HttpResponse(page, status=503, headers={"Retry-After": "60"})


not_found = with_preferences(defaults.page_not_found)
"""The page for unknown addresses, in the theme that the user prefers."""
