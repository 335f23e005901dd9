"""The worker process: gunicorn starts it, and Waitress serves the connections."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from gunicorn.workers.base import Worker as BaseWorker
from waitress import wasyncore
from waitress.adjustments import Adjustments

from msr_project.server.connections import Server
from msr_project.server.pools import Pools

OUTPUT_BUFFER = 1024 * 1024
"""The size of the output buffer of a connection. A thread waits if a client leaves more than this unread."""
MAX_HEADERS = 32 * 1024
SWITCH_INTERVAL = 0.0005
"""How long a thread may compute while others wait, in seconds.

With Python's default of 5 ms, a request that waits ten times for the database took 0.7 to 1.2 s beside 16
pages that compute all the time; with 0.5 ms it takes 9 to 36 ms, and with 0.05 ms 100 to 200 ms.
"""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Worker(BaseWorker):
    """A process that serves connections until gunicorn stops it."""

    def run(self) -> None:
        """Serve connections, and then finish the requests that have been received."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        sockets: dict[int, Any] = {}
        servers = self.create_servers(sockets)
        while self.alive and self.ppid == os.getppid():
            self.serve(sockets)
        for server in servers:
            server.accepting = False
        deadline = monotonic() + self.cfg.graceful_timeout
        while any(server.is_busy() for server in servers) and monotonic() < deadline:
            self.serve(sockets)

    def create_servers(self, sockets: dict[int, Any]) -> list[Server]:
        """Return a server for each address that gunicorn listens on. They share `sockets` and the threads."""
        adjustments = Adjustments(
            asyncore_use_poll=True,  # select() is limited to 1024 files
            cleanup_interval=1,
            clear_untrusted_proxy_headers=False,  # Django's middleware decides
            connection_limit=1_000_000,  # the server has its own limit
            log_socket_errors=False,
            max_request_body_size=2**40,  # the server has its own limits
            max_request_header_size=MAX_HEADERS,
            outbuf_high_watermark=OUTPUT_BUFFER,
            recv_bytes=64 * 1024,
        )
        pools = Pools()
        return [
            Server(
                without_body_for_head(self.wsgi),
                sockets,
                _sock=socket.sock,
                dispatcher=pools,
                adj=adjustments,
                sockinfo=(socket.sock.family, socket.sock.type, socket.sock.proto, socket.sock.getsockname()),
                bind_socket=False,
            )
            for socket in self.sockets
        ]

    def serve(self, sockets: dict[int, Any]) -> None:
        """Wait for up to a second for something to read or write, and do it."""
        self.notify()
        wasyncore.poll2(1.0, sockets)


def without_body_for_head(application: Application) -> Application:
    """Return an application that answers HEAD requests without a body, as Waitress expects."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = application(environ, start_response)
        if environ["REQUEST_METHOD"] != "HEAD":
            return body
        close = getattr(body, "close", None)
        if close is not None:
            close()
        return []

    return answer
