"""A mixin for pages with several small forms."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.generic.base import View


class ActionsMixin(View):
    """Handles a POST request by calling the method that has the same name as the submit button."""

    actions: Collection[str]
    """The names of the submit buttons, and thus of the methods. Requests with any other name get a 404."""

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        for action in self.actions:
            if action in request.POST:
                return getattr(self, action)()
        raise Http404
