"""Pages with several small forms: the name of the pressed button says what is to be done."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.generic.base import View


class ActionsMixin(View):
    """Carries out what a button is named after, by the method of that name."""

    actions: Collection[str]

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        for action in self.actions:
            if action in request.POST:
                return getattr(self, action)()
        raise Http404
