"""Fixtures shared by all tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as site
from django.core.cache import cache
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from hypothesis import settings

from activity.api import senders
from activity.models import Event, MessageBatch
from repositories.accounts import current_request
from repositories.models import Repository
from tests import factories

pytest.register_assert_rewrite("tests.activity_tab", "tests.event_tables")
settings.register_profile("deterministic", deadline=None, derandomize=True)
settings.load_profile("deterministic")

collect_ignore = ["foreign_site"]  # another site, whose own tests `test_foreign_site.py` runs


# Without autorefresh, WhiteNoise would scan all static files on the first request of each `Client`.
# With autorefresh, WhiteNoise looks up a file only when that file is requested.
# MD5 is much faster than a real password hasher.
# Events are recorded at once, without a recorder.
# Changes to auto-deletion take effect at once, except in the tests of the delay.
FAST_SETTINGS = {
    "WHITENOISE_AUTOREFRESH": True,
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "REGISTRY_ACTIVITY": {
        **site.REGISTRY_ACTIVITY,
        "DELETION_DELAY": timedelta(0),
        "RECORD_IN_REQUEST": True,
    },
}


@pytest.fixture(scope="session", autouse=True)
def fast_settings() -> Iterator[None]:
    """Override the settings that would slow down the tests."""
    with override_settings(**FAST_SETTINGS):
        yield


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Clear the caches, so that no test reads values cached by an earlier test."""
    cache.clear()
    senders.forget()


@pytest.fixture(autouse=True)
def allow_flush(request: pytest.FixtureRequest) -> Iterator[None]:
    """Disable the append-only triggers after a transactional test, because they would block the flush."""
    marker = request.node.get_closest_marker("django_db")
    if not (marker and marker.kwargs.get("transaction")):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")  # lasts until the connection is closed
        else:
            for model in (Event, MessageBatch):
                cursor.execute(f"DROP TRIGGER {model._meta.db_table}_delete")  # the flush recreates it


@pytest.fixture(autouse=True)
def disable_auditing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Don't record a test's actions as events, unless the test is marked `audited`."""
    with nullcontext() if request.node.get_closest_marker("audited") else current_request.auditing_disabled():
        yield


@pytest.fixture
def log_in(db: None) -> Callable[[Any], Client]:
    """Return a function that logs a user in and returns their client."""

    def log_in(user: Any) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def reader(log_in: Any, web: Repository) -> Client:
    return log_in(factories.user_with("level_read", web))


@pytest.fixture
def repoadmin(log_in: Any, web: Repository) -> Client:
    return log_in(factories.user_with("level_admin", web))


@pytest.fixture
def web(db: None) -> Repository:
    """The private acme/web repository."""
    return factories.repository("acme/web")


@pytest.fixture
def person(web: Repository) -> Any:
    """A member of acme with read access to acme/web."""
    person = factories.user_with("level_read", web)
    factories.add_member(web.namespace.organization, person)
    return person


@pytest.fixture
def admin(log_in: Callable[[Any], Client]) -> Client:
    """A client logged in as an MSR admin."""
    return log_in(factories.msr_admin(username="admin"))


@pytest.fixture
def auditor(log_in: Callable[[Any], Client]) -> Client:
    """A client logged in as a security auditor."""
    return log_in(factories.auditor(username="auditor"))


@pytest.fixture
def schedule(db: None) -> None:
    """Celery beat's schedule, which a migration creates, and which tests with real transactions delete.

    It begins now. Since the migration, tasks would be overdue after a quarter of an hour of tests.
    """
    import_module("activity.migrations.0002_schedule").create_schedule(apps, None)
    PeriodicTask.objects.update(date_changed=timezone.now())


@pytest.fixture
def registry(db: None) -> Callable[..., Any]:
    """Return a function that posts notifications, or a raw request body, using a registry's token."""
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
