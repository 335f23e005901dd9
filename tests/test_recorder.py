"""The recorder records what the journal contains: all of it, once, and in batches as if one by one."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity.health import programs
from activity.models import DeadLetter, Event, JournalEntry, RegistryNode
from activity.sources import auditing, intake, nodes, notifications, recorder, replay
from activity.storage import heartbeats, journal
from activity.storage.rows import MIN_COPIED
from repositories.models import Repository
from tests import factories
from tests.factories import notification

pytestmark = pytest.mark.django_db
OTHER_DIGEST = "sha256:" + "0123abcd" * 8


@pytest.fixture(autouse=True)
def separate_recorder(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave recording to the tests, which call the recorder."""
    settings.REGISTRY_ACTIVITY = {"RECORD_IN_REQUEST": False}
    monkeypatch.setattr(intake, "_journaled", nodes.RecentlyDone())


def pull(method: str = "GET", tag: str | None = None, **values: Any) -> dict[str, Any]:
    target = {"tag": tag} | values.pop("target", {})
    return notification(action="pull", target=target, request={"method": method}, **values)


def deletion_of_repository(**values: Any) -> dict[str, Any]:
    target = {"tag": None, "digest": None, "mediaType": None}
    return notification(action="delete", target=target, **values)


def layer(**values: Any) -> dict[str, Any]:
    return notification(target={"mediaType": factories.LAYER, "tag": None}, **values)


def recorded() -> list[tuple[str, str]]:
    """Record the journal, and return the label and reference of each event, oldest first."""
    recorder.record_batch()
    assert not JournalEntry.objects.exists()
    return [(event.label, event.reference) for event in Event.objects.order_by("pk")]


def append_action(**values: Any) -> None:
    """Append an action in this application to the journal, without checking what it contains."""
    draft = json.loads(factories.draft("create_team", "").as_json())
    journal.append(JournalEntry.Source.APPLICATION, json.dumps(draft | values).encode())


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no notifications")
def test_not_every_commit_notifies_the_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL commits transactions that notify one after the other."""
    monkeypatch.setattr(journal, "NOTICE_INTERVAL", 3600)
    monkeypatch.setattr(journal, "_next_notice", 0.0)

    with CaptureQueriesContext(connection) as queries:
        for _ in range(3):
            append_action()

    inserts = [
        query["sql"] for query in queries if "INSERT INTO registry_activity_journalentry" in query["sql"]
    ]
    assert ["pg_notify" in sql for sql in inserts] == [True, False, False]


class TestMessages:
    def test_message_is_acknowledged_before_it_is_recorded(self, registry: Any) -> None:
        response = registry(notification())

        assert (response.status_code, response.json()) == (202, {"events": None, "dead_letters": None})
        assert not Event.objects.exists()
        assert [label for label, _ in recorded()] == ["Create Repository", "Create Manifest", "Update Tag"]

    def test_layer_is_answered_without_a_query(self, registry: Any) -> None:
        registry(layer())

        with CaptureQueriesContext(connection) as captured:
            response = registry(layer())

        assert (response.status_code, response.json()) == (200, {"events": 0, "dead_letters": 0})
        assert not captured.captured_queries

    def test_node_is_known_from_its_layers(self, registry: Any) -> None:
        source = {"addr": "node1:5000", "instanceID": "i1"}

        assert [registry(layer(source=source)).status_code for _ in range(2)] == [202, 200]
        recorder.record_batch()

        assert RegistryNode.objects.get().instance_id == "i1"

    def test_event_and_clock_are_judged_by_the_time_of_receipt(self, registry: Any) -> None:
        received_at = factories.NOON + timedelta(days=1)
        source = {"addr": "node1:5000", "instanceID": "i1"}
        registry(notification(timestamp=received_at.isoformat(), source=source))
        JournalEntry.objects.update(received_at=received_at)

        recorder.record_batch()

        assert {event.received_at for event in Event.objects.all()} == {received_at}
        assert RegistryNode.objects.get().clock_offset is None

    def test_message_of_an_account_that_was_deleted_is_recorded(self, registry: Any) -> None:
        source = {"addr": "node1:5000", "instanceID": "i1"}
        registry(notification(source=source))
        registry(notification(action="polish"))
        account = get_user_model().objects.get(username="registry")
        pk = account.pk
        account.delete()

        recorder.record_batch()

        assert {event.delivered_by_id for event in Event.objects.exclude(kind="delete_user")} == {pk}
        assert DeadLetter.objects.get().account is None

    def test_many_waiting_messages_slow_down_the_answers(
        self, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(intake, "THROTTLE_FROM", 2)
        delays = []
        for _ in range(5):
            registry(notification())
            delays.append(intake.Backpressure().delay())

        assert delays == [0, 0, 0.025, 0.05, 0.05]


class TestBatches:
    """Messages that are recorded together have the same result as if each was recorded on its own."""

    def test_head_request_and_get_are_one_pull_of_the_tag(self, registry: Any) -> None:
        registry(pull("HEAD", tag="v1"))
        registry(pull("GET"))

        assert recorded() == [("Get Tag", "acme/web:v1")]

    def test_late_head_request_does_not_change_the_pull(self, registry: Any) -> None:
        head, get = pull("HEAD", tag="v1"), pull("GET")
        for message in (get, head, get):
            registry(message)

        assert recorded() == [("Get Manifest", "acme/web")]

    def test_redelivered_message_is_recorded_once(self, registry: Any) -> None:
        message = notification()
        for _ in range(3):
            registry(message)

        assert len(recorded()) == 3

    def test_batch_with_many_new_texts_is_recorded(self, registry: Any) -> None:
        agents = {f"client-{number}/1.0" for number in range(MIN_COPIED)}
        registry(*(notification(request={"useragent": agent}) for agent in agents))

        recorder.record_batch()

        assert {event.details["user_agent"] for event in Event.objects.exclude(tag="")} == agents

    def test_repository_can_be_deleted_and_pushed_again(self, registry: Any) -> None:
        registry(notification(timestamp="2026-11-22T10:00:00Z"))
        registry(deletion_of_repository(timestamp="2026-11-22T11:00:00Z"))
        registry(notification(timestamp="2026-11-22T12:00:00Z"))

        assert [label for label, _ in recorded()].count("Create Repository") == 2
        former, present = Repository.objects.order_by("pk")
        assert (bool(former.deleted_at), present.deleted_at) == (True, None)
        pushed = Event.objects.filter(kind="update_tag").order_by("pk")
        assert [event.repository for event in pushed] == [former, present]

    def test_repository_is_registered_by_the_message_that_arrived_first(self, registry: Any) -> None:
        registry(notification(timestamp="2026-11-22T11:00:00Z", actor={"name": "li"}))
        registry(notification(timestamp="2026-11-22T10:00:00Z", actor={"name": "jane"}))

        recorder.record_batch()

        assert Event.objects.get(kind="create_repository").actor_name == "li"


class TestFailures:
    @pytest.mark.parametrize(
        "broken", [{"kind": "no_such_kind"}, {"occurred_at": "yesterday"}, {"actor_name": None}]
    )
    def test_broken_entry_becomes_a_dead_letter_and_holds_nobody_up(
        self, registry: Any, broken: dict[str, Any]
    ) -> None:
        registry(notification())
        append_action(**broken)
        registry(notification())

        assert len(recorded()) == 5
        letter = DeadLetter.objects.get()
        assert letter.source == "application"
        assert "failed" in letter.reason

    def test_message_that_the_database_refuses_becomes_a_dead_letter_alone(
        self, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail_for(monkeypatch, "acme/bad", OperationalError("Too complex."))
        for name in ("acme/web", "acme/bad", "acme/api"):
            registry(notification(target={"repository": name}))

        assert {reference.partition(":")[0] for _, reference in recorded()} == {"acme/web", "acme/api"}
        assert "Too complex." in DeadLetter.objects.get().reason

    def test_messages_wait_while_the_database_refuses_everything(
        self, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            fail_for(patch, "acme/web", OperationalError("The disk is full."))
            registry(notification())
            with pytest.raises(OperationalError):
                recorder.record_batch()

        assert len(recorded()) == 3
        assert not DeadLetter.objects.exists()

    def test_dead_letter_of_an_action_can_be_replayed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(notifications, "record_events", lambda *_: 1 / 0)
            auditing.record_draft(factories.draft("create_team", ""))
            recorder.record_batch()

        assert replay.replay(DeadLetter.objects.get())
        assert Event.objects.get().kind == "create_team"


def fail_for(monkeypatch: pytest.MonkeyPatch, repository: str, error: Exception) -> None:
    """Let recording fail if a draft is about a repository."""
    record_events = notifications.record_events

    def fail(drafts: Any, *others: Any) -> Any:
        if any(draft.repository_name == repository for draft in drafts):
            raise error
        return record_events(drafts, *others)

    monkeypatch.setattr(notifications, "record_events", fail)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections to lose")
@pytest.mark.django_db(transaction=True)
def test_message_is_accepted_although_the_connection_to_the_database_was_lost(registry: Any) -> None:
    registry(notification(id="before"))
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])

    response = registry(notification(id="after"))

    assert response.status_code == 202
    assert JournalEntry.objects.count() == 2


@pytest.mark.audited
class TestActions:
    def test_action_is_recorded_with_its_repository_and_actor(self, admin: Client, web: Repository) -> None:
        recorder.record_batch()
        admin.post("/admin/registry_activity/hold/add/", {"repository": web.pk, "reason": "An inquiry."})
        assert not Event.objects.filter(kind="create_hold").exists()

        recorder.record_batch()

        event = Event.objects.get(kind="create_hold")
        assert (event.repository, event.actor_name, event.delivered_by) == (web, "admin", None)

    def test_action_that_is_rolled_back_is_not_recorded(self) -> None:
        with transaction.atomic():
            factories.UserFactory()
            transaction.set_rollback(True)

        assert recorded() == []

    def test_event_of_an_action_has_the_id_that_was_announced(self) -> None:
        id = auditing.record("create_session", username="jane")

        recorder.record_batch()

        assert Event.objects.get().pk == id


class TestHealth:
    def findings(self) -> list[str]:
        return [finding.text for finding in programs.check_recorder(timezone.now())]

    def test_recorder_without_a_heartbeat_is_reported(self) -> None:
        assert self.findings() == ["The recorder is not running: no heartbeat yet."]

        heartbeats.beat(heartbeats.RECORDER)

        assert self.findings() == []

    def test_messages_that_wait_for_long_are_reported(self, registry: Any) -> None:
        heartbeats.beat(heartbeats.RECORDER)
        for _ in range(2):
            registry(notification())
        assert self.findings() == []

        JournalEntry.objects.update(received_at=timezone.now() - timedelta(minutes=5, seconds=1))

        assert self.findings() == ["Recording is behind: 2 messages wait, the oldest for 5 minutes."]

    def test_site_that_records_in_requests_needs_no_recorder(self, settings: Any) -> None:
        settings.REGISTRY_ACTIVITY = {"RECORD_IN_REQUEST": True}

        assert self.findings() == []
