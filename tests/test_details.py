"""Who can see which details of an event."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity import gating
from activity.models import Event
from repositories.models import Membership, Repository
from tests import factories
from tests.factories import notification

pytestmark = pytest.mark.django_db

CLIENT = {
    "client_address": "10.0.0.7",
    "client_port": 56544,
    "user_agent": "skopeo/1.9.3",
    "node": "node1:5000",
    "request_id": "r1",
}
LogIn = Callable[[Any], Client]


@pytest.fixture
def web() -> Repository:
    return factories.repository("acme/web", public=True)


@pytest.fixture
def owner(web: Repository) -> Any:
    user = factories.UserFactory(username="olga")
    factories.add_member(web.namespace.organization, user, Membership.Role.OWNER)
    return user


def deliver(*notifications: dict[str, Any]) -> None:
    """Deliver notifications to the API, as a registry."""
    response = Client().post(
        "/api/v0/notifications/registry/",
        json.dumps({"events": notifications}),
        content_type="application/json",
        headers=factories.bearer(factories.producer()),
    )
    assert response.json() == {"events": len(notifications) * 2, "dead_letters": 0}


def details_of(client: Client, url: str = "/api/v0/repositories/acme/web/events/") -> dict[str, Any]:
    """Return the details of the newest event in a list."""
    return client.get(url).json()["results"][0]["details"]


class TestDeliveredEvents:
    def test_everyone_sees_the_manifest_and_repository_admins_see_the_client(
        self, log_in: LogIn, web: Repository, owner: Any
    ) -> None:
        sent = notification(id="n1")
        deliver(sent)
        manifest = {"media_type": sent["target"]["mediaType"], "size": 439}
        client = {**CLIENT, "notification_id": "n1"}

        assert details_of(log_in(factories.UserFactory())) == manifest
        assert details_of(log_in(factories.user_with("level_read_write", web))) == manifest
        assert details_of(log_in(factories.user_with("view_push_events", web))) == manifest
        assert details_of(log_in(factories.user_with("level_admin", web))) == {**manifest, **client}
        assert details_of(log_in(owner)) == {**manifest, **client}
        assert details_of(log_in(factories.auditor())) == {**manifest, **client, "message": sent}
        assert details_of(log_in(factories.msr_admin())) == {**manifest, **client, "message": sent}

    def test_producers_details_are_for_admins_unless_they_are_known(
        self, log_in: LogIn, web: Repository, owner: Any
    ) -> None:
        factories.enable_scanning()
        sent = {
            "id": "scan-1",
            "kind": "scan",
            "repository": "acme/web",
            "occurred_at": "2026-11-22T12:00:00Z",
            "details": {"critical": "2", "scanner_host": "scanner-3.internal"},
        }
        headers = factories.bearer(factories.producer())
        Client().post("/api/v0/events/", json.dumps(sent), content_type="application/json", headers=headers)

        assert details_of(log_in(factories.UserFactory())) == {"critical": "2"}
        assert details_of(log_in(owner)) == {
            "critical": "2",
            "scanner_host": "scanner-3.internal",
            "source_id": "scan-1",
        }


@pytest.mark.audited
class TestActionsInThisApplication:
    def test_addresses_are_for_msr_admins_and_auditors(
        self, log_in: LogIn, web: Repository, owner: Any
    ) -> None:
        other = factories.user_with("level_admin", web)
        log_in(owner).post(
            "/repositories/acme/web/settings/",
            {"action": "save", "visibility": "public", "description": "Our website."},
            REMOTE_ADDR="10.9.9.9",
        )
        assert Event.objects.filter(kind="update_description").get().details["client_address"] == "10.9.9.9"
        url = "/api/v0/repositories/acme/web/events/?category=access&type=UPDATE"

        assert "10.9.9.9" not in str(details_of(log_in(other), url))
        assert "10.9.9.9" not in str(details_of(log_in(owner), url))
        assert details_of(log_in(owner), url)["changes"] == {"description": {"after": "Our website."}}
        assert details_of(log_in(factories.auditor()), url)["client_address"] == "10.9.9.9"

    def test_users_see_the_addresses_of_their_own_logins(self, db: None) -> None:
        user = factories.UserFactory(username="jane")
        user.set_password("correct horse")
        user.save()
        client = Client(REMOTE_ADDR="10.9.9.9")
        client.post("/accounts/login/", {"username": "jane", "password": "correct horse"})

        details = details_of(client, "/api/v0/events/?category=account")

        assert details["client_address"] == "10.9.9.9"


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_export_makes_as_many_queries_for_many_repositories_as_for_one(log_in: LogIn, format: str) -> None:
    client = log_in(factories.UserFactory())

    def export() -> int:
        with CaptureQueriesContext(connection) as queries:
            client.post("/activity/", {"export": format}).getvalue()
        return len(queries)

    deliver_to = ["acme/web"]
    factories.repository("acme/web", public=True)
    deliver(*(notification(target={"repository": name}) for name in deliver_to))
    export()
    expected = export()
    names = [f"acme/r{number}" for number in range(5)]
    for name in names:
        factories.repository(name, public=True)
    deliver(*(notification(target={"repository": name}) for name in names))

    assert export() == expected


def test_documentation_lists_the_details_for_everyone() -> None:
    text = (Path(__file__).parent.parent / "docs/permissions.md").read_text()
    section = text.partition("## Who sees which details\n")[2].partition("\n## ")[0]
    row = next(line for line in section.splitlines() if line.endswith("| everyone who can see the event |"))

    assert set(row.split("`")[1::2]) == gating.DETAILS_FOR_EVERYONE
