"""Clients that connect to the web server and then send or read too slowly, or not at all."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from tests.running import PASSWORD, TIMEOUT, Application

HOST = b"Host: 127.0.0.1\r\n"
NOTIFICATIONS = b"POST /api/v0/notifications/registry HTTP/1.1\r\n" + HOST
BEGINNINGS = {
    "idle": b"",
    "one byte": b"G",
    "part of the headers": b"GET /repositories/ HTTP/1.1\r\n" + HOST,
    "part of a body": NOTIFICATIONS + b'Content-Length: 100\r\n\r\n{"events": [',
    "part of a chunked body": NOTIFICATIONS + b'Transfer-Encoding: chunked\r\n\r\nc\r\n{"events": [\r\n',
    "part of a form": b"POST /accounts/login/ HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nusername=",
}
"""What a client sends before it stops, by the name of its kind."""


def connect(app: Application, beginning: bytes = b"", receive_buffer: int = 0) -> socket.socket:
    """Connect to the web server, and send the beginning of a request."""
    address = urlsplit(app.url)
    connection = socket.socket()
    connection.settimeout(TIMEOUT)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((address.hostname, address.port))
    connection.sendall(beginning)
    return connection


@contextmanager
def connected(app: Application, beginning: bytes, count: int) -> Iterator[list[socket.socket]]:
    """Keep connections open that have sent the beginning of a request."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(app, beginning, receive_buffer=4096)) for _ in range(count)]


def sign_in(app: Application, username: str) -> requests.Session:
    """Return a session in which a demo user is logged in."""
    session = requests.Session()
    session.headers["Connection"] = "close"  # or the server may close an idle connection at the wrong time
    # On a busy machine, a server with short time limits may close a connection before the request arrives.
    session.mount("http://", HTTPAdapter(max_retries=Retry(3, allowed_methods=None)))
    page = session.get(f"{app.url}/accounts/login/", timeout=TIMEOUT)
    form = {"username": username, "password": PASSWORD, "csrfmiddlewaretoken": _csrf_token(page)}
    assert session.post(f"{app.url}/accounts/login/", form, timeout=TIMEOUT).ok
    return session


def export_request(app: Application, username: str) -> bytes:
    """Return a request for the export of all events that a demo user can see."""
    session = sign_in(app, username)
    page = session.get(f"{app.url}/activity/", timeout=TIMEOUT)
    body = urlencode({"export": "csv", "csrfmiddlewaretoken": _csrf_token(page)})
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)
    return (
        f"POST /activity/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _csrf_token(page: requests.Response) -> str:
    found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found
    return found[1]


def status(connection: socket.socket) -> int:
    """Return the status of the response, or 0 if the connection was closed without a response."""
    with connection.makefile("rb") as file:
        line = file.readline()
    return int(line.split()[1]) if line else 0


def is_closed(connection: socket.socket) -> bool:
    """Read until the server closes the connection. Returns False if it stays open until the timeout."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True
