"""A mixin for pages with several small forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView


class ActionsMixin(TemplateView):
    """Handles a POST request with the method that has the same name as the submit button.

    If the form is valid, the method gets its data as keyword arguments, and returns a message for the user.
    If the action fails, the method raises ValidationError. Errors of the form's fields are shown in the form.
    """

    actions: Mapping[str, Callable[..., Any]]
    """The names of the submit buttons, with their form classes. Requests with any other name get a 404."""
    success_url = ""
    """The page that an action redirects to. By default, it is the same page."""

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        name = next((name for name in self.actions if name in request.POST), None)
        if name is None:
            raise Http404
        form = self.actions[name](request.POST)
        if not form.is_valid():
            return self.render_form(form)
        try:
            messages.success(request, getattr(self, name)(**form.cleaned_data))
        except ValidationError as error:
            if hasattr(error, "error_dict"):
                form.add_error(None, error)
                return self.render_form(form)
            messages.error(request, error.messages[0])
        return redirect(self.success_url or request.path)

    def render_form(self, form: Any) -> HttpResponse:
        """Return the page with an invalid form."""
        return self.render_to_response(self.get_context_data(form=form))
