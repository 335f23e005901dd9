"""In the admin, MSR admins can replay and dismiss dead letters, but auditors can only view them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity.admin import dead_letters
from activity.models import DeadLetter, Event
from activity.recording.drafts import Delivery
from activity.sources import notifications, replay
from activity.sources.dead_letters import store_dead_letters
from tests import factories
from tests.factories import notification

pytestmark = pytest.mark.django_db

LETTERS = "/admin/registry_activity/deadletter/"


@pytest.fixture
def recordable(registry: Any, monkeypatch: pytest.MonkeyPatch) -> DeadLetter:
    """A dead letter whose message can now be recorded."""
    return create_recordable(registry, monkeypatch)


def create_recordable(registry: Any, monkeypatch: pytest.MonkeyPatch, **values: Any) -> DeadLetter:
    """Deliver a valid notification while recording fails, and return the dead letter."""
    with monkeypatch.context() as patch:
        patch.setattr("activity.sources.notifications.record_events", lambda *_: 1 / 0)
        registry(notification(**values))
    return DeadLetter.objects.latest("pk")


@pytest.fixture
def invalid(registry: Any) -> DeadLetter:
    """A dead letter that isn't a valid message."""
    registry(body=b'{"events": [<script>\xff')
    return DeadLetter.objects.latest("pk")


def listed_ids(client: Client, **query: str) -> list[int]:
    return [letter.pk for letter in client.get(LETTERS, query).context["cl"].result_list]


def page(client: Client, letter: DeadLetter) -> str:
    return client.get(f"{LETTERS}{letter.pk}/change/").content.decode()


def submit(client: Client, letter: DeadLetter, action: str, **data: str) -> str:
    """Replay or dismiss a dead letter on its page, and return the HTML of the resulting page."""
    return client.post(f"{LETTERS}{letter.pk}/{action}/", data, follow=True).content.decode()


class TestReplay:
    def test_dead_letter_is_replayed_on_its_page(self, admin: Client, recordable: DeadLetter) -> None:
        assert f'formaction="{LETTERS}{recordable.pk}/replay/"' in page(admin, recordable)

        html = submit(admin, recordable, "replay")

        assert "Recorded: 1." in html
        assert [event.label for event in Event.objects.all()] == [
            "Update Tag",
            "Create Manifest",
            "Create Repository",
        ]
        assert "Replay" not in page(admin, recordable).partition("<form")[2].partition("Replayed at")[0]

    def test_replay_fails_if_the_sending_account_was_deleted(self, admin: Client) -> None:
        store_dead_letters(
            [(b'{"kind": "scan"}', "The database failed.")], DeadLetter.Source.PRODUCER, Delivery()
        )
        letter = DeadLetter.objects.get()

        submit(admin, letter, "replay")

        assert "The account that sent this event has been deleted." in page(admin, letter)
        assert not Event.objects.filter(kind="scan").exists()

    def test_replay_action_on_all_listed_dead_letters(
        self, admin: Client, invalid: DeadLetter, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(5):
            create_recordable(registry, monkeypatch, target={"repository": f"acme/r{number}"})
        monkeypatch.setattr(replay, "CHUNK", 2)
        data = {"action": "replay", "select_across": "1", "_selected_action": [invalid.pk]}

        html = admin.post(LETTERS, data, follow=True).content.decode()

        assert "Recorded: 5." in html
        assert "Rejected again, for the reasons shown in the list: 1." in html
        assert listed_ids(admin) == [invalid.pk]

    def test_failed_replay_is_reported_and_the_others_continue(
        self, admin: Client, recordable: DeadLetter, invalid: DeadLetter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notifications, "record_events", lambda drafts, *_: drafts and 1 / 0)
        data = {"action": "replay", "_selected_action": [recordable.pk, invalid.pk]}

        html = admin.post(LETTERS, data, follow=True).content.decode()

        assert "Failed because of errors (see the server log): 1." in html
        assert "Rejected again, for the reasons shown in the list: 1." in html
        assert sorted(listed_ids(admin)) == sorted([recordable.pk, invalid.pk])

    def test_replay_stops_when_its_time_is_up(self, recordable: DeadLetter) -> None:
        assert replay.replay_all(DeadLetter.objects.all(), budget=-1).is_partial

        recordable.refresh_from_db()
        assert not recordable.replayed_at

    @pytest.mark.audited
    def test_replay_of_several_dead_letters_records_one_event(
        self, admin: Client, recordable: DeadLetter, invalid: DeadLetter
    ) -> None:
        admin.post(LETTERS, {"action": "replay", "_selected_action": [recordable.pk, invalid.pk]})

        event = Event.objects.get(kind="replay_messages")
        assert (event.category, event.actor_label) == ("system", "admin")
        assert {key: event.details[key] for key in ("recorded", "rejected", "failed")} == {
            "recorded": 1,
            "rejected": 1,
            "failed": 0,
        }


class TestDismissal:
    def test_dismissal_stores_user_time_and_note(self, admin: Client, invalid: DeadLetter) -> None:
        submit(admin, invalid, "dismiss", note=" A test <b>of mine</b>. ")

        invalid.refresh_from_db()
        assert (str(invalid.dismissed_by), invalid.note) == ("admin", "A test <b>of mine</b>.")
        assert invalid.dismissed_at
        assert "A test &lt;b&gt;of mine&lt;/b&gt;." in page(admin, invalid)

    def test_dismissal_requires_a_note(self, admin: Client, invalid: DeadLetter) -> None:
        for note in (" ", "\0", "x" * 1001):
            assert "Enter a note that explains" in submit(admin, invalid, "dismiss", note=note)
        data = {"action": "dismiss", "_selected_action": [invalid.pk], "note": ""}
        assert "Enter a note that explains" in admin.post(LETTERS, data, follow=True).content.decode()

        assert listed_ids(admin) == [invalid.pk]

    @pytest.mark.audited
    def test_dismissal_of_several_dead_letters_records_one_event(
        self, admin: Client, recordable: DeadLetter, invalid: DeadLetter
    ) -> None:
        data = {
            "action": "dismiss",
            "_selected_action": [recordable.pk, invalid.pk],
            "note": "An old registry.",
        }

        assert "Dismissed: 2." in admin.post(LETTERS, data, follow=True).content.decode()

        event = Event.objects.get(kind="dismiss_messages")
        assert (event.actor_label, event.details["count"], event.details["note"]) == (
            "admin",
            2,
            "An old registry.",
        )

    def test_second_dismissal_does_not_change_the_note(self, admin: Client, invalid: DeadLetter) -> None:
        submit(admin, invalid, "dismiss", note="The first.")
        submit(admin, invalid, "dismiss", note="The second.")

        invalid.refresh_from_db()
        assert invalid.note == "The first."


class TestList:
    def test_list_shows_waiting_dead_letters_by_default(
        self, admin: Client, registry: Any, invalid: DeadLetter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replayed, dismissed = (create_recordable(registry, monkeypatch, id=name) for name in ("one", "two"))
        submit(admin, replayed, "replay")
        submit(admin, dismissed, "dismiss", note="x")

        assert listed_ids(admin) == [invalid.pk]
        assert listed_ids(admin, state="replayed") == [replayed.pk]
        assert listed_ids(admin, state="dismissed") == [dismissed.pk]
        assert len(listed_ids(admin, state="all")) == 3

    def test_list_does_not_read_the_contents(self, auditor: Client, invalid: DeadLetter) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert listed_ids(auditor) == [invalid.pk]

        assert not [query["sql"] for query in queries if '"content"' in query["sql"]]

    def test_query_count_of_dead_letter_list_does_not_grow(self, auditor: Client, registry: Any) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                listed_ids(auditor)
            return len(captured)

        registry(body=b"0")
        before = queries()
        for number in range(20):
            registry(body=b"x%d" % number)

        assert queries() == before


class TestContent:
    def test_content_of_dead_letter_is_escaped(self, auditor: Client, db: None) -> None:
        content = "<script>\u202egnp.exe\n\tü \x1b[31m".encode() + b"\xff"
        store_dead_letters([(content, "A reason.")], DeadLetter.Source.REGISTRY, Delivery())

        html = page(auditor, DeadLetter.objects.get())

        assert "&lt;script&gt;\\u202egnp.exe\n\tü \\x1b[31m\\xff" in html

    def test_long_content_is_shown_in_part_and_downloaded_in_full(
        self, auditor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dead_letters, "MAX_SHOWN", 10)
        content = b"0123456789<rest>\xff"
        store_dead_letters([(content, "A reason.")], DeadLetter.Source.REGISTRY, Delivery())
        letter = DeadLetter.objects.get()

        html = page(auditor, letter)
        assert "<pre>0123456789</pre>" in html
        assert "The first 10 of 20 characters are shown." in html

        response = auditor.get(f"{LETTERS}{letter.pk}/download/")
        assert response.content == content
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment")
        assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("action", ["replay", "dismiss"])
def test_auditors_and_other_staff_cannot_replay_or_dismiss(
    auditor: Client, log_in: Any, recordable: DeadLetter, action: str
) -> None:
    outsider = log_in(factories.UserFactory(is_staff=True))
    for client in (auditor, outsider):
        assert client.post(f"{LETTERS}{recordable.pk}/{action}/", {"note": "x"}).status_code == 403
        client.post(LETTERS, {"action": action, "_selected_action": [recordable.pk], "note": "x"})

    assert outsider.get(f"{LETTERS}{recordable.pk}/download/").status_code == 403
    assert "formaction" not in page(auditor, recordable)
    recordable.refresh_from_db()
    assert (recordable.replayed_at, recordable.dismissed_at) == (None, None)


@pytest.mark.parametrize("action", ["replay", "dismiss", "download"])
def test_get_request_does_not_replay_or_dismiss(admin: Client, recordable: DeadLetter, action: str) -> None:
    assert admin.get(f"{LETTERS}{recordable.pk}/{action}/").status_code in (200, 302)
    assert admin.post(f"{LETTERS}999/{action}/", {"note": "x"}).status_code in (302, 404)

    recordable.refresh_from_db()
    assert (recordable.replayed_at, recordable.dismissed_at) == (None, None)
