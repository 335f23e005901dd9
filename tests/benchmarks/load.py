"""A client that sends HTTP requests as fast as a server answers them.

The client shares the cores with the server. So a slow client would make all servers look alike, and flatter
the slow ones. This one costs about 0.03 ms of CPU a request; the report states the figure.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median, quantiles


@dataclass
class Load:
    """What a server answered in a time."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """The CPU time of the client."""
    latencies: list[float] = field(default_factory=list)

    def __iadd__(self, other: Load) -> Load:
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        self.latencies += other.latencies
        return self

    @property
    def rate(self) -> float:
        """The number of requests per second."""
        return len(self.latencies) / self.seconds

    @property
    def median_ms(self) -> float:
        return median(self.latencies) * 1000

    @property
    def p99_ms(self) -> float:
        return quantiles([*self.latencies, *self.latencies], n=100)[-1] * 1000

    @property
    def client_ms(self) -> float:
        """The client's CPU time per request."""
        return self.cpu_seconds / len(self.latencies) * 1000


def deliver(address: tuple[str, int], requests: Iterator[bytes], clients: int, seconds: float) -> Load:
    """Send requests for some seconds, through `clients` connections that are kept open.

    Each connection sends its next request when it has received the response to the last one, as a registry
    does. Raises RuntimeError if a response isn't a success.
    """
    load, poller, connections = Load(), select.epoll(), {}
    for _ in range(clients):
        connection = socket.create_connection(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[connection.fileno()] = connection
        poller.register(connection, select.EPOLLIN)
    sent: dict[int, float] = {}
    received = dict.fromkeys(connections, b"")
    started, cpu = time.perf_counter(), time.process_time()
    deadline = started + seconds
    for number, connection in connections.items():
        sent[number] = time.perf_counter()
        connection.sendall(next(requests))
    while sent:
        for number, _ in poller.poll(60) or _time_out():
            data = received[number] + (connections[number].recv(65536) or _close())
            received[number] = data
            if not _is_complete(data):
                continue
            if data[9:10] != b"2":
                raise RuntimeError(f"The server answered {data[:500]!r}.")
            now = time.perf_counter()
            load.latencies.append(now - sent.pop(number))
            received[number] = b""
            if now < deadline:
                sent[number] = now
                connections[number].sendall(next(requests))
    load.seconds, load.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    for connection in connections.values():
        connection.close()
    poller.close()
    return load


def _is_complete(response: bytes) -> bool:
    head, end, body = response.partition(b"\r\n\r\n")
    if not end:
        return False
    _, found, rest = head.lower().partition(b"content-length:")
    return not found or len(body) >= int(rest.partition(b"\r\n")[0])


def _time_out() -> list[tuple[int, int]]:
    raise RuntimeError("The server doesn't answer.")


def _close() -> bytes:
    raise RuntimeError("The server closed a connection.")
