"""Exports hold all events, run in no spreadsheet, and are recorded themselves."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections, connection
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from activity.feed import export
from activity.models import Event
from repositories.accounts import current_request
from tests import factories
from tests.factories import DIGEST, NOON

pytestmark = pytest.mark.django_db


@pytest.fixture
def person(db: None) -> Any:
    with current_request.auditing_disabled():
        return factories.auditor(username="iris")


def exported(format: export.Format, person: Any, filters: str = "") -> StreamingHttpResponse:
    events = Event.objects.exclude(kind="export_events")
    return export.response(events, format, f"events.{format}", actor=person, filters=filters)


def text(response: StreamingHttpResponse) -> str:
    return response.getvalue().decode()


def rows(response: StreamingHttpResponse) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(response), newline="")))


def records() -> list[tuple[str, dict[str, Any]]]:
    """Return who exported, and what is known of it, in the order of recording."""
    found = Event.objects.filter(kind="export_events").order_by("pk")
    return [(event.actor_name, event.details) for event in found]


class TestFile:
    def test_has_all_that_identifies_an_event(self, person: Any) -> None:
        event = factories.record(
            "delete_manifest", "acme/web", digest=DIGEST, occurred_at=NOON, details={"user_agent": "ü"}
        )
        expected = {
            "id": str(event.pk),
            "occurred_at": "2026-11-22T12:00:00+00:00",
            "label": "Delete Manifest",
            "kind": "delete_manifest",
            "type": "DELETE",
            "category": "delete",
            "repository": "acme/web",
            "tag": "",
            "digest": DIGEST,
            "actor_type": "user",
            "actor": "jane",
            "details": {"user_agent": "ü"},
        }

        (line,) = [json.loads(line) for line in text(exported("jsonl", person)).splitlines()][:1]
        (row,) = rows(exported("csv", person))[:1]

        assert line == expected
        assert {**row, "details": json.loads(row["details"])} == expected
        assert list(row) == list(expected)

    @pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
    def test_has_every_event_once_newest_first_whatever_the_chunks(
        self, person: Any, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        monkeypatch.setattr(export, "CHUNK", 3)
        Event.objects.bulk_create(factories.event_row() for _ in range(count))
        ids = [str(pk) for pk in Event.objects.order_by("-pk").values_list("pk", flat=True)]

        assert [row["id"] for row in rows(exported("csv", person))] == ids
        lines = text(exported("jsonl", person)).splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids

    def test_is_streamed_a_chunk_at_a_time(self, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export, "CHUNK", 2)
        Event.objects.bulk_create(factories.event_row() for _ in range(20))

        with CaptureQueriesContext(connection) as queries:
            next(iter(exported("jsonl", person)))

        reads = [query["sql"] for query in queries if "details" in query["sql"].partition("FROM")[0]]
        assert len([sql for sql in reads if sql.startswith("SELECT")]) == 1

    def test_is_a_download_that_nobody_keeps(self, person: Any) -> None:
        response = exported("csv", person)

        assert response["Content-Disposition"] == 'attachment; filename="events.csv"'
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        assert response["Cache-Control"] == "no-store"


class TestFormulas:
    @pytest.mark.parametrize(
        ("value", "cell"),
        [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t"),
            ("\rx", "'\r"),
            ("  =1", "'  =1"),
            ("\u200b=1", "'\u200b=1"),
            ("＝1", "'＝1"),
            ("﹢1", "'﹢1"),
            ("x;=1", "x;'=1"),
            ("x\n=1", "x\n'=1"),
            ('",=1', '",=1'),
            ("jane", "jane"),
            ("jane=x", "jane=x"),
            ("", ""),
        ],
    )
    def test_are_text_in_a_spreadsheet(self, person: Any, value: str, cell: str) -> None:
        Event.objects.bulk_create([factories.event_row(tag=value)])

        (row,) = rows(exported("csv", person))

        assert row["tag"].startswith(cell)

    @given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
    def test_never_begin_a_value(self, value: str) -> None:
        cell = export._cell(value)

        assert cell[:1] not in {*"=+-@\t\r\n"}
        for separator in ";\t\r\n":
            assert not any(part.startswith(tuple("=+-@")) for part in cell.split(separator))
        if not any(sign in value for sign in "=+-@＝＋－＠﹦﹢﹣﹫−\t\r\n"):
            assert cell == value

    def test_are_exact_as_json(self, person: Any) -> None:
        hostile = "=1+1\u2028</script>"
        Event.objects.bulk_create([factories.event_row(tag=hostile, details={"user_agent": hostile})])

        (line,) = text(exported("jsonl", person)).splitlines()

        assert (json.loads(line)["tag"], json.loads(line)["details"]["user_agent"]) == (hostile, hostile)


@pytest.mark.audited
class TestRecord:
    @pytest.fixture(autouse=True)
    def events(self, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export, "CHUNK", 2)
        Event.objects.bulk_create(factories.event_row() for _ in range(5))

    def test_says_who_what_and_how_many(self, person: Any) -> None:
        text(exported("csv", person, "type:delete"))

        (who, begun), (_, ended) = records()
        told = {"request_id": begun["request_id"], "format": "csv", "filters": "type:delete"}
        assert who == "iris"
        assert begun == {**told, "state": "started"}
        assert ended == {**told, "state": "complete", "exported": 5}

    def test_is_made_before_anything_is_sent(self, person: Any) -> None:
        exported("csv", person)

        assert [details["state"] for _, details in records()] == ["started"]

    def test_tells_what_a_client_had_that_went_away(self, person: Any) -> None:
        response = exported("jsonl", person)
        next(iter(response))
        request_finished.disconnect(close_old_connections)  # as Django's test client does
        response.close()  # as the web server does
        request_finished.connect(close_old_connections)

        (_, _), (_, ended) = records()
        assert (ended["state"], ended["exported"]) == ("aborted", 2)

    def test_is_not_in_the_export_itself(self, person: Any) -> None:
        response = export.response(Event.objects.all(), "jsonl", "events.jsonl", actor=person)

        assert len(text(response).splitlines()) == 5

    def test_is_for_those_alone_who_oversee_the_registry(self, person: Any, web: Any, log_in: Any) -> None:
        text(exported("csv", person))
        owner = factories.user_with("level_admin", web)

        assert [
            sum(event["label"] == "Export Events" for event in found["results"])
            for found in (log_in(user).get("/api/v0/events/").json() for user in (person, owner))
        ] == [2, 0]

    def test_takes_any_filter(self, person: Any) -> None:
        text(exported("csv", person, "\0" + "x" * 5000))

        assert records()[0][1]["filters"] == "�" + "x" * 1023
