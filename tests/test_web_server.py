"""The web server as in production: slow clients, large requests, and requests that deliver events."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from msr_project.server import connections
from tests import factories, impatient_worker, slow_clients
from tests.running import ADD_LARGE_EVENTS, TIMEOUT, Application, application, poll
from tests.slow_clients import BEGINNINGS, connect, connected, is_closed, status

SLOW = 200
REQUESTS = 100
SECONDS = 5
"""Within how many seconds each of the requests must be answered, beside that many slow clients."""

# An export of these doesn't fit into the buffers of the server and the operating system.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application")) as app:
        app.shell(ADD_LARGE_EVENTS)
        yield app
        assert not {"Traceback", "WARNING", "ERROR"} & set(app.log("web").split())


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """An application with one process, short time limits, and few connections."""
    folder = tmp_path_factory.mktemp("impatient")
    gate = folder / "gate"
    os.mkfifo(gate)
    variables = {
        "GUNICORN_CMD_ARGS": impatient_worker.ARGUMENTS,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "MAX_CONNECTIONS": "300",
        impatient_worker.GATE: str(gate),
    }
    with application(folder / "application", variables=variables) as app:
        app.shell(ADD_LARGE_EVENTS)
        yield app


def push(tag: str = "v1") -> str:
    return json.dumps({"events": [factories.notification(id=str(uuid4()), target={"tag": tag})]})


def produced(number: int = 0) -> dict[str, Any]:
    return {
        "id": f"scan-{number}-{uuid4()}",
        "kind": "create_manifest",
        "repository": "acme/web",
        "occurred_at": "2026-11-22T12:00:00Z",
        "actor": {"type": "user", "id": "scanner"},
        "digest": factories.DIGEST,
    }


def request_pages_and_record(app: Application, session: requests.Session) -> Counter[bool]:
    """Request pages and deliver events, ten at a time, and return how often the answer was a success."""
    headers = {"Authorization": f"Bearer {app.token('registry')}"}
    cookies = session.cookies.get_dict()

    def send(number: int) -> bool:
        if number % 2:
            url = f"{app.url}/api/v0/notifications/registry"
            return requests.post(url, push(), headers=headers, timeout=SECONDS).ok
        return requests.get(f"{app.url}/repositories/", cookies=cookies, timeout=SECONDS).ok

    with ThreadPoolExecutor(10) as clients:
        return Counter(clients.map(send, range(REQUESTS)))


def test_connection_stays_open_between_notifications(app: Application) -> None:
    headers = {"Authorization": f"Bearer {app.token('registry')}"}

    with closing(HTTPConnection(urlsplit(app.url).netloc, timeout=TIMEOUT)) as registry:
        for _ in range(2):
            registry.request("POST", "/api/v0/notifications/registry", push(), headers)
            response = registry.getresponse()

            assert response.status < 300, response.read()
            assert not response.will_close
            response.read()


class TestSlowClients:
    @pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
    def test_requests_are_answered_beside_clients_that_send_slowly(
        self, app: Application, beginning: bytes
    ) -> None:
        session = slow_clients.sign_in(app, "reader")

        with connected(app, beginning, SLOW):
            assert request_pages_and_record(app, session) == {True: REQUESTS}

    def test_requests_are_answered_beside_exports_that_nobody_reads(self, app: Application) -> None:
        session = slow_clients.sign_in(app, "reader")

        with connected(app, slow_clients.export_request(app, "admin"), SLOW) as exports:
            wait_for_answers(exports)
            assert request_pages_and_record(app, session) == {True: REQUESTS}

            answers = Counter(map(status, exports))
        # Each of the two processes streams two exports at a time for an account.
        assert 2 <= answers[200] <= 4
        assert answers[200] + answers[429] == SLOW

    @pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
    def test_connection_of_client_that_sends_too_slowly_is_closed(
        self, impatient: Application, beginning: bytes
    ) -> None:
        with connect(impatient, beginning) as connection:
            assert is_closed(connection)

    @pytest.mark.parametrize("beginning", [BEGINNINGS["one byte"], BEGINNINGS["part of the headers"]])
    def test_sending_one_byte_after_the_other_does_not_extend_the_time(
        self, impatient: Application, beginning: bytes
    ) -> None:
        connection = connect(impatient, beginning)
        connection.settimeout(0.1)

        def is_closed_after_another_byte() -> bool:
            try:
                connection.sendall(b"x")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        with connection:
            assert poll(is_closed_after_another_byte, True)

    def test_connection_stays_open_between_requests(self, impatient: Application) -> None:
        """It is closed some time after the last response, however old it is."""
        head = b"HEAD /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

        def answers_twice_and_closes() -> bool:
            try:
                with connect(impatient, head) as connection:
                    first = status(connection)
                    connection.sendall(head)
                    return first == status(connection) == 200 and is_closed(connection)
            except ConnectionError:
                return False

        # On a busy machine, the time may be up before the server reads a request.
        assert poll(answers_twice_and_closes, True)

    def test_place_of_export_that_nobody_reads_becomes_free(self, impatient: Application) -> None:
        export = slow_clients.export_request(impatient, "admin")

        with connected(impatient, export, 2) as stalled:
            wait_for_answers(stalled)
            with connect(impatient, export) as third:
                assert status(third) == 429
            assert poll(lambda: retry(impatient, export), 200) == 200
            assert all(map(is_closed, stalled))

    def test_oldest_waiting_connection_makes_room_for_a_new_one(self, impatient: Application) -> None:
        with connected(impatient, b"G", 320) as connections:
            assert requests.head(f"{impatient.url}/accounts/login/", timeout=SECONDS).status_code == 200
            assert is_closed(connections[0])


def wait_for_answers(connections: list[socket.socket]) -> None:
    """Wait until there is something to read from each connection, and don't read it."""
    for connection in connections:
        connection.recv(1, socket.MSG_PEEK)


def retry(app: Application, request: bytes) -> int:
    with connect(app, request) as connection:
        return status(connection)


class TestSeparateThreads:
    def test_events_are_recorded_while_all_threads_for_pages_are_blocked(
        self, impatient: Application
    ) -> None:
        wait = b"GET /wait/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with connected(impatient, wait, 250) as pages:
            assert impatient.notify(push()).json() == {"events": 2, "dead_letters": 0}

            with open(impatient.environ[impatient_worker.GATE], "w"):
                answers = Counter(map(status, pages))
        # Eight are served, and up to 200 wait. Some may be refused before the eight have left the queue.
        assert 200 <= answers[200] <= 208
        assert answers[200] + answers[503] == 250


class TestRequests:
    @pytest.mark.parametrize("path", ["events", "events/"])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_posted_event_is_recorded_with_and_without_a_slash(
        self, app: Application, path: str, chunked: bool
    ) -> None:
        body = json.dumps(produced()).encode()
        response = requests.post(
            f"{app.url}/api/v0/{path}",
            iter([body[:10], body[10:]]) if chunked else body,
            headers={"Authorization": f"Bearer {app.token('registry')}", "Content-Type": "application/json"},
            timeout=TIMEOUT,
            allow_redirects=False,
        )

        assert response.status_code == 201
        assert app.get(f"events/{response.json()['id']}/", "admin").status_code == 200

    @pytest.mark.parametrize("path", ["notifications/registry", "notifications/registry/"])
    def test_chunked_notification_is_recorded(self, app: Application, path: str) -> None:
        body = push().encode()
        headers = {"Authorization": f"Bearer {app.token('registry')}"}
        chunks = iter([body[:10], body[10:]])

        response = requests.post(f"{app.url}/api/v0/{path}", chunks, headers=headers, timeout=TIMEOUT)

        assert response.json() == {"events": 2, "dead_letters": 0}

    @pytest.mark.parametrize("chunked", [False, True])
    def test_oversized_message_becomes_a_dead_letter_with_its_size(
        self, app: Application, chunked: bool
    ) -> None:
        chunk, count = b"x" * 1024 * 1024, 17 + chunked
        headers = {"Authorization": f"Bearer {app.token('registry')}"}
        url = f"{app.url}/api/v0/notifications/registry"

        body = iter([chunk] * count) if chunked else chunk * count
        response = requests.post(url, body, headers=headers, timeout=TIMEOUT)

        assert response.json() == {"events": 0, "dead_letters": 1}
        code = "from activity.models import DeadLetter; print(DeadLetter.objects.latest('id').size)"
        assert int(app.shell(code)) == len(chunk) * count

    @pytest.mark.parametrize("chunked", [False, True])
    def test_oversized_form_is_refused(self, app: Application, chunked: bool) -> None:
        chunk = b"x" * 1024 * 1024
        body = iter([chunk] * 4) if chunked else chunk * 4
        try:
            response = requests.post(f"{app.url}/accounts/login/", body, timeout=TIMEOUT)
        except requests.ConnectionError:
            return  # the server closed the connection before the client had sent everything
        assert response.status_code == 413

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_long_query_is_refused(self, app: Application, method: str) -> None:
        url = f"{app.url}/api/v0/events/?tag="

        lengths = [connections.MAX_QUERY - 4, connections.MAX_QUERY - 3]
        responses = [
            requests.request(method, url + "a" * length, data=b"x" * 1000, timeout=TIMEOUT)
            for length in lengths
        ]

        assert [response.status_code for response in responses] == [401, 414]
        assert [response.json()["status"] for response in responses] == [401, 414]
        assert {response.headers["Content-Type"] for response in responses} == {"application/problem+json"}

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (b"Bad Name: 1", 400),
            (b": 1", 400),
            (b"Name: \0", 400),
            (b"Cookie: \1", 400),
            (b"Content-Length: x", 400),
            (b"Transfer-Encoding: identity", 501),
            (b"Name: " + 300_000 * b"x", 431),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_malformed_headers_are_refused(self, app: Application, line: bytes, expected: int) -> None:
        for request_line in (b"GET /activity/ HTTP/1.1", b"POST /api/v0/events/ HTTP/1.1", b"GET", b"\0"):
            with connect(app, request_line + b"\r\n" + line + b"\r\n\r\n") as connection:
                assert status(connection) in {400, expected}

    def test_large_bodies_occupy_a_bounded_amount_of_disk(self, impatient: Application) -> None:
        beginning = slow_clients.NOTIFICATIONS + b"Content-Length: 2000000\r\n\r\n" + b"x" * 700_000
        with connected(impatient, beginning, 16), connect(impatient, beginning) as another:
            assert status(another) == 503
            assert impatient.notify(push()).json() == {"events": 2, "dead_letters": 0}

    def test_head_request_has_headers_and_no_body(self, app: Application) -> None:
        request = b"HEAD /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        with connect(app, request) as connection, connection.makefile("rb") as file:
            response = file.read()

        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"Content-Length: " in head
        assert body == b""

    def test_server_listens_on_loopback_only(self, app: Application) -> None:
        port = int(app.url.rpartition(":")[2])

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))
