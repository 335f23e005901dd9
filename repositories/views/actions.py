"""A mixin for pages with several small forms."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.generic.base import View


class ActionsMixin(View):
    """Handles a POST request with the method that has the name of the submit button."""

    actions: Collection[str]
    """The names shared by buttons and methods. A request with none of them gets a 404 response."""

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        for action in self.actions:
            if action in request.POST:
                return getattr(self, action)()
        raise Http404
