"""One's own settings: time zone, light or dark, access tokens."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from repositories.accounts.tokens import new_token
from repositories.models import AccessToken, Profile
from tests import factories

TOKENS = "/settings/tokens/"
MADE = re.compile(r'id="new-token" readonly value="(\w+)"')


@pytest.fixture
def jane(db: None) -> Any:
    return factories.UserFactory(username="jane")


@pytest.fixture
def client(log_in: Any, jane: Any) -> Client:
    return log_in(jane)


def html(client: Client, url: str = "/settings/") -> str:
    return client.get(url).content.decode()


def test_lead_to_ones_own_profile(client: Client) -> None:
    for url in ("/settings/", TOKENS, "/settings/password/"):
        assert '<a href="/users/jane/">Your profile</a>' in html(client, url)


class TestTimeZone:
    def guess(self, client: Client, zone: str) -> int:
        return client.post("/settings/time-zone/", {"time_zone": zone}).status_code

    def test_is_guessed_once_and_the_pages_say_so(self, client: Client, jane: Any) -> None:
        assert 'data-guess-time-zone="/settings/time-zone/"' in html(client)

        assert self.guess(client, "Asia/Tokyo") == 204
        assert self.guess(client, "Europe/Rome") == 204

        assert Profile.objects.get(user=jane).time_zone.key == "Asia/Tokyo"
        assert "Asia/Tokyo was detected from your browser" in html(client)
        assert "Times are in Asia/Tokyo (detected from your browser)" in html(client, "/activity/")
        assert "data-guess-time-zone" not in html(client)

    def test_that_was_chosen_is_never_guessed(self, client: Client, jane: Any) -> None:
        client.post("/settings/", {"time_zone": "Europe/Rome"})

        self.guess(client, "Asia/Tokyo")

        assert Profile.objects.get(user=jane).time_zone.key == "Europe/Rome"
        assert "detected from your browser" not in html(client)

    def test_that_was_guessed_is_no_guess_once_another_is_chosen(self, client: Client) -> None:
        self.guess(client, "Asia/Tokyo")

        client.post("/settings/", {"time_zone": "Asia/Tokyo", "theme": "dark"})
        assert "detected from your browser" in html(client)
        client.post("/settings/", {"time_zone": "Europe/Rome"})
        assert "detected from your browser" not in html(client)

    def test_may_be_left_to_the_browser_again(self, client: Client) -> None:
        client.post("/settings/", {"time_zone": "Europe/Rome"})

        client.post("/settings/", {"time_zone": ""})

        assert "data-guess-time-zone" in html(client)
        assert "Times are in UTC" in html(client, "/activity/")

    @pytest.mark.parametrize("zone", ["", "Mars/Olympus", "\0", "../../etc/passwd", "x" * 5000])
    def test_that_is_none_is_refused(self, client: Client, zone: str) -> None:
        assert self.guess(client, zone) == 400
        assert not Profile.objects.exists()

    def test_is_not_set_by_looking(self, client: Client) -> None:
        html(client)

        assert not Profile.objects.exists()
        assert client.get("/settings/time-zone/").status_code == 405


class TestTheme:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_is_in_the_page_as_the_server_sends_it(self, client: Client, theme: str) -> None:
        client.post("/settings/", {"time_zone": "UTC", "theme": theme})

        for url in ("/settings/", "/activity/", "/nowhere/"):
            assert f'<html lang="en" data-theme="{theme}">' in html(client, url)
            assert f'<meta name="color-scheme" content="{theme}">' in html(client, url)

    def test_is_that_of_the_system_until_chosen(self, client: Client) -> None:
        assert "data-theme" not in html(client)
        assert '<meta name="color-scheme" content="light dark">' in html(client)

    def test_is_one_of_three(self, client: Client) -> None:
        assert client.post("/settings/", {"theme": '"><script>'}).status_code == 200
        assert not Profile.objects.exists()


class TestTokens:
    def make(self, client: Client, **values: str) -> str:
        response = client.post(TOKENS, {"name": "CI", "expiry": "30", **values})
        assert "no-store" in response["Cache-Control"]
        found = MADE.search(response.content.decode())
        return found[1] if found else ""

    def use(self, token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return Client().get("/api/v0/repositories/", headers=headers).status_code

    def test_are_shown_once_and_stored_hashed(self, client: Client, jane: Any) -> None:
        token = self.make(client)

        assert self.use(token) == 200
        assert token not in html(client, TOKENS)
        stored = AuthToken.objects.get(user=jane)
        assert token not in (stored.digest, stored.token_key)

    @pytest.mark.parametrize(("expiry", "days"), [("30", 30), ("365", 365), ("", None)])
    def test_expire_as_chosen(self, client: Client, expiry: str, days: int | None) -> None:
        self.make(client, expiry=expiry)

        ends = AuthToken.objects.get().expiry
        assert (ends and round((ends - timezone.now()) / timedelta(days=1))) == days

    @pytest.mark.parametrize(
        "values",
        [{"name": ""}, {"name": "x" * 101}, {"name": "a\0b"}, {"expiry": "1"}, {"expiry": "-1"}],
        ids=str,
    )
    def test_need_a_name_and_an_expiry_that_is_offered(self, client: Client, values: dict[str, str]) -> None:
        assert self.make(client, **values) == ""
        assert not AuthToken.objects.exists()

    def test_are_listed_with_their_last_use_to_the_minute(self, client: Client) -> None:
        token = self.make(client, name="<b>CI</b>")
        assert "&lt;b&gt;CI&lt;/b&gt;" in html(client, TOKENS)
        assert ">never</td>" in html(client, TOKENS)

        self.use(token)
        first = AccessToken.objects.get().last_used_at
        self.use(token)

        assert AccessToken.objects.get().last_used_at == first
        assert first is not None
        AccessToken.objects.update(last_used_at=first - timedelta(seconds=61))
        self.use(token)
        again = AccessToken.objects.get().last_used_at
        assert again is not None
        assert again >= first
        assert ">never</td>" not in html(client, TOKENS)

    def test_that_expired_say_so_and_do_nothing(self, client: Client, jane: Any) -> None:
        token = new_token(jane, "old", timedelta(seconds=-1))

        assert "expired" in html(client, TOKENS)
        assert self.use(token) == 401

    def test_end_when_they_are_revoked(self, client: Client, jane: Any) -> None:
        token, other = self.make(client), new_token(jane, "other")
        pk = AccessToken.objects.get(name="CI").pk

        answer = client.post(f"{TOKENS}{pk}/revoke/", follow=True).content.decode()

        assert "The token “CI” was revoked." in answer
        assert (self.use(token), self.use(other)) == (401, 200)

    def test_of_others_are_neither_seen_nor_revoked(self, client: Client) -> None:
        token = new_token(factories.UserFactory(), "somebody's")
        pk = AccessToken.objects.get().pk

        assert "somebody" not in html(client, TOKENS)
        assert client.post(f"{TOKENS}{pk}/revoke/").status_code == 404
        assert client.post(f"{TOKENS}999/revoke/").status_code == 404
        assert client.get(f"{TOKENS}{pk}/revoke/").status_code == 405
        assert self.use(token) == 200

    def test_made_by_a_command_are_listed_too(self, client: Client) -> None:
        call_command("create_token", "jane")

        assert "unnamed" in html(client, TOKENS)

    def test_are_for_those_who_are_logged_in(self, db: None) -> None:
        for url in ("/settings/", TOKENS, "/settings/time-zone/"):
            assert Client().get(url)["Location"].startswith("/accounts/login/")
