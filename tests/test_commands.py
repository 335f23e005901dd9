"""The `registry_config`, `create_token` and `load_demo` management commands."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client

from activity.catalogue import REPOSITORY_KINDS
from activity.models import Event
from repositories.access.resolving import Access
from repositories.models import AccessToken, Repository
from tests import factories
from tests.factories import notification
from tests.running import application

pytestmark = pytest.mark.django_db


def run(*args: str) -> str:
    output = StringIO()
    call_command(*args, stdout=output, stderr=StringIO())
    return output.getvalue()


def endpoint() -> dict[str, Any]:
    (endpoint,) = yaml.safe_load(run("registry_config"))["notifications"]["endpoints"]
    return endpoint


def deliver(authorization: str) -> int:
    body = json.dumps({"events": [notification()]})
    url = "/api/v0/notifications/registry"
    return Client().post(url, body, "application/json", headers={"authorization": authorization}).status_code


def test_registry_config_prints_a_working_endpoint() -> None:
    configured = endpoint()

    assert configured["url"] == "http://localhost:8000/api/v0/notifications/registry"
    (authorization,) = configured["headers"]["Authorization"]
    assert deliver(authorization) == 200


def test_registry_config_requests_the_references_of_an_index() -> None:
    configured = yaml.safe_load(run("registry_config"))["notifications"]

    assert configured["events"] == {"includereferences": True}


def test_registry_config_does_not_revoke_earlier_tokens() -> None:
    tokens = [endpoint()["headers"]["Authorization"][0] for _ in range(2)]

    assert len(set(tokens)) == 2
    assert [deliver(token) for token in tokens] == [200, 200]
    assert not get_user_model().objects.get().has_usable_password()


def test_create_token_prints_the_token_on_the_last_line() -> None:
    factories.producer(username="ci")

    tokens = [run("create_token", "ci", "--scope=write").splitlines()[-1] for _ in range(2)]

    assert [deliver(f"Bearer {token}") for token in tokens] == [200, 200]


@pytest.mark.parametrize("days", ["0", "-5", "99999999999", "x"])
def test_create_token_rejects_an_impossible_number_of_days(days: str) -> None:
    factories.UserFactory(username="ci")

    with pytest.raises(CommandError, match="is not a number of days"):
        call_command("create_token", "ci", f"--days={days}")


def test_create_token_creates_a_token_that_can_only_read_unless_told_otherwise() -> None:
    factories.producer(username="ci")

    assert deliver(f"Bearer {run('create_token', 'ci').splitlines()[-1]}") == 403
    run("create_token", "ci", "--only=acme/*", "--only=globex/api", "--days=30", "--name=SIEM")

    token = AccessToken.objects.get(name="SIEM")
    assert (token.can_read, token.can_write, token.restricted_to) == (True, False, "acme/*\nglobex/api")
    assert token.expiry is not None
    with pytest.raises(CommandError, match="neither a repository"):
        run("create_token", "ci", "--only=acme/")


def test_create_token_for_an_unknown_user_fails() -> None:
    with pytest.raises(CommandError, match="There is no user nobody"):
        run("create_token", "nobody")


def test_load_demo_creates_users_of_each_level_and_events_of_every_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEMO_PASSWORD", "demo-password")

    output = run("load_demo", "--events", "300")

    assert "demo-password" in output
    web = Repository.objects.named("acme/web").get()
    usernames = ["admin", "auditor", "repoadmin", "reader", "outsider"]
    permissions = {
        user.username: Access.for_user(user).permissions_on(web)
        for user in get_user_model().objects.filter(username__in=usernames)
        if user.check_password("demo-password")
    }
    assert (
        permissions["admin"]
        == permissions["repoadmin"]
        > permissions["auditor"]
        > permissions["outsider"]
        == frozenset()
    )
    assert "view_pull_events" not in permissions["reader"]
    assert "view_push_events" in permissions["reader"]
    kinds = set(Event.objects.filter(repository=web).values_list("kind", flat=True))
    assert kinds == set(REPOSITORY_KINDS) - {"delete_repository"}
    assert Repository.objects.named("acme/prototype").get().deleted_at


def test_load_demo_keeps_existing_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEMO_PASSWORD", raising=False)
    first = run("load_demo", "--events", "50")
    count = Event.objects.count()

    second = run("load_demo", "--events", "50")

    assert Event.objects.count() == count
    assert "as printed on the first start" in second
    assert "as printed on the first start" not in first


def test_registry_config_takes_no_account_of_a_person(db: None) -> None:
    person = factories.UserFactory(username="registry")
    person.set_password("correct horse")
    person.save()

    with pytest.raises(CommandError, match="Somebody logs in as registry"):
        call_command("registry_config")
    assert not person.access_tokens.exists()
    assert not person.has_perm("registry_activity.add_event")

    assert "Bearer" in run("registry_config", "another")
    assert get_user_model()._default_manager.get(username="another").access_tokens.exists()


@pytest.mark.long
def test_tables_can_be_removed_and_created_again(tmp_path: Path) -> None:
    with application(tmp_path) as app:
        app.manage("migrate", "registry_activity", "zero")
        app.migrate()

        assert app.events("admin") == []
