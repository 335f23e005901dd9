"""The user's settings pages: time zone, theme and access tokens."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from repositories.models import AccessToken, Profile
from tests import factories

TOKENS = "/settings/tokens/"
NEW_TOKEN = re.compile(r'id="new-token" readonly value="(\w+)"')


@pytest.fixture
def jane(db: None) -> Any:
    return factories.UserFactory(username="jane")


@pytest.fixture
def client(log_in: Any, jane: Any) -> Client:
    return log_in(jane)


def get_html(client: Client, url: str = "/settings/") -> str:
    return client.get(url).content.decode()


def test_settings_pages_link_to_the_users_profile(client: Client) -> None:
    for url in ("/settings/", TOKENS, "/settings/password/"):
        assert '<a href="/users/jane/">Your profile</a>' in get_html(client, url)


class TestTimeZone:
    def post_detected(self, client: Client, zone: str) -> int:
        return client.post("/settings/time-zone/", {"time_zone": zone}).status_code

    def test_time_zone_follows_the_browser_and_is_shown_as_detected(self, client: Client, jane: Any) -> None:
        assert 'data-guess-time-zone="/settings/time-zone/" data-time-zone=""' in get_html(client)

        for zone in ("Europe/Rome", "Asia/Tokyo"):
            assert self.post_detected(client, zone) == 204
            assert Profile.objects.get(user=jane).time_zone.key == zone
            assert f"{zone} was detected from your browser" in get_html(client)
            assert f"Times are in {zone} (detected from your browser)" in get_html(client, "/activity/")
            assert f'data-time-zone="{zone}"' in get_html(client)

    def test_chosen_time_zone_is_not_replaced_by_a_detected_one(self, client: Client, jane: Any) -> None:
        client.post("/settings/", {"time_zone": "Europe/Rome"})

        self.post_detected(client, "Asia/Tokyo")

        assert Profile.objects.get(user=jane).time_zone.key == "Europe/Rome"
        assert "detected from your browser" not in get_html(client)
        assert "data-guess-time-zone" not in get_html(client)

    def test_time_zone_is_shown_as_detected_until_another_is_chosen(self, client: Client) -> None:
        self.post_detected(client, "Asia/Tokyo")

        client.post("/settings/", {"time_zone": "Asia/Tokyo", "theme": "dark"})
        assert "detected from your browser" in get_html(client)
        client.post("/settings/", {"time_zone": "Europe/Rome"})
        assert "detected from your browser" not in get_html(client)

    def test_time_zone_can_be_reset_to_detection(self, client: Client) -> None:
        client.post("/settings/", {"time_zone": "Europe/Rome"})

        client.post("/settings/", {"time_zone": ""})

        assert "data-guess-time-zone" in get_html(client)
        assert "Times are in UTC" in get_html(client, "/activity/")

    @pytest.mark.parametrize("zone", ["", "Mars/Olympus", "\0", "../../etc/passwd", "x" * 5000])
    def test_invalid_time_zone_is_rejected(self, client: Client, zone: str) -> None:
        assert self.post_detected(client, zone) == 400
        assert not Profile.objects.exists()

    def test_time_zone_is_not_set_by_a_get_request(self, client: Client) -> None:
        get_html(client)

        assert not Profile.objects.exists()
        assert client.get("/settings/time-zone/").status_code == 405


class TestTheme:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_chosen_theme_is_rendered_by_the_server(self, client: Client, theme: str) -> None:
        client.post("/settings/", {"time_zone": "UTC", "theme": theme})

        for url in ("/settings/", "/activity/", "/nowhere/"):
            assert f'<html lang="en-us" data-theme="{theme}">' in get_html(client, url)
            assert f'<meta name="color-scheme" content="{theme}">' in get_html(client, url)

    def test_theme_follows_the_system_by_default(self, client: Client) -> None:
        assert "data-theme" not in get_html(client)
        assert '<meta name="color-scheme" content="light dark">' in get_html(client)

    def test_unknown_theme_is_rejected(self, client: Client) -> None:
        assert client.post("/settings/", {"theme": '"><script>'}).status_code == 200
        assert not Profile.objects.exists()


class TestTokens:
    def create(self, client: Client, **values: str) -> str:
        response = client.post(TOKENS, {"name": "CI", "expiry": "30", "can_read": "on", **values})
        assert "no-store" in response["Cache-Control"]
        match = NEW_TOKEN.search(response.content.decode())
        return match[1] if match else ""

    def call_api(self, token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return Client().get("/api/v0/repositories/", headers=headers).status_code

    def test_token_is_shown_once_and_stored_hashed(self, client: Client, jane: Any) -> None:
        token = self.create(client)

        assert self.call_api(token) == 200
        assert token not in get_html(client, TOKENS)
        stored = AccessToken.objects.get(user=jane)
        assert token not in (stored.digest, stored.token_key)

    @pytest.mark.parametrize(("expiry", "days"), [("30", 30), ("365", 365), ("", None)])
    def test_token_expires_as_chosen(self, client: Client, expiry: str, days: int | None) -> None:
        self.create(client, expiry=expiry)

        expiry_time = AccessToken.objects.get().expiry
        assert (expiry_time and round((expiry_time - timezone.now()) / timedelta(days=1))) == days

    def test_token_can_do_what_was_chosen(self, client: Client) -> None:
        self.create(client, can_read="", can_write="on", restricted_to="acme/*\r\nglobex/api")

        token = AccessToken.objects.get()
        assert (token.can_read, token.can_write) == (False, True)
        assert token.may_write_in("acme/web")
        assert not token.may_write_in("globex/web")
        page = get_html(client, TOKENS)
        assert "only in <code>acme/*</code>, <code>globex/api</code>" in page
        assert f"<code>{token.token_key[:8]}…</code>" in page

    @pytest.mark.parametrize(
        "values",
        [
            {"can_read": ""},
            {"restricted_to": "acme/"},
            {"restricted_to": "*"},
            {"restricted_to": "a/b\n" * 51},
        ],
        ids=str,
    )
    def test_token_requires_a_scope_and_valid_places(self, client: Client, values: dict[str, str]) -> None:
        assert self.create(client, **values) == ""
        assert not AccessToken.objects.exists()

    @pytest.mark.parametrize(
        "values",
        [{"name": ""}, {"name": "x" * 101}, {"name": "a\0b"}, {"expiry": "1"}, {"expiry": "-1"}],
        ids=str,
    )
    def test_token_requires_a_name_and_an_offered_expiry(
        self, client: Client, values: dict[str, str]
    ) -> None:
        assert self.create(client, **values) == ""
        assert not AccessToken.objects.exists()

    def test_token_list_shows_the_last_use_to_the_minute(self, client: Client) -> None:
        token = self.create(client, name="<b>CI</b>")
        assert "&lt;b&gt;CI&lt;/b&gt;" in get_html(client, TOKENS)
        assert ">never</td>" in get_html(client, TOKENS)

        self.call_api(token)
        first = AccessToken.objects.get().last_used_at
        self.call_api(token)

        assert AccessToken.objects.get().last_used_at == first
        assert first is not None
        AccessToken.objects.update(last_used_at=first - timedelta(seconds=61))
        self.call_api(token)
        again = AccessToken.objects.get().last_used_at
        assert again is not None
        assert again >= first
        assert "from 127.0.0.1" in get_html(client, TOKENS)
        assert ">never</td>" not in get_html(client, TOKENS)

    def test_expired_token_is_marked_and_rejected(self, client: Client, jane: Any) -> None:
        token = factories.new_token(jane, "old", timedelta(seconds=-1))

        assert "expired" in get_html(client, TOKENS)
        assert self.call_api(token) == 401

    def test_revoked_token_is_rejected(self, client: Client, jane: Any) -> None:
        token, other = self.create(client), factories.new_token(jane, "other")
        pk = AccessToken.objects.get(name="CI").pk

        page = client.post(f"{TOKENS}{pk}/revoke/", follow=True).content.decode()

        assert "The token “CI” was revoked." in page
        assert (self.call_api(token), self.call_api(other)) == (401, 200)

    def test_tokens_of_other_users_can_be_neither_seen_nor_revoked(self, client: Client) -> None:
        token = factories.new_token(factories.UserFactory(), "somebody's")
        pk = AccessToken.objects.get().pk

        assert "somebody" not in get_html(client, TOKENS)
        assert client.post(f"{TOKENS}{pk}/revoke/").status_code == 404
        assert client.post(f"{TOKENS}999/revoke/").status_code == 404
        assert client.get(f"{TOKENS}{pk}/revoke/").status_code == 405
        assert self.call_api(token) == 200

    def test_token_created_by_a_command_is_listed(self, client: Client) -> None:
        call_command("create_token", "jane")

        assert "unnamed" in get_html(client, TOKENS)

    def test_settings_pages_require_login(self, db: None) -> None:
        for url in ("/settings/", TOKENS, "/settings/time-zone/"):
            assert Client().get(url)["Location"].startswith("/accounts/login/")
