"""Shows every page in the viewer's own time zone."""

import zoneinfo
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from repositories.models import Profile


class TimeZoneMiddleware:
    """Activates the time zone of the logged-in person, UTC for everybody else."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(time_zone_of(request)):
            return self.get_response(request)


def time_zone_of(request: HttpRequest) -> zoneinfo.ZoneInfo | None:
    """Return the zone that the viewer chose, or None. API calls carry their offsets themselves."""
    if request.path.startswith("/api/") or not request.user.is_authenticated:
        return None
    return Profile.objects.filter(user=request.user.pk).values_list("time_zone", flat=True).first()
