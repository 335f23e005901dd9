"""One's own settings: the time zone, light or dark."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy
from django.views.decorators.http import require_POST
from django.views.generic import UpdateView

from repositories.forms import GuessForm, ProfileForm
from repositories.models import Profile


class ProfileView(UpdateView):
    """How one wants to see the site."""

    template_name = "repositories/settings.html"
    form_class = ProfileForm
    success_url = reverse_lazy("repositories:settings")
    extra_context = {"section": "settings"}

    def get_object(self, queryset: Any = None) -> Profile:
        return Profile.of(self.request.user)

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Saved.")
        return super().form_valid(form)


@require_POST
def guess_time_zone(request: HttpRequest) -> HttpResponse:
    """Take the time zone that the browser tells, if none was ever chosen."""
    profile = Profile.of(request.user)
    if profile.time_zone is not None:
        return HttpResponse(status=204)
    form = GuessForm(request.POST, instance=profile)
    if not form.is_valid() or not form.cleaned_data["time_zone"]:
        return HttpResponse(status=400)
    guess = {"time_zone": form.cleaned_data["time_zone"], "time_zone_guessed": True}
    Profile.objects.update_or_create(user_id=request.user.pk or 0, defaults=guess)
    return HttpResponse(status=204)
