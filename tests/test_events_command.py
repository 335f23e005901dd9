"""`manage.py events` prints events: it follows, searches and exports them."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from activity.feed import tail
from activity.management.commands import events
from activity.models import Event
from repositories.models import Repository
from tests import factories
from tests.deletion import manage
from tests.factories import NOON
from tests.tail_events import delete, record

pytestmark = pytest.mark.django_db


def printed(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manage("events", *arguments).splitlines()]


def tags(*arguments: str) -> list[str]:
    return [event["tag"] for event in printed(*arguments)]


@pytest.fixture
def person(web: Repository) -> str:
    """The name of a user who sees one of three events."""
    record("a", occurred_at=NOON)
    record("b", occurred_at=NOON + timedelta(hours=1), repository=web)
    record("c", occurred_at=NOON + timedelta(hours=2), kind="delete_tag")
    return factories.user_with("level_read", web).get_username()


class TestTail:
    def test_events_are_printed_in_the_order_of_commits(
        self, person: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "PAGE", 2)

        assert tags("tail") == ["a", "b", "c"]
        assert [event["position"] for event in printed("tail", "--after", "1")] == [2, 3]
        assert tags("tail", "--user", person) == ["b"]

    def test_follow_waits_for_new_events_until_interrupted(
        self, person: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) > 1:
                raise KeyboardInterrupt
            record("d")

        monkeypatch.setattr(tail.time, "sleep", sleep)

        assert tags("tail", "--follow", "--after", "2") == ["c", "d"]

    @pytest.mark.parametrize("position", ["-1", "x", "٣"])
    def test_invalid_position_is_rejected(self, position: str) -> None:
        with pytest.raises(CommandError):
            manage("events", "tail", f"--after={position}")


class TestSearch:
    def test_events_that_match_are_printed_newest_first(self, person: str) -> None:
        assert tags("search", "") == ["c", "b", "a"]
        assert tags("search", "type:delete") == ["c"]
        assert tags("search", "", "--limit", "2") == ["c", "b"]
        assert tags("search", "", "--user", person) == ["b"]

    def test_search_that_cannot_be_read_is_rejected(self) -> None:
        with pytest.raises(CommandError, match="soon"):
            manage("events", "search", "after:soon")


class TestExport:
    def test_export_can_be_resumed(self, person: str) -> None:
        whole = manage("events", "export")
        first, *rest = whole.splitlines(keepends=True)

        assert tags("export") == ["a", "b", "c"]
        assert tags("export", "--user", person) == ["b"]
        assert manage("events", "export", "--cursor", json.loads(first)["cursor"]) == "".join(rest)
        assert manage("events", "export", "--format", "csv").count("\n") == 4

    def test_export_from_which_events_were_deleted_is_an_error(self, person: str) -> None:
        cursor = printed("export")[0]["cursor"]
        delete(tag="c")

        with pytest.raises(CommandError, match="deleted"):
            manage("events", "export", "--cursor", cursor)

    @pytest.mark.audited
    def test_export_is_recorded_as_an_action_on_the_command_line(self, person: str) -> None:
        before = Event.objects.count()

        manage("events", "export")

        started, ended = Event.objects.filter(kind="export_events").order_by("position")
        assert started.actor_name.startswith("the command line")
        assert ended.details["exported"] == before


@pytest.mark.parametrize("is_active", [True, False])
def test_user_must_exist_and_be_active(is_active: bool) -> None:
    name = "nobody" if is_active else factories.UserFactory(is_active=False).get_username()

    with pytest.raises(CommandError, match=name):
        call_command("events", "tail", "--user", name, stdout=StringIO())
