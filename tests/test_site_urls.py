"""Every page of the site returns the expected status for every role. The URL table must list all pages."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from repositories.models import Membership, Organization, Repository
from tests import factories
from tests.site_urls import URL_NAMES, build_url
from tests.url_tables import ROLES, SITE_URLS


@pytest.fixture
def web(db: None) -> Repository:
    """A private repository, and the other objects that the URLs refer to."""
    web = factories.repository("acme/web")
    factories.TeamFactory(organization=web.namespace.organization, name="dev")
    factories.PolicyFactory(repository=web, public_id="CA5E7822")
    factories.UserFactory(username="jane")
    factories.record("update_tag", web, tag="v1", actor_name="jane")
    return web


def create_user(role: str, web: Repository) -> Any:
    if role in ("reader", "repoadmin"):
        return factories.user_with({"reader": "level_read", "repoadmin": "level_admin"}[role], web)
    user = {"auditor": factories.auditor, "admin": factories.msr_admin}.get(role, factories.UserFactory)()
    if role == "owner":
        Membership.objects.create(organization=Organization.objects.get(), user=user, role="owner")
    return user


EXISTING = {
    "namespace": "acme",
    "team": "dev",
    "policy_id": "CA5E7822",
    "username": "jane",
    "kind": "promotion",
    "pk": 1,
}
PRIVATE = {"private, no-store", "max-age=0, no-cache, no-store, must-revalidate, private"}
"""The values of Cache-Control for pages of logged-in users: those of this project's and of Django's views."""
MISSING = {**EXISTING, "policy_id": "00000000", "username": "nobody", "team": "none", "event_id": UUID(int=0)}


def test_url_table_is_complete() -> None:
    assert set(URL_NAMES) <= set(SITE_URLS)


@pytest.mark.parametrize("url_name", URL_NAMES)
def test_status_for_each_role_matches_the_url_table(log_in: Any, web: Repository, url_name: str) -> None:
    url = build_url(url_name, EXISTING, "acme", "web")
    clients = {role: Client() if role == "anonymous" else log_in(create_user(role, web)) for role in ROLES}

    responses = {role: client.get(url) for role, client in clients.items()}

    statuses = {role: response.status_code for role, response in responses.items()}
    assert statuses == dict(zip(ROLES, SITE_URLS[url_name], strict=True))
    del responses["anonymous"]
    assert {response["Cache-Control"] for response in responses.values()} <= PRIVATE


@pytest.mark.parametrize("url_name", [name for name in URL_NAMES if name.startswith("registry_")])
def test_views_forbid_caching_without_the_middleware_of_this_project(
    log_in: Any, web: Repository, url_name: str, settings: Any
) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.startswith("msr_project.")]

    response = log_in(create_user("admin", web)).get(build_url(url_name, EXISTING, "acme", "web"))

    assert response.status_code == 404 or response["Cache-Control"] in PRIVATE


@pytest.mark.parametrize("url_name", [name for name in URL_NAMES if 404 in SITE_URLS[name]])
@pytest.mark.parametrize("method", ["get", "post"])
def test_hidden_pages_look_like_missing_ones(
    log_in: Any, web: Repository, url_name: str, method: str
) -> None:
    client = log_in(factories.UserFactory())

    def fetch(arguments: dict[str, Any], name: str, repository: str) -> tuple:
        url = build_url(url_name, arguments, name, repository)
        with CaptureQueriesContext(connection) as queries:
            response = getattr(client, method)(url)
        body = re.sub(r'value="\w{64}"', "", response.content.decode())
        return response.status_code, body, len(queries)

    hidden = fetch(EXISTING, "acme", "web")

    assert hidden == fetch(MISSING, "none", "none")
    assert hidden[0] in (404, 405)
