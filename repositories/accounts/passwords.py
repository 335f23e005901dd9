"""Limit how often wrong passwords may be entered: when logging in, and when changing the password.

Wrong passwords are limited by username, by network (see `current_request.network_of`), and by both together.
Strangers could use the limit by username to lock somebody out. Therefore, this limit doesn't apply in
networks from which the user has logged in recently.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import PasswordChangeForm
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from repositories import signals
from repositories.accounts import current_request, limits
from repositories.accounts.limits import Limit, LimitExceeded, Result
from repositories.models import AccessToken
from repositories.utils.migrated import is_migrated

PERIOD = timedelta(minutes=15)
BY_NAME_AND_NETWORK = Limit("password by name and network", 5, PERIOD)
BY_NAME = Limit("password by name", 20, PERIOD)
BY_NETWORK = Limit("password by network", 50, PERIOD)
KNOWN_NETWORK = Limit("known network", 1, timedelta(days=90))
"""Not a limit: it is used up in the networks in which `BY_NAME` doesn't apply."""


def check(username: str, action: Callable[[], Result]) -> Result:
    """Check a password by calling `action`. Return its result, which is falsy if the password is wrong.

    Raises LimitExceeded without calling `action` after too many wrong passwords.
    """
    if not is_migrated("registry_repositories"):
        return action()
    network = current_request.client_network()
    both = BY_NAME_AND_NETWORK.of(username, network, group=_networks_of(username))
    known = KNOWN_NETWORK.of(username, network)
    quotas = [both, BY_NETWORK.of(network)]
    if limits.find_exceeded(known) is None:
        quotas.append(BY_NAME.of(username))
    if result := limits.attempt(quotas, action):
        limits.reset(both)
        limits.use_up(known)
    return result


def locked_until(username: str) -> datetime | None:
    """Return until when a user can't log in from some networks, because of wrong passwords for their name.

    Returns None if they can, or if only the networks have failed too often with other names.
    """
    found = limits.find_exceeded(BY_NAME.of(username))
    found = found or limits.find_exceeded_in(_networks_of(username), BY_NAME_AND_NETWORK)
    return found.until if found else None


def unlock(username: str) -> None:
    """Forget the wrong passwords for a username. Those of a network with any names still count."""
    limits.reset(BY_NAME.of(username))
    limits.release(_networks_of(username))


def _networks_of(username: str) -> str:
    """Return the group of the limits by a username and any network."""
    return limits.group_of(BY_NAME_AND_NETWORK.name, username)


def trust(user: Any, address: str) -> None:
    """Let a user log in from an address even if there are too many wrong passwords for their username.

    Raises ValueError if the address is invalid.
    """
    network = current_request.network_of(address)
    if not network:
        raise ValueError(f"{address} is not an IP address.")
    limits.use_up(KNOWN_NETWORK.of(user.get_username(), network))
    signals.address_trusted.send(type(user), user=user, address=address)


class LimitedModelBackend(ModelBackend):
    """Django's backend for passwords, with limits."""

    def authenticate(
        self, request: HttpRequest | None, username: Any = None, password: Any = None, **kwargs: Any
    ) -> Any:
        username = kwargs.get(get_user_model().USERNAME_FIELD) if username is None else username
        if username is None or password is None:
            return None
        authenticate = super().authenticate
        try:
            return check(username, lambda: authenticate(request, username, password))
        except LimitExceeded as error:
            if request is not None:
                request.login_refused = error  # type: ignore[attr-defined]
            raise PermissionDenied from error


class LoginLimitMiddleware:
    """Returns an error page with the status 429 if a login was refused because of a limit."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        refusal = getattr(request, "login_refused", None)
        if refusal is None:
            return response
        minutes = refusal.minutes
        context = {
            "minutes": minutes,
            "by_network": refusal.limit == BY_NETWORK,
            "login_url": resolve_url(settings.LOGIN_URL),
        }
        page = render(request, "registry_repositories/too_many_logins.html", context, status=429)
        page.headers["Retry-After"] = str(minutes * 60)
        return page


class RevokeTokensMixin(forms.Form):
    """Offers to revoke the access tokens of the user whose password a form changes."""

    user: Any
    revoke_tokens = forms.BooleanField(
        label=_("Also revoke all access tokens"),
        help_text=_("Access tokens stay valid when the password changes."),
        required=False,
    )

    def save(self, commit: bool = True) -> Any:
        user = super().save(commit)  # type: ignore[misc]
        if self.cleaned_data["revoke_tokens"]:
            AccessToken.objects.filter(user=user).delete()
        return user


class LimitedPasswordChangeForm(RevokeTokensMixin, PasswordChangeForm):
    """A form to change the user's own password, in which wrong old passwords are limited."""

    def clean_old_password(self) -> str:
        try:
            right = check(
                self.user.get_username(), lambda: self.user.check_password(self.cleaned_data["old_password"])
            )
        except LimitExceeded as error:
            message = ngettext(
                "Too many wrong passwords. Try again in %(minutes)s minute.",
                "Too many wrong passwords. Try again in %(minutes)s minutes.",
                error.minutes,
            )
            raise ValidationError(message, params={"minutes": error.minutes}) from error
        if not right:
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return self.cleaned_data["old_password"]
