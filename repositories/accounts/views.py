"""The pages of *Your settings*: display preferences, access tokens, and the password."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.views import PasswordChangeView
from django.contrib.messages.views import SuccessMessageMixin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views import View
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST
from django.views.generic import FormView, UpdateView

from repositories.accounts import current_request, sessions
from repositories.accounts.passwords import LimitedPasswordChangeForm
from repositories.forms import PreferencesForm
from repositories.models import AccessToken, Profile

EXPIRIES = {"30": _("In 30 days"), "90": _("In 90 days"), "365": _("In a year"), "": _("Never")}


@method_decorator(transaction.atomic, name="form_valid")
class PreferencesView(SuccessMessageMixin, UpdateView):
    """Change your display preferences: the time zone and the theme."""

    template_name = "registry_repositories/preferences.html"
    form_class = PreferencesForm
    success_url = reverse_lazy("registry_repositories:preferences")
    success_message = _("Saved.")
    extra_context = {"section": "settings"}

    def get_object(self, queryset: Any = None) -> Profile:
        return Profile.for_user(self.request.user)


@require_POST
def guess_time_zone(request: HttpRequest) -> HttpResponse:
    """Store the time zone that the browser reports, unless the user has chosen one."""
    profile = Profile.for_user(request.user)
    if profile.time_zone is not None and not profile.time_zone_guessed:
        return HttpResponse(status=204)
    form = PreferencesForm(request.POST, instance=profile)
    if not form.is_valid() or not form.cleaned_data["time_zone"]:
        return HttpResponse(status=400)
    guess = {"time_zone": form.cleaned_data["time_zone"], "time_zone_guessed": True}
    with current_request.auditing_disabled():
        Profile.objects.update_or_create(user_id=request.user.pk or 0, defaults=guess)
    return HttpResponse(status=204)


@method_decorator(transaction.atomic, name="form_valid")
class PasswordView(SuccessMessageMixin, PasswordChangeView):
    """Change your password."""

    template_name = "registry_repositories/password.html"
    form_class = LimitedPasswordChangeForm
    success_url = reverse_lazy("registry_repositories:password")
    extra_context = {"section": "settings"}

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        sessions.remember(self.request, self.request.user)  # the session has a new key
        return response

    def get_success_message(self, cleaned_data: dict[str, Any]) -> str:
        tokens = AccessToken.objects.filter(user=self.request.user.pk).count()
        if not tokens:
            return gettext("Your password was changed.")
        text = gettext("Your password was changed. Your access tokens (%(number)s) are still valid.")
        return text % {"number": tokens}


class TokenForm(forms.ModelForm):
    """A form to create an access token."""

    name = forms.CharField(
        label=_("Name"), max_length=100, help_text=_("What the token is for, such as “CI for acme/web”.")
    )
    expiry = forms.TypedChoiceField(
        label=_("Expires"),
        choices=list(EXPIRIES.items()),
        initial="90",
        required=False,
        coerce=lambda days: timedelta(days=int(days)),
        empty_value=None,
    )

    class Meta:
        model = AccessToken
        fields = ["name", "can_read", "can_write", "restricted_to"]
        widgets = {"restricted_to": forms.Textarea({"rows": 3})}

    def create(self, user: Any) -> str:
        """Create a token for a user, and return it."""
        return AccessToken.objects.create(user, **self.cleaned_data)[1]


class TokensView(FormView):
    """List your access tokens, and create one."""

    template_name = "registry_repositories/tokens.html"
    form_class = TokenForm

    @transaction.atomic
    @sensitive_variables("secret")
    def form_valid(self, form: TokenForm) -> HttpResponse:
        secret = form.create(self.request.user)
        # Don't redirect: the secret isn't stored, so it can be shown only in this response.
        context = self.get_context_data(form=TokenForm(), secret=secret, name=form.cleaned_data["name"])
        return self.render_to_response(context)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        tokens = AccessToken.objects.filter(user=self.request.user.pk)
        return super().get_context_data(**{"tokens": tokens, "section": "settings", **kwargs})


class RevokeTokenView(View):
    """Revoke one of your access tokens."""

    def post(self, request: HttpRequest, pk: str) -> HttpResponse:
        token = get_object_or_404(AccessToken, user=request.user.pk, pk=pk)
        token.delete()
        messages.success(request, gettext("The token “%(token)s” was revoked.") % {"token": token})
        return redirect("registry_repositories:tokens")
