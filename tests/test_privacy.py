"""Nothing tells people more than they may know: files, caches, forms, the admin, names and the log."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from activity.models import ActorType, Event
from repositories.models import AccessToken, Counter, Policy, Repository
from repositories.utils.text import visible_text
from tests import factories

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct horse battery staple"


# --- Files --------------------------------------------------------------------------------------

WRITE_FILES = """
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.management import call_command
from activity import config, tasks
call_command("migrate", verbosity=0)
call_command("collectstatic", "--no-input", verbosity=0)
cache.set("key", "value")
config.archive_storage().save("2026/archive.jsonl.gz", ContentFile(b"events"))
tasks.fold_tallies.delay()
User.objects.create(username="jane")
import os; print(*sorted(os.listdir(os.environ["DATA_DIR"])))
"""


@pytest.mark.long
def test_other_accounts_can_read_nothing_in_the_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "archives").mkdir(parents=True)
    (data / "archives" / "old.jsonl.gz").write_bytes(b"readable, as written by an earlier version")
    for path in (data, *data.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    environ = {"DATA_DIR": str(data), "PATH": os.environ["PATH"]}
    command = [sys.executable, "manage.py", "shell", "-c", WRITE_FILES]

    result = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, umask=0o022
    )

    files = {"archives", "cache", "db.sqlite3", "db.sqlite3-shm", "db.sqlite3-wal", "queue", "secret_key"}
    assert files <= set(result.stdout.split())
    paths = [data, *data.rglob("*")]
    assert [path for path in paths if path.stat().st_mode & 0o077] == []
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o700, 0o600}


# --- Caches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/nowhere/", "/repositories/acme/none/info/", "/users/nobody/"])
def test_error_pages_of_logged_in_users_are_not_cached(log_in: Any, url: str) -> None:
    response = log_in(factories.UserFactory()).get(url)

    assert (response.status_code, response["Cache-Control"]) == (404, "private, no-store")


@pytest.mark.parametrize("url", ["/api/v0/events/", "/api/v0/repositories/", "/activity/atom/"])
def test_responses_to_programs_are_kept_by_no_other_program(url: str) -> None:
    headers = factories.bearer(factories.UserFactory())

    expected = "private, no-cache" if "api" in url else "private, no-store"
    assert Client().get(url, headers=headers)["Cache-Control"] == expected


@pytest.mark.parametrize(
    ("url", "values"),
    [
        ("/activity/", {"export": "csv"}),
        ("/admin/registry_activity/event/export/", {"format": "csv"}),
    ],
)
def test_exports_are_not_cached(admin: Client, settings: Any, url: str, values: dict[str, str]) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.startswith("msr_project.")]

    response = admin.post(url, values)

    assert response["Content-Disposition"].startswith("attachment")
    assert {"private", "no-store"} <= set(response["Cache-Control"].split(", "))


# --- Tokens -------------------------------------------------------------------------------------


class TestPasswordsAndTokens:
    @pytest.fixture
    def jane(self) -> Any:
        jane = factories.UserFactory(username="jane")
        jane.set_password(PASSWORD)
        jane.save()
        factories.new_token(jane, "CI")
        factories.new_token(factories.UserFactory(username="joe"))
        return jane

    @pytest.mark.parametrize("revoke", [False, True])
    def test_changing_the_own_password_offers_to_revoke_tokens(
        self, log_in: Any, jane: Any, revoke: bool
    ) -> None:
        client, new = log_in(jane), "another correct horse"
        page = client.get("/settings/password/").content.decode()
        assert "Access tokens stay valid when the password changes." in page

        values = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
        page = client.post(
            "/settings/password/", {**values, **({"revoke_tokens": "on"} if revoke else {})}, follow=True
        ).content.decode()

        assert "Your password was changed." in page
        assert ("Your access tokens (1) are still valid." in page) is not revoke
        assert AccessToken.objects.filter(user=jane).exists() is not revoke
        assert AccessToken.objects.filter(user__username="joe").exists()

    @pytest.mark.parametrize("revoke", [False, True])
    def test_changing_the_password_of_another_user_offers_to_revoke_tokens(
        self, admin: Client, jane: Any, revoke: bool
    ) -> None:
        url, new = f"/admin/auth/user/{jane.pk}/password/", "another correct horse"
        assert "Access tokens stay valid when the password changes." in admin.get(url).content.decode()

        values = {"password1": new, "password2": new, "usable_password": "true", "set-password": "x"}
        admin.post(url, {**values, **({"revoke_tokens": "on"} if revoke else {})})

        jane.refresh_from_db()
        assert jane.check_password(new)
        assert AccessToken.objects.filter(user=jane).exists() is not revoke
        assert AccessToken.objects.filter(user__username="joe").exists()

    @pytest.mark.audited
    def test_tokens_that_are_revoked_with_the_password_are_recorded(self, log_in: Any, jane: Any) -> None:
        new = "another correct horse"
        values = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}

        log_in(jane).post("/settings/password/", {**values, "revoke_tokens": "on"})

        deleted = Event.objects.get(kind="delete_token")
        assert deleted.actor_name == "jane"

    def test_msr_admins_revoke_only_the_tokens_of_users_they_manage(self, admin: Client, jane: Any) -> None:
        factories.new_token(factories.UserFactory(username="root", is_superuser=True))
        tokens = {token.user.get_username(): token.pk for token in AccessToken.objects.all()}
        url = "/admin/registry_repositories/accesstoken/"

        for pk in tokens.values():
            admin.post(f"{url}{pk}/delete/", {"post": "yes"})
        left = {token.user.get_username() for token in AccessToken.objects.all()}
        assert left == {"root"}

        selected = {"action": "delete_selected", "_selected_action": tokens["root"], "post": "yes"}
        admin.post(url, selected)
        assert AccessToken.objects.filter(user__username="root").exists()


# --- The admin ----------------------------------------------------------------------------------


class TestViewOnSite:
    @pytest.fixture
    def paths(self, web: Repository) -> list[str]:
        """The paths of an existing policy, user and repository, then of objects that don't exist."""
        policy = factories.PolicyFactory(repository=web)
        types = {model: ContentType.objects.get_for_model(model).pk for model in (Policy, Repository, Event)}
        existing = [(types[Policy], policy.pk), (types[Repository], web.pk)]
        missing = [(types[Policy], 999), (types[Event], "x"), (types[Policy], "x" * 40), (999, 1), ("x", 1)]
        return [f"/admin/r/{type}/{pk}/" for type, pk in existing + missing]

    def test_staff_without_permissions_learn_nothing(self, log_in: Any, paths: list[str]) -> None:
        staff = log_in(factories.UserFactory(is_staff=True))

        pages = [staff.get(path) for path in paths]

        assert {page.status_code for page in pages} == {404}
        assert len({re.sub(r'value="\w{64}"', "", page.content.decode()) for page in pages}) == 1

    def test_msr_admins_are_redirected(self, admin: Client, paths: list[str]) -> None:
        assert "/policies/" in admin.get(paths[0])["Location"]
        assert {admin.get(path).status_code for path in paths[1:]} == {404}


# --- Names --------------------------------------------------------------------------------------

INVISIBLE = ["\u200b", "\u202e", "\u00ad", "\u2060", "\u3164", "\ufe0f", "\u00a0", "\U000e0041", "\u034f"]


@pytest.mark.parametrize("char", INVISIBLE, ids=ascii)
def test_invisible_characters_are_escaped(char: str) -> None:
    escaped = char.encode("unicode_escape").decode()

    assert visible_text(f"ad{char}min") == f"ad{escaped}min"
    assert visible_text("Zoë O'Neill 名前 👍") == "Zoë O'Neill 名前 👍"


@pytest.mark.audited
@pytest.mark.parametrize("char", ["\u200b", "\u202e", "\u2800"], ids=ascii)
def test_invisible_characters_in_names_tried_at_login_are_escaped_everywhere(log_in: Any, char: str) -> None:
    auditor = log_in(factories.auditor())
    agent = f"curl{char}/1"
    Client(headers={"user-agent": agent}).post(
        "/accounts/login/", {"username": f"ad{char}min", "password": "wrong"}
    )
    event = Event.objects.get(kind="create_session_failed")
    escaped = char.encode("unicode_escape").decode()
    events = "/admin/registry_activity/event/"

    urls = [events, f"{events}{event.pk}/change/", f"{events}overview/", "/activity/", "/activity/atom/"]
    pages = [auditor.get(url).content.decode() for url in urls]
    pages.append(b"".join(auditor.post("/activity/", {"export": "csv"}).streaming_content).decode())

    for page in pages:
        assert f"ad{escaped}min" in page
        assert char not in page
    label = auditor.get(f"/api/v0/events/{event.pk}/").json()["actor"]["label"]
    assert label == f"ad{escaped}min"


def test_invisible_characters_in_names_from_a_registry_are_escaped(admin: Client) -> None:
    factories.record(actor_type=ActorType.USER, actor_name="ja\u200bne")

    for url in ("/activity/", "/admin/registry_activity/event/"):
        assert "ja\\u200bne" in admin.get(url).content.decode()


class TestWhetherAUserExists:
    @pytest.fixture
    def owner(self, web: Repository) -> Any:
        owner = factories.UserFactory()
        factories.add_member(web.namespace.organization, owner, "owner")
        return owner

    FORMS = [
        ("/organizations/acme/members/", "save_member", "user", {"role": "member"}),
        ("/repositories/acme/web/permissions/", "grant", "holder", {"codename": "level_read"}),
    ]

    @pytest.mark.parametrize(("url", "action", "field", "values"), FORMS)
    def test_people_who_add_others_may_try_20_wrong_names_an_hour(
        self, log_in: Any, owner: Any, url: str, action: str, field: str, values: dict[str, str]
    ) -> None:
        factories.UserFactory(username="jane")
        client = log_in(owner)

        def add(name: str) -> str:
            return client.post(url, {action: "", field: name, **values}, follow=True).content.decode()

        assert "jane" in add("jane")
        for number in range(20):
            assert "There is no user with this name." in add(f"nobody{number}")

        for name in ("jane", "nobody"):
            assert "Too many wrong names. Try again in an hour." in add(name)
        Counter.objects.update(expires_at=timezone.now())
        assert "There is no user with this name." in add("nobody")
        assert "Too many" not in add("jane")

    def test_both_forms_share_the_limit(self, log_in: Any, owner: Any) -> None:
        client = log_in(owner)
        for number in range(20):
            url, action, field, values = self.FORMS[number % 2]
            client.post(url, {action: "", field: f"nobody{number}", **values})

        for url, action, field, values in self.FORMS:
            page = client.post(url, {action: "", field: "nobody", **values}).content.decode()
            assert "Too many wrong names" in page

    def test_right_names_are_not_limited(self, log_in: Any, owner: Any) -> None:
        client = log_in(owner)
        for number in range(22):
            factories.UserFactory(username=f"person{number}")
            values = {"save_member": "", "user": f"person{number}", "role": "member"}
            assert client.post("/organizations/acme/members/", values).status_code == 302

        assert Counter.objects.filter(count__gt=0).count() == 0

    def test_removing_somebody_does_not_tell_whether_a_user_exists(self, log_in: Any, owner: Any) -> None:
        factories.UserFactory(username="jane")

        pages = {
            log_in(owner)
            .post("/organizations/acme/members/", {"remove_member": "", "user": name})
            .content.decode()
            .replace(name, "")
            .count("No member has this name.")
            for name in ("jane", "nobody")
        }

        assert pages == {1}


# --- The log ------------------------------------------------------------------------------------


def test_strangers_cause_few_and_short_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for name in ("django.security", "django.request"):  # caplog changes the level of the root logger only
        assert logging.getLogger(name).level > logging.WARNING
    client = Client(raise_request_exception=False)
    login, long = "/accounts/login/", "x" * 3000

    client.get("/", headers={"host": f"{long[:200]}.example.com"})
    client.get(f"/{long}?{long}")
    client.get(f"/users/{long}%00/")
    Client(enforce_csrf_checks=True).post(login, {"username": long})
    client.post(login, "x", content_type="multipart/form-data; boundary=x")
    client.post(login, {f"field{number}": "x" for number in range(2000)})
    client.post(login, f"username={'x' * 3_000_000}", content_type="application/x-www-form-urlencoded")
    client.post("/api/v0/notifications/registry/", "{", content_type="application/json")
    client.get("/api/v0/events/", headers={"authorization": f"Bearer {long}"})
    client.get("/activity/atom/", headers={"authorization": "Basic eDp4"})

    assert [record.getMessage()[:200] for record in caplog.records] == []


def test_logged_errors_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    (console,) = (handler for handler in logging.getLogger().handlers if handler.name == "console")
    (brief,) = console.filters
    monkeypatch.setattr(brief, "last_outage", float("-inf"))
    monkeypatch.setattr(console, "stream", log := io.StringIO())

    logging.getLogger("django.request").error("Internal Server Error: /%s", "x" * 3000)
    assert 500 < len(log.getvalue()) < 600

    for _ in range(3):
        logging.getLogger("django.request").error("Error: /", exc_info=OperationalError("No database."))
    assert len(log.getvalue().splitlines()) == 2
