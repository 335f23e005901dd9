"""What the site believes of clients and reverse proxies that connect to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from activity.api import problems
from msr_project.server.pools import is_recording
from repositories.utils.addresses import MAX_CACHED

Address = IPv4Address | IPv6Address
GetResponse = Callable[[HttpRequest], HttpResponse]


class TrustedProxyMiddleware:
    """Replaces a trusted proxy's address with its client's, and removes the headers of all other clients."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        connected = parse_address(request.META.get("REMOTE_ADDR", ""))
        if connected is None or not is_trusted(connected):
            for name in [name for name in request.META if name.startswith("HTTP_X_FORWARDED_")]:
                del request.META[name]
        else:
            connected = forwarded_client(connected, request.META.get("HTTP_X_FORWARDED_FOR", ""))
        request.META["REMOTE_ADDR"] = str(connected or "")
        return self.get_response(request)


class HttpsApiMiddleware:
    """Refuses API requests over plain HTTP if the site uses HTTPS, except requests that deliver events.

    A registry treats a redirect as success and repeats a refused message forever, so events would be lost.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_plain_api = settings.HTTPS and request.path.startswith("/api/") and not request.is_secure()
        if is_plain_api and not is_recording(request.method or "", request.path):
            return problems.response(403, f"Use {settings.PUBLIC_URL}{request.path}.")
        return self.get_response(request)


def forwarded_client(proxy: Address, forwarded: str) -> Address | None:
    """Return the address that a chain of trusted proxies reports, or None if it isn't valid.

    Each proxy appends the address that connected to it. Entries before the first untrusted one can be forged.
    """
    client: Address | None = proxy
    for entry in reversed(forwarded.split(",")) if forwarded.strip() else ():
        client = parse_address(entry)
        if client is None or not is_trusted(client):
            break
    return client


@lru_cache(MAX_CACHED)
def parse_address(text: str) -> Address | None:
    """Return an IP address, or None if it isn't valid. An IPv4 address in IPv6 notation becomes IPv4."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_trusted(address: Address) -> bool:
    """Return whether `TRUSTED_PROXIES` contains an address."""
    return any(address in network for network in settings.TRUSTED_PROXIES)
