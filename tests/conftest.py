"""What all tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from hypothesis import settings

from tests import factories

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Forget the look-ups of the test before."""
    cache.clear()


@pytest.fixture
def log_in(db: None) -> Callable[[Any], Client]:
    """Log a user in, and return their browser."""

    def log_in(user: Any) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


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
