"""Events keep which account and access token delivered them, for MSR admins and auditors."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity.deletion import imports
from activity.feed import plans, reading, search, search_language
from activity.models import DeadLetter, Event
from activity.sources.replay import replay
from repositories.access.resolving import Access
from repositories.models import Repository
from tests import factories
from tests.deletion import add_events, execute_run, turn_on
from tests.factories import notification

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = pytest.mark.django_db
LogIn = Callable[[Any], Client]


@pytest.fixture
def registry() -> Any:
    factories.repository("acme/web", public=True)
    return factories.producer(username="acme-registry")


def deliver(token: str, *notifications: dict[str, Any]) -> None:
    """Deliver notifications of pushes to the API with an access token."""
    response = Client().post(
        "/api/v0/notifications/registry/",
        json.dumps({"events": notifications or [notification()]}),
        content_type="application/json",
        headers={"authorization": f"Bearer {token}"},
    )
    assert response.status_code == 200


def produce(token: str, **values: Any) -> None:
    """Send an event to the API with an access token."""
    sent = {"id": "1", "repository": "acme/web", "occurred_at": "2026-11-22T12:00:00Z", **values}
    response = Client().post(
        "/api/v0/events/",
        json.dumps(sent),
        content_type="application/json",
        headers={"authorization": f"Bearer {token}"},
    )
    assert response.status_code == 201


def newest(client: Client) -> dict[str, Any]:
    return client.get("/api/v0/events/").json()["results"][0]


def found_by(text: str, viewer: Any) -> list[str]:
    """Return the tags of the tag updates that a viewer finds with a search."""
    access = Access.for_user(viewer)
    query = search_language.parse(f"{text} kind:update_tag", UTC)
    plan = search.plan(plans.Plan(Event.objects.visible_to(access), access), query)
    assert not plan.problems
    return sorted(event.tag for event in reading.find(plan, 20).rows)


def test_events_keep_the_account_and_token_that_delivered_them(registry: Any) -> None:
    token = factories.new_token(registry)
    deliver(token)
    assert {(e.delivered_by_id, e.delivered_with) for e in Event.objects.all()} == {(registry.pk, token[:15])}

    produce(token, kind="delete_repository")
    event = Event.objects.get(kind="delete_repository")
    assert (event.delivered_by_id, event.delivered_with) == (registry.pk, token[:15])


def test_replayed_message_keeps_the_token_that_delivered_it(registry: Any) -> None:
    token = factories.new_token(registry)
    produce(token, kind="scan")  # a dead letter, because scanning is disabled
    factories.enable_scanning()

    assert replay(DeadLetter.objects.get())
    assert Event.objects.get(kind="scan").delivered_with == token[:15]


@pytest.mark.audited
def test_actions_in_this_application_are_delivered_by_nobody(registry: Any, log_in: LogIn) -> None:
    log_in(registry)
    event = Event.objects.get(kind="create_session")

    assert (event.delivered_by_id, event.delivered_with) == (None, "")


class TestShowing:
    def test_delivery_is_for_msr_admins_and_auditors(self, registry: Any, log_in: LogIn) -> None:
        token = factories.new_token(registry)
        deliver(token)
        web = Repository.objects.get()

        for viewer in (factories.msr_admin(), factories.auditor()):
            client = log_in(viewer)
            event = newest(client)
            assert (event["delivered_by"], event["delivered_with"]) == ("acme-registry", token[:8])
            row = next(csv.DictReader(io.StringIO(export(client))))
            assert (row["delivered_by"], row["delivered_with"]) == ("acme-registry", token[:8])
            page = client.get(f"/admin/registry_activity/event/{event['id']}/change/").content.decode()
            assert f"acme-registry, with the access token {token[:8]}…" in page
        for viewer in (factories.UserFactory(), factories.user_with("level_admin", web)):
            client = log_in(viewer)
            event = newest(client)
            assert (event["delivered_by"], event["delivered_with"]) == (None, None)
            for text in (export(client), client.get("/activity/").content.decode()):
                assert "acme-registry" not in text
                assert token[:8] not in text

    def test_owner_of_the_account_sees_the_name_of_the_token(self, registry: Any, log_in: LogIn) -> None:
        token = factories.new_token(registry, name="<CI>")
        deliver(token)
        web = Repository.objects.get()
        web.visibility = "public"
        web.save()
        namespace = web.namespace
        namespace.user, namespace.organization = registry, None
        namespace.save()

        for viewer in (registry, factories.auditor()):
            client = log_in(viewer)
            event = newest(client)
            assert (event["delivered_by"], event["delivered_with"]) == ("acme-registry", token[:8])
            page = client.get(f"/events/{event['id']}/").content.decode()
            assert f"acme-registry, with the access token &lt;CI&gt; ({token[:8]}…)" in page
        page = log_in(factories.UserFactory()).get(f"/events/{event['id']}/").content.decode()
        assert "Delivered by" not in page
        assert token[:8] not in page

    def test_name_of_a_deleted_account_is_replaced_by_its_id(self, registry: Any, log_in: LogIn) -> None:
        deliver(factories.new_token(registry))
        name = f"#{registry.pk}"
        registry.delete()
        auditor = factories.auditor()
        client = log_in(auditor)

        assert newest(client)["delivered_by"] == name
        assert name in export(client)
        assert found_by(f"via:{name}", auditor) == ["latest"]

    def test_lists_make_as_many_queries_for_many_accounts_as_for_one(
        self, registry: Any, log_in: LogIn
    ) -> None:
        def queries() -> list[int]:
            counts = []
            for read in (newest, export):
                with CaptureQueriesContext(connection) as captured:
                    read(client)
                counts.append(len(captured))
            return counts

        client = log_in(factories.auditor())
        deliver(factories.new_token(registry))
        queries()
        expected = queries()
        for _ in range(3):
            deliver(factories.new_token(factories.producer()))

        assert queries() == expected


def export(client: Client) -> str:
    return client.post("/activity/", {"export": "csv"}).getvalue().decode("utf-8-sig")


class TestSearch:
    def test_search_by_account_and_token(self, registry: Any) -> None:
        first, second = factories.new_token(registry), factories.new_token(registry)
        third = factories.new_token(factories.producer(username="other"))
        for tag, token in zip("abc", (first, second, third), strict=True):
            deliver(token, notification(target={"tag": tag}))
        factories.record("update_tag", "acme/web", tag="z")
        auditor = factories.auditor()

        assert found_by("via:acme-registry", auditor) == ["a", "b"]
        assert found_by("via:acme-registry via:other", auditor) == ["a", "b", "c"]
        assert found_by(f"via:{first[:8]}", auditor) == ["a"]
        assert found_by(f"via:{first[:8].upper()} via:{third[:8]}", auditor) == ["a", "c"]
        assert found_by("-via:acme-registry", auditor) == ["c", "z"]
        assert found_by(f"-via:{first[:8]}", auditor) == ["b", "c", "z"]

    def test_others_find_nothing_and_exclude_nothing(self, registry: Any) -> None:
        deliver(factories.new_token(registry))
        web = Repository.objects.get()

        for viewer in (factories.UserFactory(), factories.user_with("level_admin", web)):
            assert found_by("via:acme-registry", viewer) == []
            assert found_by("-via:acme-registry", viewer) == ["latest"]


@pytest.mark.usefixtures("archive_folder")
def test_archives_keep_the_delivery(registry: Any) -> None:
    turn_on(age=1, archive=True)
    add_events(1, delivered_by=registry, delivered_with="4f1c09ab6d3e2f1")
    run = execute_run()
    assert not Event.objects.filter(kind="create_manifest").exists()

    for archive in run.archives.all():
        imports.import_archive(archive.name)

    event = Event.objects.get(kind="create_manifest")
    assert (event.delivered_by_id, event.delivered_with) == (registry.pk, "4f1c09ab6d3e2f1")


@pytest.mark.usefixtures("archive_folder")
def test_foreign_archive_attributes_its_events_to_no_account_or_token(registry: Any) -> None:
    turn_on(age=1, archive=True)
    add_events(1, delivered_by=registry, delivered_with="4f1c09ab6d3e2f1")
    (archive,) = execute_run().archives.all()
    name = archive.name
    archive.delete()

    imports.import_archive(name, foreign=True)

    event = Event.objects.get(kind="create_manifest")
    assert (event.delivered_by_id, event.delivered_with) == (None, "")
