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
from activity.recording.drafts import Delivery
from repositories.models import Membership, Repository
from tests import factories
from tests.event_tables import get_page
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


LISTS = {"/api/v0/events/": "search", "/activity/": "q"}
"""Lists of events, and the name of the parameter for a search."""
SEARCHES = {"ip:10.9.9.9": True, "-ip:10.9.9.9": False}
"""Searches, and whether they find the events with this address."""
EVERYWHERE = {"API", "page", "export"} | {f"{search} {url}" for search in SEARCHES for url in LISTS}


@pytest.mark.audited
class TestAddresses:
    """Where the address of a client is shown, and which searches depend on it."""

    def places(self, client: Client, event: Event) -> set[str]:
        """Return where a viewer of an event finds the address 10.9.9.9."""
        texts = {
            "API": get_page(client, f"/api/v0/events/{event.pk}/"),
            "page": get_page(client, event.get_absolute_url()),
            "export": client.post("/activity/", {"export": "csv"}).getvalue().decode(),
        }
        assert [name for name, text in texts.items() if str(event.pk) not in text] == []
        found = {name for name, text in texts.items() if "10.9.9.9" in text}
        for url, parameter in LISTS.items():
            for search, finds_event in SEARCHES.items():
                results = get_page(client, url, **{parameter: f"{search} kind:{event.kind}"})
                found |= {f"{search} {url}"} if (str(event.pk) in results) == finds_event else set()
        return found

    def test_delivered_event_shows_it_to_repository_admins(self, log_in: LogIn, web: Repository) -> None:
        deliver(notification(request={"addr": "10.9.9.9:5000"}))
        event = Event.objects.get(kind="create_manifest")

        assert self.places(log_in(factories.UserFactory()), event) == set()
        for user in (factories.user_with("level_admin", web), factories.auditor()):
            assert self.places(log_in(user), event) == EVERYWHERE

    def test_action_in_the_admin_shows_it_to_msr_admins(self, log_in: LogIn, web: Repository) -> None:
        jane, admin = factories.UserFactory(), log_in(factories.msr_admin())
        url = f"/admin/registry_repositories/repository/{web.pk}/permissions/user-manage/{jane.pk}/"
        admin.post(url, {"permissions": ["level_admin"]}, REMOTE_ADDR="10.9.9.9")
        event = Event.objects.get(kind="create_grant")

        assert self.places(log_in(factories.user_with("level_admin", web)), event) == set()
        assert self.places(admin, event) == EVERYWHERE

    def test_change_of_an_account_does_not_show_it_to_the_person(self, log_in: LogIn) -> None:
        jane, admin = factories.UserFactory(), log_in(factories.msr_admin())
        url = f"/admin/registry_repositories/repository/access-of-user/{jane.pk}/"
        admin.post(url, {"unlock": ""}, REMOTE_ADDR="10.9.9.9")
        event = Event.objects.get(kind="update_user")

        assert self.places(log_in(jane), event) == set()
        assert self.places(log_in(factories.auditor()), event) == EVERYWHERE

    def test_delivered_account_event_does_not_show_it_to_repository_admins(
        self, log_in: LogIn, web: Repository
    ) -> None:
        details = {"client_address": "10.9.9.9"}
        delivery = Delivery(factories.producer().pk)
        event = factories.record("create_session", web, details=details, delivery=delivery)

        assert self.places(log_in(factories.user_with("level_admin", web)), event) == set()
        assert self.places(log_in(factories.auditor()), event) == EVERYWHERE
