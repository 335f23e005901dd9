"""Middleware for the viewer's display preferences: the time zone, and the light or dark theme."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from repositories.models import Profile


class ProfileMiddleware:
    """Load the logged-in user's profile as `request.profile`, and activate their time zone.

    Anonymous users see times in UTC. API requests are skipped, because their responses contain UTC offsets.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith("/api/") or not request.user.is_authenticated:
            return self.get_response(request)
        profile = Profile.for_user(request.user)
        request.profile = profile  # type: ignore[attr-defined]
        with timezone.override(profile.time_zone):
            return self.get_response(request)
