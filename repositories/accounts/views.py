"""One's own access tokens: made, named, shown once, listed, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.generic import FormView

from activity.accounts import new_token
from activity.models import AccessToken

EXPIRIES = {"30": "In 30 days", "90": "In 90 days", "365": "In a year", "": "Never"}


class TokenForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="What it is for, such as “CI of acme/web”.")
    expiry = forms.TypedChoiceField(
        label="Expires",
        choices=list(EXPIRIES.items()),
        initial="90",
        required=False,
        coerce=lambda days: timedelta(days=int(days)),
        empty_value=None,
    )


def tokens_of(user: Any) -> QuerySet[AccessToken]:
    return AccessToken.objects.filter(token__user=user).select_related("token")


@method_decorator(never_cache, name="dispatch")
class TokensView(FormView):
    """The list, and the form that makes another."""

    template_name = "activity/tokens.html"
    form_class = TokenForm

    @sensitive_variables("made")
    def form_valid(self, form: TokenForm) -> HttpResponse:
        name, expiry = form.cleaned_data["name"], form.cleaned_data["expiry"]
        made = new_token(self.request.user, name, expiry)
        # In this one answer, and stored nowhere: hence no redirect.
        return self.render_to_response(self.get_context_data(form=TokenForm(), made=made, name=name))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        tokens = [
            (token, bool(token.token.expiry and token.token.expiry < timezone.now()))
            for token in tokens_of(self.request.user)
        ]
        return super().get_context_data(**{"tokens": tokens, "section": "settings", **kwargs})


class RevokeView(View):
    """Revokes a token of one's own."""

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        token = get_object_or_404(tokens_of(request.user), pk=pk)
        token.token.delete()
        messages.success(request, f"The token “{token}” is revoked.")
        return redirect("activity:tokens")
