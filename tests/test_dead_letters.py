"""Messages stored aside: MSR admins replay and dismiss them, auditors look on, and all of it is recorded."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity.admin import dead_letters
from activity.models import DeadLetter, Event
from activity.sources import replay
from activity.sources.dead_letters import store_aside
from tests import factories
from tests.factories import notification

pytestmark = pytest.mark.django_db

LETTERS = "/admin/registry_activity/deadletter/"


@pytest.fixture
def mended(registry: Any, monkeypatch: pytest.MonkeyPatch) -> DeadLetter:
    """A message that can be recorded by now."""
    return stored(registry, monkeypatch)


def stored(registry: Any, monkeypatch: pytest.MonkeyPatch, **values: Any) -> DeadLetter:
    with monkeypatch.context() as patch:
        patch.setattr("activity.sources.notifications.record_events", lambda *_: 1 / 0)
        registry(notification(**values))
    return DeadLetter.objects.latest("pk")


@pytest.fixture
def garbage(registry: Any) -> DeadLetter:
    """A message that makes no sense."""
    registry(body=b'{"events": [<script>\xff')
    return DeadLetter.objects.latest("pk")


def listed(client: Client, **query: str) -> list[int]:
    return [letter.pk for letter in client.get(LETTERS, query).context["cl"].result_list]


def page(client: Client, letter: DeadLetter) -> str:
    return client.get(f"{LETTERS}{letter.pk}/change/").content.decode()


def act(client: Client, letter: DeadLetter, what: str, **data: str) -> str:
    return client.post(f"{LETTERS}{letter.pk}/{what}/", data, follow=True).content.decode()


class TestReplay:
    def test_of_one_on_its_page(self, admin: Client, mended: DeadLetter) -> None:
        assert f'formaction="{LETTERS}{mended.pk}/replay/"' in page(admin, mended)

        html = act(admin, mended, "replay")

        assert "Recorded: 1." in html
        assert [event.label for event in Event.objects.all()] == [
            "Update Tag",
            "Create Manifest",
            "Create Repository",
        ]
        assert "Replay" not in page(admin, mended).partition("<form")[2].partition("Replayed at")[0]

    def test_of_an_event_whose_sender_is_gone_says_so(self, admin: Client) -> None:
        store_aside([(b'{"kind": "scan"}', "The database failed.")], DeadLetter.Source.PRODUCER, None)
        letter = DeadLetter.objects.get()

        act(admin, letter, "replay")

        assert "The account that sent it is gone." in page(admin, letter)
        assert not Event.objects.filter(kind="scan").exists()

    def test_of_all_that_are_listed(
        self, admin: Client, garbage: DeadLetter, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(5):
            stored(registry, monkeypatch, target={"repository": f"acme/r{number}"})
        monkeypatch.setattr(replay, "CHUNK", 2)
        data = {"action": "replay", "select_across": "1", "_selected_action": [garbage.pk]}

        html = admin.post(LETTERS, data, follow=True).content.decode()

        assert "Recorded: 5." in html
        assert "Still stored aside, for the reasons in the list: 1." in html
        assert listed(admin) == [garbage.pk]

    def test_that_fails_is_told_of_and_the_rest_goes_on(
        self, admin: Client, mended: DeadLetter, garbage: DeadLetter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay, "record_events", lambda drafts, *_: drafts and 1 / 0)
        data = {"action": "replay", "_selected_action": [mended.pk, garbage.pk]}

        html = admin.post(LETTERS, data, follow=True).content.decode()

        assert "Failed, for reasons that the server&#x27;s log tells: 1." in html
        assert "Still stored aside, for the reasons in the list: 1." in html
        assert sorted(listed(admin)) == sorted([mended.pk, garbage.pk])

    def test_stops_when_time_is_up(self, mended: DeadLetter) -> None:
        assert replay.replay_all(DeadLetter.objects.all(), budget=-1).is_partial

        mended.refresh_from_db()
        assert not mended.replayed_at

    @pytest.mark.audited
    def test_is_one_event_however_many(self, admin: Client, mended: DeadLetter, garbage: DeadLetter) -> None:
        admin.post(LETTERS, {"action": "replay", "_selected_action": [mended.pk, garbage.pk]})

        event = Event.objects.get(kind="replay_messages")
        assert (event.category, event.actor_label) == ("system", "admin")
        assert {key: event.details[key] for key in ("recorded", "left", "failed")} == {
            "recorded": 1,
            "left": 1,
            "failed": 0,
        }


class TestDismissal:
    def test_says_who_when_and_why(self, admin: Client, garbage: DeadLetter) -> None:
        act(admin, garbage, "dismiss", note=" A test\0 <b>of mine</b>. ")

        garbage.refresh_from_db()
        assert (str(garbage.dismissed_by), garbage.note) == ("admin", "A test <b>of mine</b>.")
        assert garbage.dismissed_at
        assert "A test &lt;b&gt;of mine&lt;/b&gt;." in page(admin, garbage)

    def test_needs_a_note(self, admin: Client, garbage: DeadLetter) -> None:
        assert "Say in a note why" in act(admin, garbage, "dismiss", note=" ")
        data = {"action": "dismiss", "_selected_action": [garbage.pk], "note": ""}
        assert "Say in a note why" in admin.post(LETTERS, data, follow=True).content.decode()

        assert listed(admin) == [garbage.pk]

    @pytest.mark.audited
    def test_of_many_is_one_event(self, admin: Client, mended: DeadLetter, garbage: DeadLetter) -> None:
        data = {"action": "dismiss", "_selected_action": [mended.pk, garbage.pk], "note": "An old registry."}

        assert "Dismissed: 2." in admin.post(LETTERS, data, follow=True).content.decode()

        event = Event.objects.get(kind="dismiss_messages")
        assert (event.actor_label, event.details["count"], event.details["note"]) == (
            "admin",
            2,
            "An old registry.",
        )

    def test_leaves_the_note_of_the_first(self, admin: Client, garbage: DeadLetter) -> None:
        act(admin, garbage, "dismiss", note="The first.")
        act(admin, garbage, "dismiss", note="The second.")

        garbage.refresh_from_db()
        assert garbage.note == "The first."


class TestList:
    def test_shows_at_first_what_waits(
        self, admin: Client, registry: Any, garbage: DeadLetter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replayed, dismissed = (stored(registry, monkeypatch, id=name) for name in ("one", "two"))
        act(admin, replayed, "replay")
        act(admin, dismissed, "dismiss", note="x")

        assert listed(admin) == [garbage.pk]
        assert listed(admin, state="nonsense") == [garbage.pk]
        assert listed(admin, state="replayed") == [replayed.pk]
        assert listed(admin, state="dismissed") == [dismissed.pk]
        assert len(listed(admin, state="all")) == 3

    def test_reads_no_contents(self, auditor: Client, garbage: DeadLetter) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert listed(auditor) == [garbage.pk]

        assert not [query["sql"] for query in queries if '"content"' in query["sql"]]

    def test_number_of_queries_does_not_grow(self, auditor: Client, registry: Any) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                listed(auditor)
            return len(captured)

        registry(body=b"0")
        before = queries()
        for number in range(20):
            registry(body=b"x%d" % number)

        assert queries() == before


class TestContent:
    def test_is_shown_as_text(self, auditor: Client, db: None) -> None:
        content = "<script>\u202egnp.exe\n\tü \x1b[31m".encode() + b"\xff"
        store_aside([(content, "A reason.")], DeadLetter.Source.REGISTRY, None)

        html = page(auditor, DeadLetter.objects.get())

        assert "&lt;script&gt;\\u202egnp.exe\n\tü \\x1b[31m\\xff" in html

    def test_that_is_long_is_shown_in_part_and_downloaded_whole(
        self, auditor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dead_letters, "SHOWN", 10)
        content = b"0123456789<rest>\xff"
        store_aside([(content, "A reason.")], DeadLetter.Source.REGISTRY, None)
        letter = DeadLetter.objects.get()

        html = page(auditor, letter)
        assert "<pre>0123456789</pre>" in html
        assert "The first 10 of 20 characters." in html

        response = auditor.get(f"{LETTERS}{letter.pk}/download/")
        assert response.content == content
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment")
        assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("what", ["replay", "dismiss"])
def test_auditors_and_others_act_on_nothing(
    auditor: Client, log_in: Any, mended: DeadLetter, what: str
) -> None:
    outsider = log_in(factories.UserFactory(is_staff=True))
    for client in (auditor, outsider):
        assert client.post(f"{LETTERS}{mended.pk}/{what}/", {"note": "x"}).status_code == 403
        client.post(LETTERS, {"action": what, "_selected_action": [mended.pk], "note": "x"})

    assert outsider.get(f"{LETTERS}{mended.pk}/download/").status_code == 403
    assert "formaction" not in page(auditor, mended)
    mended.refresh_from_db()
    assert (mended.replayed_at, mended.dismissed_at) == (None, None)


@pytest.mark.parametrize("what", ["replay", "dismiss", "download"])
def test_link_acts_on_nothing(admin: Client, mended: DeadLetter, what: str) -> None:
    assert admin.get(f"{LETTERS}{mended.pk}/{what}/").status_code in (200, 302)
    assert admin.post(f"{LETTERS}999/{what}/", {"note": "x"}).status_code in (302, 404)

    mended.refresh_from_db()
    assert (mended.replayed_at, mended.dismissed_at) == (None, None)
