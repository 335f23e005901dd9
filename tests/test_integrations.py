"""The examples of readers in `docs/integrations.md` work with the programs that they are for."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import services
from tests.running import TIMEOUT, Application, application, poll

pytestmark = pytest.mark.long

DOCS = Path(__file__).resolve().parent.parent / "docs" / "integrations.md"
RECORD = """
from django.utils import timezone
from tests.factories import event_row
from activity.storage.events import insert
values = {{"occurred_at": timezone.now(), "details": {{"user_agent": "x" * {size}}}}}
insert([event_row(tag=tag, repository_name="acme/web", **values) for tag in {tags}])
"""


def example(heading: str, language: str) -> str:
    """Return the first block of code in a section of the documentation."""
    section = DOCS.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application")) as app:
        yield app


def record(app: Application, *tags: str, size: int = 1) -> None:
    app.shell(RECORD.format(size=size, tags=tags))


@pytest.fixture
def folder(app: Application, tmp_path: Path) -> Path:
    """A folder with the script."""
    for program in ("curl", "jq"):
        services.find_program(program, program)
    (tmp_path / "follow-events.sh").write_text(example("Shell script", "sh"))
    return tmp_path


@contextmanager
def following(app: Application, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the script during the block."""
    environ = {**os.environ, "ACTIVITY_URL": app.url, "ACTIVITY_TOKEN": app.token("auditor")}
    command = ["sh", "follow-events.sh"]
    with services.running(command, folder, lambda: None, cwd=folder, env=environ) as process:
        yield process


def written(folder: Path) -> list[str]:
    """Return the ids of the events in the file that the script writes."""
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["id"] for line in lines]


def expected(app: Application) -> list[str]:
    return [json.loads(line)["id"] for line in app.manage("events", "tail").splitlines()]


def test_script_writes_each_event_once_and_can_be_stopped(app: Application, folder: Path) -> None:
    record(app, "a", "b")
    with following(app, folder):
        assert poll(lambda: written(folder), expected(app)) == expected(app)
        record(app, "c")
        assert poll(lambda: written(folder), expected(app)) == expected(app)
    record(app, "d")
    with following(app, folder):
        assert poll(lambda: written(folder), expected(app)) == expected(app)


class Siem:
    """A program that receives syslog messages over TCP, framed by their length (RFC 6587)."""

    def __init__(self, server: socket.socket) -> None:
        self.server = server
        self.messages: list[bytes] = []

    def receive(self) -> None:
        connection, _ = self.server.accept()
        with connection, connection.makefile("rb") as stream:
            while length := _read_length(stream):
                self.messages.append(stream.read(length))


def _read_length(stream: Any) -> int:
    digits = b""
    while (character := stream.read(1)).isdigit():
        digits += character
    return int(digits or b"0")


@contextmanager
def siem() -> Iterator[Siem]:
    with socket.create_server((services.LOOPBACK, 0)) as server:
        server.settimeout(TIMEOUT)
        siem = Siem(server)
        receiver = Thread(target=siem.receive)
        receiver.start()
        yield siem
        receiver.join(TIMEOUT)


@contextmanager
def rsyslog(folder: Path, port: int) -> Iterator[None]:
    """Run rsyslog with the configuration in the documentation."""
    program = services.find_program("rsyslogd", "rsyslog", "/usr/sbin")
    places = {
        "/var/lib/rsyslog": str(folder),
        "/var/lib/registry-activity": str(folder),
        "siem.example.com": services.LOOPBACK,
        "6514": str(port),
    }
    configuration = example("SIEM: rsyslog", "")
    for place, replacement in places.items():
        assert place in configuration
        configuration = configuration.replace(place, replacement)
    path = folder / "rsyslog.conf"
    path.write_text(configuration)
    subprocess.run([program, "-N1", "-f", str(path)], check=True, capture_output=True)
    command = [program, "-n", "-f", str(path), "-i", str(folder / "rsyslog.pid")]
    with services.running(command, folder, lambda: None):
        yield


def test_rsyslog_sends_each_event_to_a_siem(app: Application, folder: Path) -> None:
    record(app, "a", "b")
    record(app, "large", size=20_000)
    with siem() as receiver, rsyslog(folder, receiver.server.getsockname()[1]), following(app, folder):

        def received() -> list[str]:
            return [json.loads(message[message.index(b"{") :])["id"] for message in receiver.messages]

        assert poll(received, expected(app)) == expected(app)
        record(app, "c")
        assert poll(received, expected(app)) == expected(app)
        assert all(re.match(rb"<134>1 \S+ \S+ registry-activity ", each) for each in receiver.messages)


# --- Grafana ------------------------------------------------------------------------------------
# Grafana is in no package index that the tests can install from. So the test reads what its panels read.


def selected(row: dict[str, Any], selector: str) -> Any:
    for name in selector.split("."):
        row = row.get(name, {})
    return row


def test_panels_of_grafana_find_their_columns(app: Application) -> None:
    for kind in ("push", "delete"):
        app.shell(RECORD.format(size=1, tags=(kind,)).replace("tag=tag", f"tag=tag, category='{kind}'"))
    dashboard = json.loads(example("Grafana", "json"))
    now = datetime.now(UTC)
    after, before = (f"{now + timedelta(days=days):%Y-%m-%dT%H:%M:%S}.000Z" for days in (-7, 1))

    assert len(dashboard["panels"]) == 2
    for panel in dashboard["panels"]:
        (target,) = panel["targets"]
        url = target["url"].replace("${__from:date:iso}", after).replace("${__to:date:iso}", before)
        response = app.get(url.removeprefix("https://audit.example.com/api/v0/"), "auditor")
        rows = response.json()[target["root_selector"]]
        for column in target["columns"]:
            values = [selected(row, column["selector"]) for row in rows]
            if column["selector"] in ("counts.pull", "counts.access"):
                continue  # none were recorded
            types = (int, dict) if column["type"] == "number" else str
            assert all(isinstance(value, types) for value in values), column
            assert any(value != {} for value in values), column
