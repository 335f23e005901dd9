"""Logging in: failures are limited by username, by network, and by both, and recorded in bounded space."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity import tasks
from activity.models import Event, FailedLogins
from activity.storage.events import delete_events
from repositories.accounts import limits, passwords
from repositories.models import Counter
from tests import factories
from tests.running import TIMEOUT, application

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"
PAGES = [LOGIN, "/admin/login/"]
PASSWORD = "correct horse battery staple"
ADDRESS = "10.0.0.7"
BOTH, BY_NAME, BY_NETWORK = (
    limit.allowed for limit in (passwords.BY_NAME_AND_NETWORK, passwords.BY_NAME, passwords.BY_NETWORK)
)


@pytest.fixture
def jane() -> Any:
    user = factories.UserFactory(username="jane", is_staff=True)
    user.set_password(PASSWORD)
    user.save()
    return user


def log_in(
    password: str = PASSWORD, username: str = "jane", address: str = ADDRESS, page: str = LOGIN
) -> Any:
    credentials = {"username": username, "password": password}
    return Client(REMOTE_ADDR=address).post(page, credentials)


def fail(times: int, **values: str) -> None:
    for number in range(times):
        log_in(f"wrong {number}", **values)


def addresses() -> Iterator[str]:
    return (f"10.1.{number // 250}.{number % 250}" for number in count())


def fail_from_many_addresses(times: int) -> None:
    for address, _ in zip(addresses(), range(times), strict=False):
        fail(1, address=address)


def let_time_pass(time: timedelta) -> None:
    Counter.objects.update(expires_at=F("expires_at") - time)


class TestLimits:
    @pytest.mark.parametrize("page", PAGES)
    def test_login_succeeds_after_a_few_failures(self, jane: Any, page: str) -> None:
        for _ in range(2):
            fail(BOTH - 1, page=page)

            assert log_in(page=page).status_code == 302

    @pytest.mark.parametrize("page", PAGES)
    def test_login_is_refused_for_15_minutes_after_too_many_failures(self, jane: Any, page: str) -> None:
        fail(BOTH, page=page)

        response = log_in(page=page)

        assert response.status_code == 429
        assert response["Retry-After"] == "900"
        assert "Too many failed logins" in response.content.decode()
        assert "15 minutes" in response.content.decode()
        let_time_pass(timedelta(minutes=14))
        assert log_in(page=page).status_code == 429
        let_time_pass(timedelta(minutes=1))
        assert log_in(page=page).status_code == 302

    @pytest.mark.parametrize("page", PAGES)
    def test_few_failures_do_not_lock_out_other_users_or_addresses(self, jane: Any, page: str) -> None:
        fail(BOTH, page=page)

        assert log_in(page=page, address="10.0.0.8").status_code == 302
        assert log_in("wrong", page=page, username="joe").status_code == 200

    @pytest.mark.parametrize("page", PAGES)
    def test_address_that_tries_many_usernames_is_limited(self, jane: Any, page: str) -> None:
        for number in range(BY_NETWORK):
            assert log_in("wrong", page=page, username=f"user{number}").status_code == 200

        assert log_in("wrong", page=page, username="another").status_code == 429
        assert log_in(page=page).status_code == 429
        assert log_in(page=page, address="10.0.0.8").status_code == 302

    @pytest.mark.parametrize("page", PAGES)
    def test_username_that_many_addresses_try_is_limited(self, jane: Any, page: str) -> None:
        fail_from_many_addresses(BY_NAME)

        assert log_in(page=page).status_code == 429
        assert log_in("wrong", page=page, username="joe").status_code == 200

    def test_ipv6_is_limited_by_64_bits(self, jane: Any) -> None:
        for number in range(BOTH):
            fail(1, address=f"2001:db8:0:1::{number}")

        assert log_in(address="2001:db8:0:1:ffff::").status_code == 429
        assert log_in(address="2001:db8:0:2::1").status_code == 302

    def test_ipv4_addresses_written_as_ipv6_are_limited_one_by_one(self, jane: Any) -> None:
        fail(BOTH, address=f"::ffff:{ADDRESS}")

        assert log_in().status_code == 429
        assert log_in(address="::ffff:10.0.0.8").status_code == 302

    @pytest.mark.parametrize("address", ["", "nowhere", "fe80::1%eth0"])
    def test_failures_from_unknown_or_unusual_address_are_limited(self, jane: Any, address: str) -> None:
        fail(BOTH, address=address)

        assert log_in(address=address).status_code == 429

    def test_success_does_not_renew_the_guesses_at_other_usernames(self, jane: Any) -> None:
        for number in range(BY_NETWORK):
            log_in("wrong", username=f"user{number}")
            if number == BY_NETWORK - 2:
                assert log_in().status_code == 302

        assert log_in("wrong", username="another").status_code == 429

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
    def test_malformed_login_attempts_are_limited(
        self, jane: Any, page: str, username: str, query: str, headers: dict[str, str]
    ) -> None:
        def attempt() -> int:
            credentials = {"username": username, "password": "wrong"}
            return Client(headers=headers).post(page + query, credentials).status_code

        statuses = [attempt() for _ in range(BOTH + 1)]

        assert statuses[0] == 200
        # A username that contains NUL is invalid, so the form rejects it before the attempt is counted.
        assert statuses[-1] == (200 if "\0" in username else 429)


class TestLockout:
    """A stranger can't lock somebody out for as long as they like."""

    def test_user_can_log_in_from_a_known_address_while_strangers_try_the_username(self, jane: Any) -> None:
        log_in()
        fail_from_many_addresses(BY_NAME)

        assert log_in().status_code == 302
        assert log_in(address="10.0.0.8").status_code == 429

    def test_addresses_are_known_for_90_days(self, jane: Any) -> None:
        log_in()
        let_time_pass(timedelta(days=90))
        fail_from_many_addresses(BY_NAME)

        assert log_in().status_code == 429

    def test_known_address_is_limited_too(self, jane: Any) -> None:
        log_in()
        fail(BOTH)

        assert log_in().status_code == 429

    def test_known_address_is_not_known_for_other_usernames(self, jane: Any) -> None:
        log_in()
        for address, _ in zip(addresses(), range(BY_NAME), strict=False):
            fail(1, address=address, username="joe")

        assert log_in("wrong", username="joe").status_code == 429

    def test_command_lets_a_user_log_in_from_a_new_address(self, jane: Any) -> None:
        fail_from_many_addresses(BY_NAME)
        assert log_in().status_code == 429

        call_command("trust_address", "jane", ADDRESS)

        assert log_in().status_code == 302

    @pytest.mark.audited
    def test_trusted_address_is_recorded(self, jane: Any) -> None:
        call_command("trust_address", "jane", ADDRESS)

        event = Event.objects.get(kind="update_user")
        assert event.subject == "jane"
        assert event.details["changes"] == {"trusted_address": {"before": None, "after": ADDRESS}}

    def test_address_of_an_unknown_user_cannot_be_trusted(self, db: None) -> None:
        with pytest.raises(CommandError, match="There is no user jane"):
            call_command("trust_address", "jane", ADDRESS)


class TestBounds:
    """The state and the cost of an attempt don't grow with the number of attempts."""

    def test_refused_attempts_store_nothing(self, jane: Any) -> None:
        fail(BOTH)
        before = list(Counter.objects.order_by("pk").values())

        fail(20)
        for number in range(20):
            fail(1, page=f"{LOGIN}?{number}" + "x" * 500)

        assert list(Counter.objects.order_by("pk").values()) == before
        assert len(before) == 3

    def test_expired_counters_are_deleted(self, jane: Any) -> None:
        for number in range(10):
            fail(1, username=f"user{number}", address=f"10.0.1.{number}")
        assert Counter.objects.count() == 30
        let_time_pass(passwords.PERIOD)

        for number in range(4):
            fail(1, username=f"other{number}", address=f"10.0.2.{number}")

        assert Counter.objects.count() == 12

    def test_usernames_are_stored_as_hashes(self) -> None:
        fail(1, username="my-password-by-mistake")

        assert not Counter.objects.filter(key__contains="mistake").exists()

    @pytest.mark.audited
    @pytest.mark.parametrize("known", [False, True])
    def test_queries_of_an_attempt_do_not_grow(self, jane: Any, known: bool) -> None:
        if known:
            log_in()

        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                fail(1)
            return len(captured)

        fail(1)
        counted = queries()
        fail(BOTH)
        refused = queries()

        assert refused < counted <= 20

    def test_simultaneous_attempts_do_not_exceed_the_limit(self) -> None:
        """Each attempt is counted before the password is checked."""
        quota = passwords.BY_NAME_AND_NETWORK.of("jane", ADDRESS)

        def nested(depth: int) -> bool:
            if depth:
                limits.attempt([quota], lambda: nested(depth - 1))
            return False

        with pytest.raises(limits.LimitExceeded):
            nested(BOTH + 1)


@pytest.mark.audited
class TestEvents:
    @pytest.fixture(autouse=True)
    def fixed_quarter(self, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
        """The current time, as the only element of a list, early in a quarter of an hour."""
        now = [timezone.now().replace(minute=1)]
        monkeypatch.setattr(timezone, "now", lambda: now[0])
        return now

    def failures(self) -> list[tuple[str, int | None]]:
        events = Event.objects.filter(kind="create_session_failed")
        return [(event.actor_name, event.attempts) for event in events.order_by("pk")]

    def test_first_failure_of_a_username_address_and_quarter_is_an_event(
        self, jane: Any, fixed_quarter: list[datetime]
    ) -> None:
        fail(BOTH + 2)
        log_in()  # refused, although the password is right
        assert self.failures() == [("jane", BOTH + 3)]
        assert not Event.objects.filter(kind="create_session").exists()

        fail(1, username="joe")
        fail(1, address="10.0.0.8")
        fixed_quarter[0] += timedelta(minutes=15)
        fail(2)

        assert sorted(self.failures()) == [("jane", 1), ("jane", 2), ("jane", BOTH + 3), ("joe", 1)]

    def test_address_that_tries_many_usernames_fills_neither_the_trail_nor_the_table(self) -> None:
        for number in range(BY_NETWORK + 30):
            fail(1, username=f"user{number}")
        fail(1, username="user0")

        failures = self.failures()
        assert len(failures) == FailedLogins.objects.count() == 51
        assert {("", 30), ("user0", 2)} <= {*failures}
        assert Event.objects.filter(actor_name="", actor_type="anonymous").count() == 1

    def test_attempts_are_shown_with_the_event(self, jane: Any, log_in: Any) -> None:
        fail(4)
        event = Event.objects.get(kind="create_session_failed")
        own, auditor = log_in(jane), log_in(factories.auditor())

        for url in ("/users/jane/", "/activity/"):
            assert "Create Session Failed (4 attempts)" in own.get(url).content.decode()
        for url in ("", f"{event.pk}/change/", "overview/"):
            page = auditor.get(f"/admin/registry_activity/event/{url}").content.decode()
            assert "Create Session Failed (4 attempts)" in page
        for url in (f"/api/v0/events/{event.pk}/", "/api/v0/events/?category=account"):
            assert '"attempts":4' in own.get(url).content.decode()
        exported = b"".join(own.post("/users/jane/", {"export": "jsonl"}).streaming_content)
        assert b'"attempts": 4' in exported

    def test_counts_are_deleted_after_their_events(self) -> None:
        fail(1, username="old")
        fail(1, username="new")
        FailedLogins.objects.update(start=timezone.now() - timedelta(days=2))
        old = Event.objects.get(actor_name="old")
        with transaction.atomic():
            delete_events(Event.objects.filter(pk=old.pk), "run 1")

        tasks.delete_failed_logins()

        assert list(FailedLogins.objects.values_list("username", flat=True)) == ["new"]

    def test_list_of_failures_loads_the_attempts_at_once(self, log_in: Any) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                assert auditor.get("/api/v0/events/?category=account").status_code == 200
            return len(captured)

        auditor = log_in(factories.auditor())
        fail(1, username="a")
        queries()  # fills Django's caches
        few = queries()
        for name in "bcdefgh":
            fail(1, username=name)

        assert queries() <= few


def test_failed_logins_are_not_logged(jane: Any, caplog: pytest.LogCaptureFixture) -> None:
    fail(BOTH + 1)

    assert not caplog.records


class TestOldPassword:
    """Whoever finds an open session can't guess the password without limit."""

    NEW = "another correct horse"

    def change(self, client: Client, old: str) -> Any:
        values = {"old_password": old, "new_password1": self.NEW, "new_password2": self.NEW}
        return client.post("/settings/password/", values)

    def test_old_password_is_limited(self, jane: Any) -> None:
        client = Client(REMOTE_ADDR=ADDRESS)
        client.force_login(jane)
        for _ in range(BOTH):
            assert "entered incorrectly" in self.change(client, "wrong").content.decode()

        assert "Too many wrong passwords" in self.change(client, PASSWORD).content.decode()
        assert log_in().status_code == 429
        jane.refresh_from_db()
        assert jane.check_password(PASSWORD)
        let_time_pass(passwords.PERIOD)
        assert self.change(client, PASSWORD).status_code == 302

    def test_failed_logins_limit_the_old_password_too(self, jane: Any) -> None:
        fail(BOTH)
        client = Client(REMOTE_ADDR=ADDRESS)
        client.force_login(jane)

        assert "Too many wrong passwords" in self.change(client, PASSWORD).content.decode()

    def test_admin_has_no_other_form_for_the_own_password(self, jane: Any) -> None:
        client = Client()
        client.force_login(jane)

        response = client.post("/admin/password_change/", {"old_password": PASSWORD})

        assert (response.status_code, response["Location"]) == (302, "/settings/password/")

    @pytest.mark.parametrize("superuser", [False, True])
    def test_admin_does_not_set_the_own_password_without_the_old_one(self, superuser: bool) -> None:
        iris = factories.msr_admin(username="iris", is_superuser=superuser)
        iris.set_password(PASSWORD)
        iris.save()
        client = Client()
        client.force_login(iris)
        values = {"password1": self.NEW, "password2": self.NEW, "usable_password": "true", "set-password": ""}

        for pk in (iris.pk, f"0{iris.pk}", f"+{iris.pk}", f"%20{iris.pk}"):
            for response in (client.get(url := f"/admin/auth/user/{pk}/password/"), client.post(url, values)):
                assert (response.status_code, response["Location"]) == (302, "/settings/password/")
        iris.refresh_from_db()
        assert iris.check_password(PASSWORD)
        assert "Change your own password here" in client.get("/settings/password/").content.decode()


@pytest.mark.long
def test_processes_of_the_web_server_share_the_limits(tmp_path: Path) -> None:
    with application(tmp_path) as app:
        session = requests.Session()

        def attempt() -> int:
            page = session.get(f"{app.url}{LOGIN}", timeout=TIMEOUT)
            token = page.text.partition('name="csrfmiddlewaretoken" value="')[2][:64]
            credentials = {"csrfmiddlewaretoken": token, "username": "reader", "password": "wrong"}
            return session.post(f"{app.url}{LOGIN}", credentials, timeout=TIMEOUT).status_code

        assert [attempt() for _ in range(BOTH + 3)] == [200] * BOTH + [429] * 3
