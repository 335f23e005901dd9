"""Measure the HTTP notifications endpoint, using the production web server."""

import json
import multiprocessing
import os
import random
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from uuid import uuid4

from tqdm import tqdm

from tests import services

SECONDS = 15.0
SECONDS_TO_START = 3.0
PATH = "/api/v0/notifications/registry"
PROCFILE = Path(__file__).parents[2] / "Procfile"


@dataclass(frozen=True)
class Delivery:
    """The latencies, in seconds, of notifications delivered by a number of concurrent clients."""

    clients: int
    latencies: list[float]

    def __str__(self) -> str:
        rate = len(self.latencies) / SECONDS
        p50, p99 = median(self.latencies) * 1000, quantiles(self.latencies, n=100)[-1] * 1000
        return f"clients: {self.clients}; {rate:,.0f} per second; median {p50:.1f} ms, p99 {p99:.1f} ms"


def measure(folder: Path, names: list[str], clients: int) -> Delivery:
    """Start the Procfile's web server, and let `clients` clients send notifications for `SECONDS`."""
    from activity.sources.registries import registry_account
    from tests.factories import new_token

    token, port = new_token(registry_account()), services.free_port()
    line = PROCFILE.read_text().splitlines()[0].removeprefix("web: ")
    program, *options = shlex.split(line)
    command = [str(Path(sys.executable).with_name(program)), *options]
    # The clients are processes, because Python threads would share one core. The processes are spawned rather
    # than forked, because database connections don't survive a fork.
    processes = multiprocessing.get_context("spawn")
    with (
        services.running(
            command,
            folder,
            lambda: deliver(port, token, names, time.time(), 0),
            env={**os.environ, "PORT": str(port)},
        ),
        processes.Pool(clients) as pool,
    ):
        start = time.time() + SECONDS_TO_START
        jobs = pool.starmap_async(deliver, [(port, token, names, start, SECONDS)] * clients)
        for _ in tqdm(range(round(SECONDS_TO_START + SECONDS)), f"{clients} clients", unit="s"):
            time.sleep(1)  # advances the progress bar while the clients work
        return Delivery(clients, [latency for latencies in jobs.get() for latency in latencies])


def deliver(port: int, token: str, names: list[str], start: float, seconds: float) -> list[float]:
    """Deliver notifications one by one, beginning at `start`, and return their latencies in seconds."""
    connection = HTTPConnection(services.LOOPBACK, port)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    latencies: list[float] = []
    time.sleep(max(0, start - time.time()))  # all clients start at the same time
    while not latencies or time.time() < start + seconds:
        body = push_notification(random.choice(names))
        sent = time.perf_counter()
        connection.request("POST", PATH, body, headers)
        response = connection.getresponse()
        answer = response.read()
        latencies.append(time.perf_counter() - sent)
        assert response.status == 200, answer
        assert json.loads(answer) == {"events": 2, "dead_letters": 0}, answer
    connection.close()
    return latencies


def push_notification(repository: str) -> bytes:
    """Return the notification that a registry sends when a tag is pushed."""
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    layer = {
        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "size": 98,
        "digest": random_digest(),
    }
    manifest = random_digest()
    notification = {
        "id": str(uuid4()),
        "timestamp": datetime.now(UTC).isoformat(),
        "action": "push",
        "target": {
            "mediaType": media_type,
            "size": 439,
            "digest": manifest,
            "length": 439,
            "repository": repository,
            "url": f"http://registry:5000/v2/{repository}/manifests/{manifest}",
            "tag": "latest",
            "references": [layer, layer, layer],
        },
        "request": {
            "id": str(uuid4()),
            "addr": "10.0.0.7:56544",
            "host": "registry:5000",
            "method": "PUT",
            "useragent": "docker/29.1.2 go/go1.25 os/linux",
        },
        "actor": {"name": "person-7"},
        "source": {"addr": "registry-1:5000", "instanceID": "ff1d9602-feb6-4639-a7af-16e265d1c4a9"},
    }
    return json.dumps({"events": [notification]}, indent=3).encode()


def random_digest() -> str:
    return f"sha256:{random.getrandbits(256):064x}"
