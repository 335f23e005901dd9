"""What all tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client, override_settings
from hypothesis import settings

from activity.models import Event
from repositories.accounts import current_request
from repositories.models import Repository
from tests import factories

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


# Each new `Client` would look through all static files at first, rather than for one that is asked for.
QUICK = {
    "WHITENOISE_AUTOREFRESH": True,
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
}


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Leave out what takes most of a test's time, and isn't tested."""
    with override_settings(**QUICK):
        yield


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Forget the look-ups of the test before."""
    cache.clear()


@pytest.fixture(autouse=True)
def flushable(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the tables be emptied after a test that commits, which the triggers of events would refuse."""
    marker = request.node.get_closest_marker("django_db")
    if not (marker and marker.kwargs.get("transaction")):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")  # until the connection is closed
        else:
            cursor.execute(f"DROP TRIGGER {Event._meta.db_table}_delete")  # emptying makes it anew


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave what tests set up out of the events, but where auditing itself is tested."""
    with nullcontext() if request.node.get_closest_marker("audited") else current_request.auditing_disabled():
        yield


@pytest.fixture
def log_in(db: None) -> Callable[[Any], Client]:
    """Log a user in, and return their browser."""

    def log_in(user: Any) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def web(db: None) -> Repository:
    """The private repository acme/web."""
    return factories.repository("acme/web")


@pytest.fixture
def admin(log_in: Callable[[Any], Client]) -> Client:
    """The browser of an MSR admin."""
    return log_in(factories.msr_admin(username="admin"))


@pytest.fixture
def auditor(log_in: Callable[[Any], Client]) -> Client:
    """The browser of a security auditor."""
    return log_in(factories.auditor(username="auditor"))


@pytest.fixture
def registry(db: None) -> Callable[..., Any]:
    """Send notifications, or a raw body, as a registry's account does; return the response."""
    account = factories.producer(username="registry")
    headers = factories.bearer(account)

    def send(*notifications: dict[str, Any], body: bytes | None = None, **extra: Any) -> Any:
        return Client().post(
            "/api/v0/notifications/registry/",
            json.dumps({"events": notifications}).encode() if body is None else body,
            content_type="application/vnd.docker.distribution.events.v1+json",
            headers={**headers, **extra},
        )

    return send
