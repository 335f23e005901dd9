"""No parameter, cursor or id makes any address answer with a server error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from repositories.models import Repository
from tests import factories
from tests.hostile_parameters import HOSTILE, PARAMETERS, cursors, encode, encode_cursor, path_of
from tests.worlds import rolled_back

IDS = ["\0", "é", "-1", str(2**63), "9" * 5000, "00000000-0000-0000-0000-000000000000", "a/" * 900]
OBJECT_PAGES = ("_add", "_change", "_delete", "_history")
"""The pages of the admin that have no parameters of their own, except in their path."""


def routes(patterns: list[Any], namespace: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the path parameters of each URL pattern."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from routes(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield f"{namespace}{pattern.name}", list(pattern.pattern.converters)


ROUTES = sorted({(name, *parameters) for name, parameters in routes(get_resolver().url_patterns)})


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
