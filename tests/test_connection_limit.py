"""The limit on the open connections of a process of the web server."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack, closing

import pytest

from msr_project.server import connections
from tests.running import TIMEOUT


def test_connection_that_waits_longest_makes_room_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    server = connections.Server(lambda *_: [], {}, dispatcher=object(), host="127.0.0.1", port=0)
    with ExitStack() as stack:
        stack.enter_context(closing(server))
        clients = []
        for _ in range(3):
            address = ("127.0.0.1", server.effective_port)
            clients.append(stack.enter_context(socket.create_connection(address, TIMEOUT)))
            select.select([server.socket], [], [], TIMEOUT)
            server.handle_accept()

        assert clients[0].recv(1) == b""
        assert len(server.active_channels) == 2
        for connection in [*server.active_channels.values()]:
            connection.cut()
