"""Who acts: the person whose request is being served, and where they sit, for whoever records it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

MAX_USER_AGENT_LENGTH = 1024
MAX_TRIED_NAME_LENGTH = 255
UNKNOWN_ADDRESS = "::"
"""IPv6's unspecified address."""

_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)
_unrecorded: ContextVar[bool] = ContextVar("unrecorded", default=False)


class ActingMiddleware:
    """Remembers the request while it is served, each thread and each task its own.

    The body of a streamed response is made after that: what it needs must be asked for before.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(token)


def is_serving() -> bool:
    """Tell whether there is a request, by whomever: else a command or a task is at work."""
    return _request.get() is not None


@contextmanager
def unrecorded() -> Iterator[None]:
    """Say that what is done within is no act of its own: it is part of another, or nobody's at all."""
    token = _unrecorded.set(True)
    try:
        yield
    finally:
        _unrecorded.reset(token)


def is_recorded() -> bool:
    """Tell whether what is done now is to be recorded."""
    return not _unrecorded.get()


def actor() -> Any:
    """Return the user whose request is being served, by session or by token; None where there is none."""
    # Asked for only now: the API authenticates within the view, and then tells the request.
    user = getattr(_request.get(), "user", None)
    return user if user is not None and user.is_authenticated else None


def client() -> dict[str, str]:
    """Return `client_address` and `user_agent` of the request, as far as known, as events keep them."""
    request = _request.get()
    if request is None:
        return {}
    user_agent = request.headers.get("User-Agent", "").replace("\0", "")[:MAX_USER_AGENT_LENGTH]
    found = {"client_address": address(request), "user_agent": user_agent}
    return {key: value for key, value in found.items() if value}


def address(request: HttpRequest) -> str:
    """Return the client's address; behind a reverse proxy, the one that the proxy saw."""
    seen = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:  # a proxy is trusted; what stands before its own entry is not
        forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        seen = forwarded or seen
    try:
        return str(ip_address(seen))
    except ValueError:
        return ""


def trying_address(request: HttpRequest) -> str:
    """Return the address that somebody tries to log in from.

    If it isn't known, one that stands for all such: django-axes finds nothing by an empty one.
    """
    return address(request) or UNKNOWN_ADDRESS


def tried_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """Return the name that somebody tries to log in under, as long as django-axes keeps it."""
    return str((credentials or request.POST).get("username", ""))[:MAX_TRIED_NAME_LENGTH]
