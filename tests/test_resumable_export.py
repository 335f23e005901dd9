"""The API's export has every event in the order of commits, and can be resumed after any line."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from activity.feed import resumable
from activity.models import Event
from repositories.models import Repository
from tests import factories
from tests.tail_events import delete, record, tags

pytestmark = pytest.mark.django_db

URL = "/api/v0/events/export/"
FORMATS = ["jsonl", "csv"]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "CHUNK", 2)


def start(client: Client, query: str = "", **headers: str) -> Any:
    response = client.get(f"{URL}?{query}", headers=headers)
    assert response.status_code == 200, response.content
    return response


def text(client: Client, query: str = "", **headers: str) -> str:
    return start(client, query, **headers).getvalue().decode()


def lines(client: Client, query: str = "") -> list[dict[str, Any]]:
    return [json.loads(line) for line in text(client, query).splitlines()]


def exported_tags(client: Client, query: str = "") -> list[str]:
    return tags({"results": lines(client, query)})


def cursors(content: str, format: str) -> list[str]:
    """Return the cursors of the lines of a file."""
    if format == "jsonl":
        return [json.loads(line)["cursor"] for line in content.splitlines()]
    return [row["cursor"] for row in csv.DictReader(io.StringIO(content, newline=""))]


class TestFile:
    @pytest.mark.parametrize("count", [0, 1, 2, 5])
    def test_export_has_every_event_in_the_order_of_commits(self, admin: Client, count: int) -> None:
        record(*"abcde"[:count])

        assert exported_tags(admin) == list("abcde"[:count])

    @pytest.mark.parametrize(
        ("query", "accept", "content_type"),
        [
            ("", "*/*", "application/jsonl"),
            ("", "text/csv", "text/csv"),
            ("", "application/jsonl", "application/jsonl"),
            ("export_format=csv", "*/*", "text/csv"),
            ("export_format=jsonl", "text/csv", "application/jsonl"),
        ],
    )
    def test_format_is_chosen_by_parameter_or_header(
        self, admin: Client, query: str, accept: str, content_type: str
    ) -> None:
        response = start(admin, query, accept=accept)

        assert response["Content-Type"] == f"{content_type}; charset=utf-8"
        assert response["Content-Disposition"].startswith("attachment")
        response.close()

    def test_csv_has_the_values_of_json_lines(self, admin: Client, web: Repository) -> None:
        record("v1", repository=web, details={"size": 7})

        (row,) = csv.DictReader(io.StringIO(text(admin, "export_format=csv"), newline=""))
        (line,) = lines(admin)

        assert {*line} < {*row}
        for name in ("cursor", "position", "id", "occurred_at", "kind"):
            assert row[name] == str(line[name])

    def test_export_has_the_events_that_match_the_filters(self, admin: Client, web: Repository) -> None:
        record("a", repository=web)
        record("b", kind="delete_tag", repository=web)
        record("c", kind="delete_tag")

        assert exported_tags(admin, "type=DELETE") == ["b", "c"]
        assert exported_tags(admin, "repository=acme/web") == ["a", "b"]
        assert exported_tags(admin, "search=tag:a") == ["a"]

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("export_format=xml", 400),
            ("export_format=csv&export_format=csv", 400),
            ("page_size=10", 400),
            ("colour=red", 400),
            ("type=BAR", 400),
            ("cursor=x", 400),
            ("cursor=1-2-3-4", 400),
            ("cursor=2-1-0", 400),
            ("cursor=0-999-0", 400),
        ],
    )
    def test_invalid_parameter_is_rejected(self, admin: Client, query: str, status: int) -> None:
        record("a")

        assert admin.get(f"{URL}?{query}").status_code == status

    def test_anonymous_caller_is_rejected(self, client: Client) -> None:
        assert client.get(URL).status_code == 401

    def test_link_on_another_site_cannot_start_an_export(self, admin: Client) -> None:
        assert admin.get(URL, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403

    @pytest.mark.audited
    def test_export_is_recorded_and_does_not_contain_its_own_record(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = Event.objects.count()

        assert len(lines(admin, "category=system")) == 0
        started, ended = Event.objects.filter(kind="export_events").order_by("position")

        assert Event.objects.count() == before + 2
        assert (started.details["state"], ended.details["state"]) == ("started", "complete")
        assert started.details["filters"] == "category=system"

    def test_third_export_of_an_account_is_refused(self, admin: Client) -> None:
        responses = [admin.get(URL) for _ in range(3)]

        assert [response.status_code for response in responses] == [200, 200, 429]
        assert responses[2]["Retry-After"] == "30"
        for response in responses:
            response.close()

    def test_export_is_streamed_page_by_page(self, admin: Client) -> None:
        record(*"abcdefghij")

        with CaptureQueriesContext(connection) as queries:
            response = start(admin)
            next(iter(response))

        assert len([query for query in queries if " AS branch_0" in query["sql"]]) == 1
        response.close()


class TestResuming:
    @pytest.mark.parametrize("format", FORMATS)
    def test_export_resumed_after_any_line_has_the_remaining_bytes(
        self, reader: Client, web: Repository, format: str
    ) -> None:
        for number in range(4):
            record(f"v{number}", repository=web)
            record("invisible")
        whole = text(reader, f"export_format={format}")
        record("later", repository=web)

        found = cursors(whole, format)
        assert len(found) == 4
        for number, cursor in enumerate(found, 1):
            received = "".join(whole.splitlines(keepends=True)[: number + (format == "csv")])
            rest = text(reader, f"export_format={format}&cursor={cursor}")
            assert received + rest == whole

    @pytest.mark.parametrize("format", FORMATS)
    def test_deletion_meanwhile_ends_the_export_with_an_error(self, admin: Client, format: str) -> None:
        record(*"abcd")
        response = start(admin, f"export_format={format}")
        pieces = iter(response)
        received = [next(pieces) for _ in range(2 if format == "csv" else 1)]
        delete(tag="d")

        content = b"".join([*received, *pieces]).decode()

        *events, last = content.splitlines()
        assert len(events) == 2 + (format == "csv")
        assert "error" in last
        assert "deleted" in last

    def test_deletion_of_what_was_received_does_not_matter(self, admin: Client) -> None:
        record(*"abcd")
        whole = lines(admin)
        delete(tag__in=["a", "b"])

        assert lines(admin, f"cursor={whole[1]['cursor']}") == whole[2:]

    def test_earlier_deletion_does_not_matter(self, admin: Client) -> None:
        record(*"abcd")
        delete(tag="c")

        assert exported_tags(admin) == ["a", "b", "d"]

    def test_export_from_which_events_were_deleted_is_gone(self, admin: Client) -> None:
        record(*"abcd")
        (first, *_) = lines(admin)
        delete(tag="d")
        delete(tag="a")

        response = admin.get(f"{URL}?cursor={first['cursor']}")

        assert response.status_code == 410
        assert "deleted" in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_export_is_streamed_under_asgi(web: Repository) -> None:
    record(*"abcde", repository=web)
    headers = factories.bearer(factories.msr_admin())

    async def read() -> tuple[bool, list[bytes]]:
        response: Any = await AsyncClient().get(URL, headers=headers)
        pieces = [piece async for piece in response]
        await sync_to_async(lambda: connection.close())()  # in the thread that served the request
        return response.is_async, pieces

    is_async, pieces = asyncio.run(read())

    assert is_async
    assert len(pieces) == 3
    assert tags({"results": [json.loads(line) for line in b"".join(pieces).splitlines()]}) == list("abcde")
