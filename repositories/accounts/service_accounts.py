"""Service accounts: users for programs, to whose accounts nobody can log in. They only have access tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from repositories.models import Login, Profile
from repositories.utils.migrated import is_migrated

REFUSAL = _("This is a service account. Nobody can log in to it.")


def is_service_account(user: Any) -> bool:
    """Return whether a user is a service account."""
    return is_migrated("registry_repositories") and Profile.for_user(user).is_service_account


def service_accounts() -> QuerySet[Any]:
    """Return the ids of all service accounts."""
    return Profile.objects.filter(is_service_account=True).values("user")


def disable_password(user: Any) -> None:
    """Take a user's password away, which also ends their sessions: these depend on its hash."""
    user.set_unusable_password()
    user.save(update_fields=["password"])


@receiver(user_logged_in)
def refuse_login(sender: Any, request: HttpRequest, user: Any, **_: Any) -> None:
    """Raise PermissionDenied if a service account has logged in, with whichever backend, and end the session.

    The login counts as a failed one.
    """
    if not is_service_account(user):
        return
    Login.objects.filter(session_key=request.session.session_key).delete()
    request.session.flush()
    request.user = AnonymousUser()
    credentials = {user.USERNAME_FIELD: user.get_username()}
    user_login_failed.send(sender=__name__, credentials=credentials, request=request)
    raise PermissionDenied(REFUSAL)


def for_people(view: Callable[..., Any]) -> Callable[..., Any]:
    """Make a view refuse service accounts. `request.profile` is the profile of the user."""

    @wraps(view)
    def refuse_or_render(request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.user.is_authenticated and request.profile.is_service_account:
            raise PermissionDenied(REFUSAL)
        return view(request, *args, **kwargs)

    return refuse_or_render
