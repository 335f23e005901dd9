"""Parameters, cursors and ids that no address may answer with a server error."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.urls import NoReverseMatch, reverse

NAMES = {
    "namespace": "acme",
    "team": "dev",
    "policy_id": "CA5E7822",
    "username": "jane",
    "kind": "promotion",
    "format": "csv",
}
"""Valid values of the parameters in paths. For all others, `web` is valid."""
PATHS = {
    "admin:app_list": "/admin/auth/",
    "registry_api:event": f"/api/v0/events/{UUID(int=0)}/",
    "registry_activity:event": f"/events/{UUID(int=0)}/",
}
"""The paths of routes whose parameters have types of their own."""
HOSTILE = [
    "",
    "\0",
    "\ud800",
    "\U0010ffff",
    "é",
    "%",
    "_",
    "'\"<>&",
    "0",
    "-1",
    str(2**63),
    "9" * 5000,
    "1e999",
    "nan",
    "/" * 1900,
    "a/" * 900,
    "(" * 1900,
    "-" * 1900,
    '"' * 1900,
    " OR " * 400,
    "0001-01-01T00:00:00",
    "9999-12-31T23:59:59",
    "99999-01-01",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "[]",
    "{}",
]
PARAMETERS = [
    *("after", "before", "range", "type", "category", "tag", "digest", "repository", "actor", "actor_type"),
    *("policy", "organization", "namespace", "exclude_pull", "sort", "ordering", "limit", "page_size"),
    *("q", "search", "format", "since", "p", "o", "e", "all", "page", "user", "team", "id", "action", "next"),
    *("kind", "occurred", "actor_type", "_changelist_filters", "_to_field", "_popup", "app_label"),
    *("model_name", "field_name", "term", "state", "date", "name", "preview", "account", "source"),
]


def encode_cursor(*values: Any) -> str:
    """Return the cursor of a page that begins after the row with these keys."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def cursors() -> Iterator[str]:
    """Yield cursors with hostile keys, for lists with one, two or three keys."""
    lowest, highest = str(UUID(int=0)), str(UUID(int=2**128 - 1))
    values: list[Any] = ["", "\0", "\ud800", "-1", str(2**63), "9" * 5000, lowest, highest, None, []]
    values += ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    for number, value in enumerate(values):
        for keys in ([value], [value, value], ["acme", "web", value]):
            yield encode_cursor("np"[number % 2], *keys)
    yield from ("W", "====", "é", "[" * 3000)


def path_of(name: str, parameters: tuple[str, ...], value: str | None = None) -> str | None:
    """Return the path of a route, with the same value for all parameters, or with valid values."""
    if value is None and name in PATHS:
        return PATHS[name]
    kwargs = {
        key: NAMES.get(key, "web" if key != "pk" else "1") if value is None else value for key in parameters
    }
    if name.startswith("registry") and "organization" in name and value is None:
        kwargs = {key: "dev" if key == "team" else "acme" for key in kwargs}
    try:
        return reverse(name, kwargs=kwargs) if kwargs else reverse(name)
    except NoReverseMatch:
        try:  # the admin's patterns have positional parameters
            return reverse(name, args=list(kwargs.values()))
        except NoReverseMatch:
            return None


def encode(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")
