"""Shows every page as the viewer wants to see it: in their own time zone, light or dark."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from repositories.models import Profile


class ProfileMiddleware:
    """Loads the profile of the logged-in person as `request.profile`, and activates their time zone.

    Everybody else sees UTC. API calls carry their offsets themselves.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith("/api/") or not request.user.is_authenticated:
            return self.get_response(request)
        profile = Profile.of(request.user)
        request.profile = profile  # type: ignore[attr-defined]
        with timezone.override(profile.time_zone):
            return self.get_response(request)
