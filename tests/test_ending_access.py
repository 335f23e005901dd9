"""MSR admins see all that concerns a person's access, end their tokens and sessions, and unlock them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from activity.models import Event
from repositories.accounts import passwords
from repositories.models import AccessToken, Login
from tests import factories

PASSWORD = "correct horse"
LOGIN = "/accounts/login/"


@pytest.fixture
def mara(person: Any) -> Any:
    person.set_password(PASSWORD)
    person.save()
    return person


@pytest.fixture
def page(mara: Any) -> str:
    return f"/admin/registry_repositories/repository/access-of-user/{mara.pk}/"


def log_in(mara: Any, password: str = PASSWORD, address: str = "10.1.2.3") -> tuple[Client, int]:
    """Log in through the form, and return the client and the status of the answer."""
    client = Client(REMOTE_ADDR=address)
    answer = client.post(LOGIN, {"username": mara.get_username(), "password": password})
    return client, answer.status_code


class TestEnding:
    def test_page_shows_what_concerns_a_persons_access(self, admin: Client, mara: Any, page: str) -> None:
        log_in(mara)
        factories.new_token(mara, "CI")
        team = factories.team_of(mara.memberships.get().organization, mara)
        html = admin.get(page).content.decode()

        assert all(part in html for part in ("CI (", str(team), "acme", "granted directly", "since"))

    def test_admin_ends_all_tokens_and_sessions(self, admin: Client, mara: Any, page: str) -> None:
        clients = [log_in(mara)[0] for _ in range(2)]
        token = factories.bearer(mara)
        assert [client.get("/settings/").status_code for client in clients] == [200, 200]

        answer = admin.post(page, {"end": ""}, follow=True).content.decode()

        assert "Access tokens that were revoked: 1. Sessions ended: 2." in answer
        assert [client.get("/settings/").status_code for client in clients] == [302, 302]
        assert Client().get("/api/v0/events/", headers=token).status_code == 401
        assert admin.get("/settings/").status_code == 200
        assert log_in(mara)[0].get("/settings/").status_code == 200

    def test_session_ends_after_the_person_changed_their_password(
        self, admin: Client, mara: Any, page: str
    ) -> None:
        client, _ = log_in(mara)
        new = {
            "old_password": PASSWORD,
            "new_password1": "a new 1 of these",
            "new_password2": "a new 1 of these",
        }
        client.post("/settings/password/", new)
        assert client.get("/settings/").status_code == 200

        admin.post(page, {"end": ""})

        assert client.get("/settings/").status_code == 302

    def test_logout_forgets_the_session(self, mara: Any) -> None:
        client, _ = log_in(mara)
        client.post("/accounts/logout/")

        assert not Login.objects.exists()

    @pytest.mark.audited
    def test_what_an_admin_ends_is_recorded(self, admin: Client, mara: Any, page: str) -> None:
        log_in(mara)
        factories.new_token(mara)
        admin.post(page, {"end": ""})
        admin.post(page, {"unlock": ""})

        recorded = {event.kind: event for event in Event.objects.filter(actor_name="admin")}
        assert {"delete_session", "delete_token", "update_user"} <= recorded.keys()
        assert recorded["delete_session"].subject == recorded["update_user"].subject == mara.get_username()
        assert recorded["delete_session"].details["count"] == 1

    @pytest.mark.parametrize("action", ["end", "unlock"])
    def test_nobody_else_may_end_or_unlock(
        self, auditor: Client, log_in: Any, mara: Any, page: str, action: str
    ) -> None:
        factories.new_token(mara)
        staff = factories.UserFactory(is_staff=True)

        assert auditor.get(page).status_code == 200
        assert 'name="end"' not in auditor.get(page).content.decode()
        for client in (auditor, log_in(staff), log_in(mara)):
            assert client.post(page, {action: ""}).status_code in (302, 403)
        assert AccessToken.objects.filter(user=mara).exists()

    def test_admin_cannot_end_the_sessions_of_a_superuser(self, admin: Client) -> None:
        root = factories.UserFactory(is_superuser=True)
        page = f"/admin/registry_repositories/repository/access-of-user/{root.pk}/"

        assert admin.post(page, {"end": ""}).status_code == 403


class TestUnlocking:
    def lock(self, mara: Any) -> None:
        statuses = [log_in(mara, "wrong")[1] for _ in range(6)]
        assert statuses[-1] == 429

    def test_locked_out_person_can_log_in_after_unlocking(self, admin: Client, mara: Any, page: str) -> None:
        assert "Not locked out" in admin.get(page).content.decode()
        self.lock(mara)
        assert log_in(mara)[1] == 429
        assert "<strong>Locked out</strong> until" in admin.get(page).content.decode()

        admin.post(page, {"unlock": ""})

        assert "Not locked out" in admin.get(page).content.decode()
        assert log_in(mara)[1] == 302

    def test_lock_in_all_networks_is_shown_and_lifted(self, admin: Client, mara: Any, page: str) -> None:
        for number in range(20):
            log_in(mara, "wrong", f"10.{number}.0.1")
        assert log_in(mara, address="10.99.0.1")[1] == 429
        assert "<strong>Locked out</strong> until" in admin.get(page).content.decode()

        admin.post(page, {"unlock": ""})

        assert log_in(mara, address="10.99.0.1")[1] == 302

    def test_few_wrong_passwords_from_many_networks_are_no_lock(self, mara: Any) -> None:
        for number in range(10):
            log_in(mara, "wrong", f"10.{number}.0.1")

        assert passwords.locked_until(mara.get_username()) is None
        assert log_in(mara)[1] == 302

    def test_page_for_the_locked_out_says_how_long_and_who_can_help(self, mara: Any) -> None:
        self.lock(mara)
        client = Client(REMOTE_ADDR="10.1.2.3")
        answer = client.post(LOGIN, {"username": mara.get_username(), "password": PASSWORD})
        html = " ".join(answer.content.decode().split())

        assert "for this username. Wait 15 minutes, then try again, or ask an MSR admin to unlock" in html
        assert answer.headers["Retry-After"] == "900"

    def test_page_for_a_network_does_not_promise_an_unlocking(self, mara: Any) -> None:
        for number in range(51):
            client = Client(REMOTE_ADDR="10.1.2.3")
            answer = client.post(LOGIN, {"username": f"user{number}", "password": "wrong"})
        html = answer.content.decode()

        assert "from your network" in html
        assert "unlock" not in html

    def test_new_password_from_an_admin_unlocks(self, log_in: Any, mara: Any) -> None:
        self.lock(mara)
        root = log_in(factories.UserFactory(is_superuser=True, is_staff=True))
        new = {"password1": "a new 1 of these", "password2": "a new 1 of these", "usable_password": "true"}
        answer = root.post(f"/admin/auth/user/{mara.pk}/password/", new)

        assert answer.status_code == 302
        assert passwords.locked_until(mara.get_username()) is None


@pytest.mark.audited
class TestOwnAccount:
    def seen(self, user: Any, log_in: Any) -> list[tuple[str, str]]:
        results = log_in(user).get("/api/v0/events/", {"category": "account"}).json()["results"]
        return [(event["label"], event["actor"]["label"]) for event in results]

    def test_person_sees_what_others_do_to_their_account(
        self, admin: Client, log_in: Any, mara: Any, page: str
    ) -> None:
        log_in(mara)
        factories.new_token(mara)
        other = factories.UserFactory(username="other")
        admin.post(page, {"end": ""}, REMOTE_ADDR="192.0.2.7")
        admin.post(page, {"unlock": ""}, REMOTE_ADDR="192.0.2.7")
        mine = {
            "delete_token": "Delete Token",
            "delete_session": "Delete Session",
            "update_user": "Update User",
        }

        found = self.seen(mara, log_in)
        assert {*mine.values()} <= {label for label, actor in found if actor == "admin"}
        assert "admin" not in {actor for _, actor in self.seen(other, log_in)}
        for event in Event.objects.filter(kind__in=mine, actor_name="admin"):
            assert log_in(mara).get(event.get_absolute_url()).status_code == 200
            assert log_in(other).get(event.get_absolute_url()).status_code == 404
            html = log_in(mara).get(event.get_absolute_url()).content.decode()
            assert "192.0.2.7" not in html

    def test_later_account_of_the_same_name_sees_nothing_of_the_former_one(
        self, admin: Client, log_in: Any, mara: Any, page: str
    ) -> None:
        admin.post(page, {"unlock": ""})
        name = mara.get_username()
        mara.delete()

        assert "admin" not in {actor for _, actor in self.seen(factories.UserFactory(username=name), log_in)}

    def test_search_by_address_finds_nothing_of_what_others_did(
        self, admin: Client, log_in: Any, mara: Any, page: str
    ) -> None:
        admin.post(page, {"unlock": ""}, REMOTE_ADDR="192.0.2.7")
        html = log_in(mara).get("/activity/", {"q": "ip:192.0.2.7"}).content.decode()

        assert "Update User" not in html
