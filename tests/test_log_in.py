"""Logging in: too many failed attempts lock out a username at one IP address, but not at other addresses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import F
from django.test import Client

from activity.models import Event
from tests import factories

pytestmark = pytest.mark.django_db

PAGES = ["/accounts/login/", "/admin/login/"]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def jane() -> Any:
    user = factories.UserFactory(username="jane", is_staff=True)
    user.set_password(PASSWORD)
    user.save()
    return user


def log_in(page: str, password: str, username: str = "jane", address: str = "10.0.0.7") -> Any:
    credentials = {"username": username, "password": password}
    return Client(REMOTE_ADDR=address).post(page, credentials)


def fail_to_log_in(page: str, times: int) -> None:
    for number in range(times):
        log_in(page, f"wrong {number}")


@pytest.mark.parametrize("page", PAGES)
def test_login_succeeds_after_a_few_failures(jane: Any, page: str) -> None:
    for _ in range(2):
        fail_to_log_in(page, settings.AXES_FAILURE_LIMIT - 1)

        assert log_in(page, PASSWORD).status_code == 302


@pytest.mark.parametrize("page", PAGES)
def test_login_is_refused_for_15_minutes_after_too_many_failures(jane: Any, page: str) -> None:
    fail_to_log_in(page, settings.AXES_FAILURE_LIMIT)

    response = log_in(page, PASSWORD)

    assert response.status_code == 429
    assert "Too many failed logins" in response.content.decode()
    assert "15 minutes" in response.content.decode()
    later = timedelta(minutes=15, seconds=1)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - later)
    assert log_in(page, PASSWORD).status_code == 302


@pytest.mark.parametrize("page", PAGES)
def test_failures_do_not_lock_out_other_users_or_addresses(jane: Any, page: str) -> None:
    fail_to_log_in(page, settings.AXES_FAILURE_LIMIT)

    assert log_in(page, PASSWORD, address="10.0.0.8").status_code == 302
    assert log_in(page, "wrong", username="joe").status_code == 200


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("username", "query", "headers"),
    [
        ("x" * 1000, "", {}),
        ("nul\0", "", {}),
        ("\N{PILE OF POO}" * 300, "", {}),
        ("jane", "?next=%00", {}),
        ("jane", "?" + "x" * 5000, {}),
        ("jane", "", {"User-Agent": "x" * 5000, "Accept": "x" * 5000}),
        ("jane", "", {"X-Forwarded-For": "nowhere"}),
    ],
    ids=["long", "NUL", "emoji", "NUL in query", "long query", "long headers", "address"],
)
def test_malformed_login_attempts_are_counted(
    jane: Any, page: str, username: str, query: str, headers: dict[str, str]
) -> None:
    def attempt() -> int:
        credentials = {"username": username, "password": "wrong"}
        return Client(headers=headers).post(page + query, credentials).status_code

    statuses = [attempt() for _ in range(settings.AXES_FAILURE_LIMIT + 1)]

    assert statuses[0] == 200
    # A username that contains NUL is invalid, so the form rejects it before the attempt is counted.
    assert statuses[-1] == (200 if "\0" in username else 429)


@pytest.mark.parametrize("address", ["", "fe80::1%eth0"])
def test_failures_from_missing_or_unusual_address_are_counted(jane: Any, address: str) -> None:
    for number in range(settings.AXES_FAILURE_LIMIT):
        log_in("/accounts/login/", f"wrong {number}", address=address)

    assert log_in("/accounts/login/", PASSWORD, address=address).status_code == 429


@pytest.mark.audited
def test_failed_logins_are_recorded(jane: Any) -> None:
    fail_to_log_in("/accounts/login/", settings.AXES_FAILURE_LIMIT)
    log_in("/accounts/login/", PASSWORD)

    failures = Event.objects.filter(kind="create_session_failed", actor_name="jane")
    assert failures.count() == settings.AXES_FAILURE_LIMIT + 1
    assert not Event.objects.filter(kind="create_session").exists()


def test_failed_logins_are_not_logged(jane: Any, caplog: pytest.LogCaptureFixture) -> None:
    fail_to_log_in("/accounts/login/", settings.AXES_FAILURE_LIMIT + 1)

    assert not caplog.records


def test_username_is_escaped_on_the_lockout_page() -> None:
    name = "<script>alert(1)</script>"
    for _ in range(settings.AXES_FAILURE_LIMIT):
        page = log_in("/accounts/login/", "wrong", username=name)

    assert page.status_code == 429
    assert "<script>alert" not in page.content.decode()
