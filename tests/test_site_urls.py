"""Every address of the site, for everybody: who is answered what. One that isn't in the table fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from repositories.models import Membership, Organization, Repository
from tests import factories
from tests.url_tables import ROLES, SITE_URLS

ELSEWHERE = {"admin", "registry_api"}
"""Namespaces with tests of their own."""


def names_of(patterns: list[Any], namespace: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace not in ELSEWHERE:
                inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
                yield from names_of(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield f"{namespace}{pattern.name}"


NAMES = sorted(set(names_of(get_resolver().url_patterns)))


@pytest.fixture
def web(db: None) -> Repository:
    """A private repository, with all that addresses may name."""
    web = factories.repository("acme/web")
    factories.TeamFactory(organization=web.namespace.organization, name="dev")
    factories.PolicyFactory(repository=web, public_id="CA5E7822")
    factories.UserFactory(username="jane")
    factories.record("update_tag", web, tag="v1", actor_name="jane")
    return web


def person(who: str, web: Repository) -> Any:
    if who in ("reader", "repoadmin"):
        return factories.user_with({"reader": "level_read", "repoadmin": "level_admin"}[who], web)
    user = {"auditor": factories.auditor, "admin": factories.msr_admin}.get(who, factories.UserFactory)()
    if who == "owner":
        Membership.objects.create(organization=Organization.objects.get(), user=user, role="owner")
    return user


THERE = {
    "namespace": "acme",
    "team": "dev",
    "policy_id": "CA5E7822",
    "username": "jane",
    "kind": "promotion",
    "pk": 1,
}
MISSING = {**THERE, "policy_id": "00000000", "username": "nobody", "team": "none"}


def address(url_name: str, given: dict[str, Any], organization: str, repository: str) -> str:
    """Return an address, whatever it takes of what is given."""
    takes = get_resolver().reverse_dict if ":" not in url_name else _of_namespace(url_name)
    (_, params), *_ = takes.getlist(url_name.rpartition(":")[2])[0][0]
    is_organization = "organization" in url_name or url_name.rpartition(":")[2] in (
        "members",
        "teams",
        "team",
        "team_access",
    )
    values = {**given, "name": organization if is_organization else repository}
    return reverse(url_name, kwargs={param: values[param] for param in params})


def _of_namespace(url_name: str) -> Any:
    return get_resolver().namespace_dict[url_name.partition(":")[0]][1].reverse_dict


def test_table_is_complete() -> None:
    assert set(NAMES) <= set(SITE_URLS)


@pytest.mark.parametrize("url_name", NAMES)
def test_everybody_is_answered_as_the_table_says(log_in: Any, web: Repository, url_name: str) -> None:
    url = address(url_name, THERE, "acme", "web")
    clients = {who: Client() if who == "anonymous" else log_in(person(who, web)) for who in ROLES}

    answers = {who: client.get(url).status_code for who, client in clients.items()}

    assert answers == dict(zip(ROLES, SITE_URLS[url_name], strict=True))


@pytest.mark.parametrize("url_name", [name for name in NAMES if 404 in SITE_URLS[name]])
@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_hidden_answers_like_what_is_not_there(
    log_in: Any, web: Repository, url_name: str, method: str
) -> None:
    client = log_in(factories.UserFactory())

    def answer(given: dict[str, Any], name: str, repository: str) -> tuple:
        url = address(url_name, given, name, repository)
        with CaptureQueriesContext(connection) as queries:
            response = getattr(client, method)(url)
        body = re.sub(r'value="\w{64}"', "", response.content.decode())
        # That a user exists, everybody can find out by granting them something.
        return response.status_code, body, 0 if ":user" in url_name else len(queries)

    hidden = answer(THERE, "acme", "web")

    assert hidden == answer(MISSING, "none", "none")
    assert hidden[0] in (404, 405)
