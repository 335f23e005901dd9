"""Exports contain all events and no spreadsheet formulas, and each export is recorded as an event."""

from __future__ import annotations

import csv
import gc
import io
import json
import re
from collections.abc import Iterator
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
from activity.storage.events import insert
from activity.views import activity
from repositories.accounts import current_request
from repositories.utils.text import visible_text
from tests import factories
from tests.factories import DIGEST, NOON
from tests.tail_events import delete

pytestmark = pytest.mark.django_db


@pytest.fixture
def person(db: None) -> Any:
    with current_request.auditing_disabled():
        return factories.auditor(username="iris")


def export_as(format: str, person: Any, filters: str = "", events: Any = None) -> StreamingHttpResponse:
    events = Event.objects.exclude(kind="export_events") if events is None else events
    response = export.response(events, format, "acme/web", actor=person, filters=filters)
    assert isinstance(response, StreamingHttpResponse)
    return response


def close(response: StreamingHttpResponse) -> None:
    """Close a response, as the web server does when the client disconnects."""
    request_finished.disconnect(close_old_connections)  # Django's test client does this, too
    response.close()
    request_finished.connect(close_old_connections)


def text(response: StreamingHttpResponse) -> str:
    return response.getvalue().decode("utf-8-sig")


def rows(response: StreamingHttpResponse) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(response), newline="")))


def recorded_exports() -> list[tuple[str, dict[str, Any]]]:
    """Return the actor and the details of each event that records an export, oldest first."""
    events = Event.objects.filter(kind="export_events").order_by("pk")
    return [(event.actor_name, event.details) for event in events]


class TestFile:
    def test_fields_of_exported_event(self, person: Any) -> None:
        event = factories.record(
            "delete_manifest", "acme/web", digest=DIGEST, occurred_at=NOON, details={"user_agent": "ü"}
        )
        expected = {
            "id": str(event.pk),
            "occurred_at": "2026-11-22T12:00:00.000000Z",
            "label": "Delete Manifest",
            "kind": "delete_manifest",
            "type": "DELETE",
            "category": "delete",
            "subject": "",
            "repository": "acme/web",
            "tag": "",
            "digest": DIGEST,
            "actor_type": "user",
            "actor": "jane",
            "disputed": False,
            "delivered_by": "",
            "delivered_with": "",
            "details": {"user_agent": "ü"},
        }

        (line,) = [json.loads(line) for line in text(export_as("jsonl", person)).splitlines()][:1]
        (row,) = rows(export_as("csv", person))[:1]

        assert line == expected
        assert row.pop("client_address") == ""
        assert {**row, **{key: json.loads(row[key]) for key in ("disputed", "details")}} == expected
        assert list(row) == list(expected)

    def test_spreadsheet_shows_text_tags_and_addresses(self, person: Any) -> None:
        factories.record("update_tag", "acme/web", tag="1.10", details={"client_address": "10.0.0.7"})
        file = export_as("csv", person).getvalue()
        assert file.startswith(b"\xef\xbb\xbf")

        (row,) = [row for row in rows(export_as("csv", person)) if row["tag"]]
        assert (row["tag"], row["client_address"]) == ("acme/web:1.10", "10.0.0.7")

    def test_address_of_a_client_is_only_for_those_who_may_know_it(self, web: Any) -> None:
        factories.record("update_tag", web, tag="v1", details={"client_address": "10.0.0.7"})
        reader = factories.user_with("level_read", web)

        assert "10.0.0.7" not in text(export_as("csv", reader))

    @pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
    def test_export_has_every_event_once_with_any_number_of_chunks(
        self, person: Any, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        monkeypatch.setattr(export, "CHUNK", 3)
        insert([factories.event_row() for _ in range(count)])
        ids = [str(pk) for pk in Event.objects.order_by("-pk").values_list("pk", flat=True)]

        assert [row["id"] for row in rows(export_as("csv", person))] == ids
        lines = text(export_as("jsonl", person)).splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids

    def test_export_is_streamed_in_chunks(self, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export, "CHUNK", 2)
        insert([factories.event_row() for _ in range(20)])

        with CaptureQueriesContext(connection) as queries:
            next(iter(export_as("jsonl", person)))

        statements = [query["sql"] for query in queries if "details" in query["sql"].partition("FROM")[0]]
        assert len([sql for sql in statements if sql.startswith("SELECT")]) == 1

    @pytest.mark.parametrize("format", ["csv", "jsonl"])
    def test_deletion_meanwhile_ends_the_export_with_an_error(
        self, person: Any, monkeypatch: pytest.MonkeyPatch, format: str
    ) -> None:
        monkeypatch.setattr(export, "CHUNK", 2)
        events = insert([factories.event_row() for _ in range(6)])
        pieces = iter(export_as(format, person))
        received = [next(pieces) for _ in range(2 if format == "csv" else 1)]
        delete(pk=min(event.pk for event in events))

        *_, last = b"".join([*received, *pieces]).decode().splitlines()

        assert "Events of this export were deleted after it had begun. Begin a new one." in last

    def test_earlier_deletion_does_not_matter(self, person: Any) -> None:
        events = insert([factories.event_row() for _ in range(3)])
        delete(pk=events[0].pk)

        assert len(rows(export_as("csv", person))) == 2

    def test_export_is_a_download(self, person: Any) -> None:
        response = export_as("csv", person)

        name = r'attachment; filename="events-acme-web-\d{4}-\d\d-\d\dT\d{4}Z\.csv"'
        assert re.fullmatch(name, response["Content-Disposition"])
        assert response["Content-Type"] == "text/csv; charset=utf-8"


class TestLimits:
    """Exports that are being streamed at the same time. Each occupies a thread of the web server."""

    @pytest.fixture(autouse=True)
    def drop_unread_exports(self) -> Iterator[None]:
        gc.collect()
        yield
        gc.collect()

    def start(self, log_in: Any, user: Any, address: str = "10.0.0.1") -> Any:
        return log_in(user).post("/activity/", {"export": "csv"}, REMOTE_ADDR=address)

    def test_account_can_export_twice_at_a_time(self, log_in: Any, person: Any) -> None:
        exports = [self.start(log_in, person, f"10.0.0.{number}") for number in range(3)]

        assert [response.status_code for response in exports] == [200, 200, 429]
        assert exports[2]["Retry-After"] == "30"
        assert "Your account is already downloading" in exports[2].content.decode()

    def test_address_can_export_three_times_at_a_time(self, log_in: Any) -> None:
        people = [factories.auditor() for _ in range(4)]
        exports = [self.start(log_in, person) for person in people]

        assert [response.status_code for response in exports] == [200, 200, 200, 429]
        assert "Your IP address is already downloading" in exports[3].content.decode()
        assert self.start(log_in, people[3], "10.0.0.2").status_code == 200

    def test_four_exports_are_streamed_at_a_time(self, log_in: Any) -> None:
        exports = [self.start(log_in, factories.auditor(), f"10.0.0.{number}") for number in range(5)]

        assert [response.status_code for response in exports] == [200, 200, 200, 200, 503]
        assert exports[4]["Retry-After"] == "30"

    @pytest.mark.parametrize("end", ["read", "closed", "dropped"])
    def test_place_of_an_export_that_ended_is_free(self, log_in: Any, person: Any, end: str) -> None:
        for _ in range(3):
            response = self.start(log_in, person)
            assert response.status_code == 200
            if end == "read":
                response.getvalue()
            elif end == "closed":
                close(response)
            else:
                del response
                gc.collect()

    @pytest.mark.audited
    @pytest.mark.parametrize("end", ["closed", "dropped"])
    def test_end_of_an_export_that_nobody_reads_is_recorded(self, log_in: Any, person: Any, end: str) -> None:
        response = self.start(log_in, person)
        if end == "closed":
            close(response)
        del response
        gc.collect()

        exports = Event.objects.filter(kind="export_events").order_by("position")
        assert [event.details["state"] for event in exports] == ["started", "aborted"]

    def test_place_of_an_export_that_failed_is_free(
        self, log_in: Any, person: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(activity, "iter_pages", lambda plan, size: (1 / 0 for _ in "x"))
            for _ in range(3):
                with pytest.raises(ZeroDivisionError):
                    self.start(log_in, person)

        assert self.start(log_in, person).status_code == 200

    @pytest.mark.audited
    def test_refused_export_is_not_recorded(self, log_in: Any, person: Any) -> None:
        exports = [self.start(log_in, person) for _ in range(3)]

        assert exports[2].status_code == 429
        assert len(recorded_exports()) == 2

    def test_limits_apply_to_exports_in_the_admin(self, log_in: Any) -> None:
        url = "/admin/registry_activity/event/export/"
        client = log_in(factories.msr_admin())
        exports = [client.post(url, {"format": "csv"}) for _ in range(3)]

        assert [response.status_code for response in exports] == [200, 200, 429]


class TestFormulas:
    @pytest.mark.parametrize(
        ("value", "cell"),
        [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t"),
            ("\rx", "'\\r"),
            ("  =1", "'  =1"),
            ("\u200b=1", "'\\u200b=1"),
            ("＝1", "'＝1"),
            ("﹢1", "'﹢1"),
            ("x;=1", "x;'=1"),
            ("x\n=1", "x\\n'=1"),
            ('",=1', '",=1'),
            ("jane", "jane"),
            ("jane=x", "jane=x"),
            ("", ""),
        ],
    )
    def test_formulas_are_escaped_in_csv(self, person: Any, value: str, cell: str) -> None:
        insert([factories.event_row(tag=value)])

        (row,) = rows(export_as("csv", person))

        assert row["tag"].startswith(cell)

    @given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
    def test_no_part_of_a_csv_value_starts_a_formula(self, value: str) -> None:
        cell = export._cell(value)

        assert cell[:1] not in {*"=+-@\t\r\n"}
        for separator in ";\t\r\n":
            assert not any(part.startswith(tuple("=+-@")) for part in cell.split(separator))
        if not any(sign in value for sign in "=+-@＝＋－＠﹦﹢﹣﹫−\t\r\n"):
            assert cell == visible_text(value)

    def test_values_are_unchanged_in_json_lines(self, person: Any) -> None:
        hostile = "=1+1\u2028</script>"
        insert([factories.event_row(tag=hostile, details={"user_agent": hostile})])

        (line,) = text(export_as("jsonl", person)).splitlines()

        assert (json.loads(line)["tag"], json.loads(line)["details"]["user_agent"]) == (hostile, hostile)


@pytest.mark.audited
class TestRecordedExport:
    @pytest.fixture(autouse=True)
    def events(self, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export, "CHUNK", 2)
        insert([factories.event_row() for _ in range(5)])

    def test_recorded_export_has_actor_filters_and_number_of_events(self, person: Any) -> None:
        text(export_as("csv", person, "type:delete"))

        (actor, start), (_, end) = recorded_exports()
        common = {"request_id": start["request_id"], "format": "csv", "filters": "type:delete"}
        assert actor == "iris"
        assert start == {**common, "state": "started"}
        assert end == {**common, "state": "complete", "exported": 5}

    def test_export_is_recorded_before_anything_is_sent(self, person: Any) -> None:
        response = export_as("csv", person)

        assert [details["state"] for _, details in recorded_exports()] == ["started"]
        close(response)

    def test_aborted_export_is_recorded_with_number_of_events_sent(self, person: Any) -> None:
        response = export_as("jsonl", person)
        next(iter(response))
        close(response)

        (_, _), (_, end) = recorded_exports()
        assert (end["state"], end["exported"]) == ("aborted", 2)

    def test_export_does_not_contain_its_own_record(self, person: Any) -> None:
        response = export_as("jsonl", person, events=Event.objects.all())

        assert len(text(response).splitlines()) == 5

    def test_recorded_exports_are_hidden_from_repository_admin(
        self, person: Any, web: Any, log_in: Any
    ) -> None:
        text(export_as("csv", person))
        repoadmin = factories.user_with("level_admin", web)

        assert [
            sum(event["label"] == "Export Events" for event in found["results"])
            for found in (log_in(user).get("/api/v0/events/").json() for user in (person, repoadmin))
        ] == [2, 0]

    def test_filters_are_cleaned_and_truncated_in_the_record(self, person: Any) -> None:
        text(export_as("csv", person, "\0" + "x" * 5000))

        assert recorded_exports()[0][1]["filters"] == "�" + "x" * 1023
