"""The names of the URLs of the site, and addresses with these names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse

from activity.models import Event

EXCLUDED_NAMESPACES = {"admin", "registry_api"}
"""The URL namespaces that have their own tests."""


def url_names(patterns: list[Any], namespace: str = "") -> Iterator[str]:
    """Yield the names of all URL patterns, with their namespaces."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace not in EXCLUDED_NAMESPACES:
                inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
                yield from url_names(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield f"{namespace}{pattern.name}"


URL_NAMES = sorted(set(url_names(get_resolver().url_patterns)))


def build_url(url_name: str, arguments: dict[str, Any], organization: str, repository: str) -> str:
    """Return the URL of a view, using only the arguments that the view takes."""
    reverse_dict = get_resolver().reverse_dict if ":" not in url_name else _namespace_reverse_dict(url_name)
    (_, params), *_ = reverse_dict.getlist(url_name.rpartition(":")[2])[0][0]
    is_organization = "organization" in url_name or url_name.rpartition(":")[2] in (
        "members",
        "teams",
        "team",
        "team_access",
    )
    event_id = arguments.get("event_id") or Event.objects.latest("pk").pk
    values = {**arguments, "name": organization if is_organization else repository, "event_id": event_id}
    return reverse(url_name, kwargs={param: values[param] for param in params})


def _namespace_reverse_dict(url_name: str) -> Any:
    return get_resolver().namespace_dict[url_name.partition(":")[0]][1].reverse_dict
