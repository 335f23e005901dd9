"""Deployment checks (`manage.py check --deploy`) of who can reach the web server, and whose word it takes."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Info, Tags, Warning, register


@register(Tags.security, deploy=True)
def check_proxies(**_: Any) -> Iterator[CheckMessage]:
    """Warn if no reverse proxy, or everybody, is trusted to report addresses."""
    if settings.HTTPS and not settings.TRUSTED_PROXIES:
        yield Warning(
            "PUBLIC_URL is an https:// URL, but no reverse proxy is trusted.",
            hint="Set TRUSTED_PROXIES to the address from which the reverse proxy connects. Until then, "
            "the site redirects every page to itself and refuses to show anything in the API.",
            id="msr_project.W001",
        )
    for network in settings.TRUSTED_PROXIES:
        if network.prefixlen == 0:
            yield Warning(
                f"TRUSTED_PROXIES contains {network}, which is everybody.",
                hint="Anyone who can connect to the web server can forge IP addresses, which events contain "
                "and which limit failed logins. List only the addresses of your reverse proxies.",
                id="msr_project.W002",
            )


@register(Tags.security, deploy=True)
def check_bind(**_: Any) -> Iterator[CheckMessage]:
    """Note each address at which other machines can connect without TLS."""
    for address in settings.BIND:
        if not is_loopback(address):
            yield Info(
                f"The web server listens on {address}, where other machines may connect over plain HTTP.",
                hint="Plain HTTP doesn't encrypt passwords and access tokens. If PUBLIC_URL is an https:// "
                "URL, the API only accepts events over plain HTTP, and pages redirect. If nothing but a "
                "reverse proxy on this machine has to connect, leave BIND unset.",
                id="msr_project.I003",
            )


def is_loopback(address: str) -> bool:
    """Return whether only programs on this machine can connect to an address."""
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
