"""No parameter, cursor or id makes any address answer with a server error."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from repositories.models import Repository
from tests import factories
from tests.worlds import rolled_back

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
IDS = ["\0", "é", "-1", str(2**63), "9" * 5000, "00000000-0000-0000-0000-000000000000", "a/" * 900]
OBJECT_PAGES = ("_add", "_change", "_delete", "_history")
"""The pages of the admin that have no parameters of their own, except in their path."""
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


def routes(patterns: list[Any], namespace: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the path parameters of each URL pattern."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from routes(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield f"{namespace}{pattern.name}", list(pattern.pattern.converters)


ROUTES = sorted({(name, *parameters) for name, parameters in routes(get_resolver().url_patterns)})


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


@pytest.fixture
def admin(db: None) -> Client:
    web = factories.repository("acme/web")
    factories.TeamFactory(organization=web.namespace.organization, name="dev")
    factories.PolicyFactory(repository=web, public_id="CA5E7822")
    factories.UserFactory(username="jane")
    factories.record("update_tag", web, tag="v1", actor_name="jane")
    factories.record("create_session", "", actor_name="jane")
    client = Client(raise_request_exception=False)
    client.force_login(factories.UserFactory(is_staff=True, is_superuser=True))
    return client


def failures(client: Client, urls: Iterator[str]) -> list[str]:
    """Return the URLs that answer with a server error, except the one for monitors, which may."""
    failed = []
    for url in urls:
        with rolled_back():
            status = client.get(url).status_code
            if status >= 500 and not (status == 503 and url.startswith("/healthz")):
                failed.append(url[:200])
    return failed


def encode(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


@pytest.mark.long
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route[0])
def test_no_parameter_causes_a_server_error(admin: Client, route: tuple[str, ...]) -> None:
    name, *parameters = route
    path = path_of(name, tuple(parameters))
    assert path

    def urls() -> Iterator[str]:
        for value in [] if name.endswith(OBJECT_PAGES) else HOSTILE:
            yield f"{path}?" + "&".join(f"{parameter}={encode(value)}" for parameter in PARAMETERS)
        for cursor in [] if name.endswith(OBJECT_PAGES) else cursors():
            yield f"{path}?cursor={encode(cursor)}"
        for value in IDS if parameters else []:
            if hostile := path_of(name, tuple(parameters), value):
                yield hostile

    assert failures(admin, urls()) == []


def test_cursor_whose_keys_no_database_can_store_causes_no_server_error(admin: Client) -> None:
    lists = ["/api/v0/repositories/", "/organizations/", "/organizations/acme/members/"]
    lists += ["/organizations/acme/teams/", "/repositories/acme/web/permissions/"]
    keys = [["\ud800"], ["\ud800", "1"], ["web", str(2**63)]]
    cursors = [encode_cursor("n", *each) for each in keys]
    assert failures(admin, (f"{path}?cursor={cursor}" for path in lists for cursor in cursors)) == []


def test_repository_search_is_bounded(admin: Client, django_assert_num_queries: Any) -> None:
    Repository.objects.update(description="x")
    with django_assert_num_queries(4) as queries:
        admin.get("/repositories/", {"q": "/" * 255})
    assert sum(len(query["sql"]) for query in queries.captured_queries) < 10_000
