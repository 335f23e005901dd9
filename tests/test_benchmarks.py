"""The parts of the benchmarks that don't measure: messages, HTTP requests, findings and the report."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest

from activity.recording.drafts import Delivery
from activity.sources import notification_parser
from tests.benchmarks import messages
from tests.benchmarks.load import deliver
from tests.benchmarks.report import Findings, Notebook, Table, Target, write

VALUES = {"repository": "acme/web", "tag": "v1", "digest": f"sha256:{7:064x}", "actor": "jane"}


@pytest.mark.parametrize(
    ("kind", "kinds", "pulled"),
    [
        (messages.PUSH, ["create_manifest", "update_tag"], None),
        (messages.DELETE, ["delete_tag"], None),
        (messages.PULL, [], "v1"),
        (messages.PULL_BY_DIGEST, [], ""),
        (messages.HEAD, [], "v1"),
        (messages.LAYER, [], None),
    ],
)
def test_messages_are_those_of_registries(kind: str, kinds: list[str], pulled: str | None) -> None:
    for seed in range(20):
        body = messages.fill(kind, random.Random(seed), datetime.now(UTC), **VALUES)
        parsed = notification_parser.parse(body, Delivery())

        assert [draft.kind for draft in parsed.drafts] == kinds
        assert [request.draft.tag for request in parsed.requests] == ([] if pulled is None else [pulled])
        assert parsed.rejected == []
        drafts = [*parsed.drafts, *(request.draft for request in parsed.requests)]
        assert {(draft.repository_name, draft.actor_name) for draft in drafts} <= {("acme/web", "jane")}


class Echo(BaseHTTPRequestHandler):
    """Responds to each request after reading it."""

    protocol_version = "HTTP/1.1"
    received: list[bytes] = []

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    Echo.received = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield "127.0.0.1", running.server_port
        running.shutdown()


def test_load_client_delivers_new_messages_through_open_connections(server: tuple[str, int]) -> None:
    requests = messages.requests("/", {"Host": "localhost"}, messages.PUSH, ["acme/web"], random.Random(1))

    load = deliver(server, requests, clients=3, seconds=0.2)

    ids = [json.loads(body)["events"][0]["id"] for body in Echo.received]
    assert len(load.latencies) == len(ids) == len(set(ids)) >= 3


def test_notebook_continues_where_it_was_stopped(tmp_path: Path) -> None:
    def measure() -> Findings:
        return Findings([Table("Title", ["ms"], [["page", 1.5]])], {"page, ms": 1.5})

    first = Notebook(tmp_path / "findings.json").findings("pages", measure)
    second = Notebook(tmp_path / "findings.json").findings("pages", pytest.fail)

    assert first == second == measure()


def test_report_states_targets_and_draws_a_chart(tmp_path: Path) -> None:
    page = "pages, Activity, MSR admin"
    table = Table("Title", ["ms"], [["page", 1234.5], ["other", 0.05]])
    figures = {"bytes an event": 341.0, f"{page}|1000": 5.0, f"{page}|20000": 7.0}

    write(tmp_path / "report.md", "Measured somewhere.", {"Pages": Findings([table], figures)})

    report = (tmp_path / "report.md").read_text()
    assert "| an event: row, indexes, lookups | ≤ 340 bytes | 341 bytes | **missed** " in report
    assert "| evidence of a message | ≤ 150 bytes | not measured | |" in report
    assert "### Title\n\n| | ms |\n| --- | ---: |\n| page | 1,234 |\n| other | 0.050 |" in report
    chart = ElementTree.parse(tmp_path / "report.svg")  # raises ParseError if it isn't XML
    assert len(chart.findall(".//{*}circle")) == 2


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"), [(5, True, "met"), (5, False, "met"), (4, True, "**missed**")]
)
def test_targets(value: float, at_least: bool, verdict: str) -> None:
    target = Target("subject", "figure", 5, at_least)

    assert target.row({"figure": value})[-1] == verdict
