"""Provide the request that is being served, so that events can record its user and client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse

from repositories.accounts.tokens import token_of
from repositories.utils.addresses import canonical_host
from repositories.utils.text import storable_text

MAX_USER_AGENT_LENGTH = 1024

_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)
_auditing_disabled: ContextVar[bool] = ContextVar("auditing_disabled", default=False)


class CurrentRequestMiddleware:
    """Makes each request available to this module while it is being served.

    The body of a streaming response is generated afterward. If the body needs data from this module, the
    view must read the data before it returns the response.
    """

    # If it couldn't be asynchronous, an ASGI server would run each request of the site in a thread.
    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_asynchronous = iscoroutinefunction(get_response)
        if self.is_asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Return the response, or a coroutine that does."""
        if self.is_asynchronous:
            return self._respond(request)
        with _served(request):
            return self.get_response(request)

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        with _served(request):
            return await self.get_response(request)


@contextmanager
def _served(request: HttpRequest) -> Iterator[None]:
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def exists() -> bool:
    """Return whether a request is being served. Commands and tasks run without one."""
    return _request.get() is not None


def is_asynchronous() -> bool:
    """Return whether the request is served by an ASGI server."""
    return isinstance(_request.get(), ASGIRequest)


@contextmanager
def auditing_disabled() -> Iterator[None]:
    """Don't record events for changes that are made in the `with` block.

    Use it for changes that nobody requested, or that are part of an action that is recorded anyway.
    """
    token = _auditing_disabled.set(True)
    try:
        yield
    finally:
        _auditing_disabled.reset(token)


def is_audited() -> bool:
    """Return whether changes are recorded, which is always the case outside `auditing_disabled`."""
    return not _auditing_disabled.get()


def user() -> Any:
    """Return the user that the request is authenticated as, or None."""
    # Read the user on every call, because API views authenticate only after the middleware has run.
    user = getattr(_request.get(), "user", None)
    return user if user is not None and user.is_authenticated else None


def client_details() -> dict[str, str]:
    """Return the `client_address`, `user_agent` and `access_token` of the request, without unknown values."""
    request = _request.get()
    if request is None:
        return {}
    user_agent = storable_text(request.headers.get("User-Agent", ""), MAX_USER_AGENT_LENGTH)
    token = token_of(user())
    details = {
        "client_address": client_address(request),
        "user_agent": user_agent,
        "access_token": token.label if token else "",
    }
    return {key: value for key, value in details.items() if value}


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address, or "" if it is unknown.

    Behind a reverse proxy, the site's middleware must have replaced the proxy's address.
    """
    try:
        return canonical_host(str(ip_address(request.META.get("REMOTE_ADDR", ""))))
    except ValueError:
        return ""


def client_network() -> str:
    """Return the network that the request comes from, or "" if it is unknown."""
    request = _request.get()
    return network_of(client_address(request)) if request else ""


def network_of(address: str) -> str:
    """Return the network of an address, or "" if the address is invalid.

    An IPv4 address is a network by itself. A client with an IPv6 address can use all addresses in its /64.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return ""
    if isinstance(ip, IPv4Address):
        return address
    # An IPv4 client of a server that listens on IPv6 has an address such as ::ffff:192.0.2.1.
    return str(ip.ipv4_mapped or ip_network((int(ip) >> 64 << 64, 64)))
