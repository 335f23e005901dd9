"""Pages for logged-in people, in the time zone and the theme that the user prefers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.cache import cache_control

from repositories.accounts.service_accounts import for_people
from repositories.models import Profile


def make_pages(patterns: list[Any]) -> None:
    """Make the views of URL patterns private pages that require a login and follow the user's preferences.

    No browser and no proxy may store them. Otherwise, the browser of a shared computer could show stored
    pages after its user has logged out. Views marked with `login_not_required` check the user themselves.
    """
    private = cache_control(private=True, no_store=True)
    for pattern in patterns:
        view = with_preferences(for_people(private(pattern.callback)))
        pattern.callback = login_required(view) if getattr(view, "login_required", True) else view


def with_preferences(view: Callable[..., Any]) -> Callable[..., Any]:
    """Load the user's profile as `request.profile`, and execute a view in the user's time zone."""

    @wraps(view)
    def render_in_time_zone(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not request.user.is_authenticated:
            return view(request, *args, **kwargs)
        profile = Profile.for_user(request.user)
        request.profile = profile  # type: ignore[attr-defined]
        with timezone.override(profile.time_zone):
            response = view(request, *args, **kwargs)
            # Django would render a template response later, in the time zone of the site.
            return response.render() if callable(getattr(response, "render", None)) else response

    return render_in_time_zone
