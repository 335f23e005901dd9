"""Remembers in which sessions users are logged in, so that all sessions of a user can be ended.

The stores of sessions can't be searched for a user. Sessions in signed cookies can't be ended, because only
the browser stores them.
"""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpRequest
from django.utils import timezone

from repositories.models import Login
from repositories.utils.migrated import is_migrated

MAX_KEY_LENGTH = 40
"""The maximum length of a key. Sessions in signed cookies have longer ones, which contain the data."""


def connect() -> None:
    """Remember each login and logout from now on."""
    user_logged_in.connect(remember)
    user_logged_out.connect(forget)


def remember(request: HttpRequest, user: Any, **_: Any) -> None:
    """Remember the session of a user who has just logged in, or whose session has just got a new key."""
    key = request.session.session_key
    if not key or len(key) > MAX_KEY_LENGTH or not is_migrated("registry_repositories"):
        return
    expired = timezone.now() - timedelta(seconds=settings.SESSION_COOKIE_AGE)
    Login.objects.filter(user=user, started_at__lt=expired).delete()
    Login.objects.update_or_create(session_key=key, defaults={"user": user})


def forget(request: HttpRequest, **_: Any) -> None:
    """Forget the session of a user who logs out."""
    if (key := request.session.session_key) and is_migrated("registry_repositories"):
        Login.objects.filter(session_key=key).delete()


def end_sessions(user: Any) -> int:
    """End all sessions of a user, and return their number."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    logins = list(Login.objects.filter(user=user))
    ended = [login for login in logins if store().exists(login.session_key)]
    for login in ended:
        store(login.session_key).delete()
    Login.objects.filter(pk__in=[login.pk for login in logins]).delete()
    return len(ended)
