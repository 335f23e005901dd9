"""Nothing is lost or recorded twice when the recorder, the web server or the database fails."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.db import connection

from tests import images, services
from tests.clients import USERS
from tests.connected_registry import Registry, connected_registry
from tests.database_roles import WEB_ROLE
from tests.pushes import WITH_RECORDER, ids, push, pushes
from tests.running import TIMEOUT, Application, application, poll

pytestmark = pytest.mark.long
on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    with application(tmp_path, variables=WITH_RECORDER) as app:
        yield app


def deliver(app: Application, message: dict[str, Any]) -> None:
    """Deliver a notification as a registry does: again and again, until it is acknowledged."""
    deadline = time.monotonic() + 4 * TIMEOUT
    while time.monotonic() < deadline:
        try:
            if app.notify(json.dumps({"events": [message]})).status_code < 300:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise TimeoutError


def deliver_all(app: Application, messages: list[dict[str, Any]]) -> None:
    """Deliver notifications from eight clients at once."""
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda message: deliver(app, message), messages))


def test_recorder_that_is_killed_again_and_again_loses_and_doubles_nothing(app: Application) -> None:
    messages = [push() for _ in range(600)]
    rng = random.Random(1)
    with ThreadPoolExecutor(1) as executor:
        delivering = executor.submit(deliver_all, app, messages)
        for _ in range(8):
            with app.program("recorder") as recorder:
                time.sleep(0.7 + rng.random())  # it starts, and is killed at some moment of its work
                recorder.kill()
        delivering.result()
    with app.program("recorder"):
        assert poll(app.waiting, 0) == 0

    assert pushes(app) == ids(messages)


def test_web_server_whose_workers_are_killed_loses_and_doubles_nothing(app: Application) -> None:
    messages = [push() for _ in range(400)]
    with app.program("recorder"), ThreadPoolExecutor(1) as executor:
        delivering = executor.submit(deliver_all, app, messages)
        while not delivering.done():
            time.sleep(0.5)
            kill_workers(app)
        delivering.result()
        assert poll(app.waiting, 0) == 0

    assert pushes(app) == ids(messages)


def kill_workers(app: Application) -> None:
    for pid in workers_of(app):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)


def workers_of(app: Application) -> list[int]:
    """Return the process ids of the web server's workers."""
    port = app.url.rpartition(":")[2]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes()
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
            parent = Path("/proc", stat[1], "cmdline").read_bytes()
        except OSError:
            continue
        if f"PORT={port}\0".encode() in environ and b"gunicorn" in command and b"gunicorn" in parent:
            found.append(int(folder.name))
    return found


@pytest.fixture
def own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A PostgreSQL cluster that can crash without disturbing other tests. Applications use it."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with services.postgresql(folder, durable=True) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("SHARED_DIR", str(folder))
        yield url


@on_postgresql
def test_pushes_to_a_registry_survive_the_death_of_every_program(own_database: str, tmp_path: Path) -> None:
    """Database, web server and recorder are killed at random while a registry delivers 1,000 pushes."""
    tags = [f"v{number}" for number in range(1000)]
    rng = random.Random(1)
    with (
        application(tmp_path, variables=WITH_RECORDER) as app,
        connected_registry(app, tmp_path, existing=["acme/web:latest"]) as registry,
        ThreadPoolExecutor(1) as executor,
    ):
        pushing = executor.submit(push_tags, registry, tags)
        kills = 0
        while kills < 6 or not pushing.done():
            with app.program("recorder") as recorder:
                time.sleep(
                    1 + rng.random()
                )  # the programs start, and are killed at some moment of their work
                kill = rng.choice(
                    [lambda: crash(own_database), lambda: kill_workers(app), lambda: recorder.kill()]
                )
                kill()
                time.sleep(rng.random())
                kills += 1
        pushing.result()
        with app.program("recorder"):
            expected = Counter(f"acme/web:{tag}" for tag in tags)
            assert poll(lambda: pushed_tags(app), expected, timeout=120) == expected


def push_tags(registry: Registry, tags: list[str]) -> None:
    """Push the image, which the registry already contains, under each of the tags."""
    manifest = (registry.image / "blobs" / Path(*registry.digest.split(":"))).read_bytes()
    with requests.Session() as session:
        session.auth = ("repoadmin", USERS["repoadmin"])
        session.headers["Content-Type"] = images.MANIFEST
        for tag in tags:
            url = f"http://{registry.address}/v2/acme/web/manifests/{tag}"
            session.put(url, manifest, timeout=TIMEOUT).raise_for_status()


def pushed_tags(app: Application) -> Counter[str]:
    """Return how often each tag was updated, or nothing while the application can't answer."""
    try:
        return Counter(event["tag"] for event in app.events("admin", type="UPDATE", repository="acme/web"))
    except requests.RequestException:
        return Counter()


def crash(url: str) -> None:
    """Kill a process of the database, whereupon PostgreSQL kills all others and recovers from its log."""
    with suppress(psycopg.Error), psycopg.connect(url) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)


@on_postgresql
def test_recorder_that_stands_by_takes_over(app: Application, tmp_path: Path) -> None:
    first, second = push(), push()
    with app.program("recorder") as active:
        deliver(app, first)
        assert poll(lambda: pushes(app), ids([first])) == ids([first])
        with app.program("recorder"):
            active.kill()
            deliver(app, second)
            assert poll(lambda: pushes(app), ids([first, second])) == ids([first, second])


def test_broken_message_becomes_a_dead_letter_beside_others(app: Application) -> None:
    messages = [push() for _ in range(3)]
    for message in messages:
        deliver(app, message)
        app.notify("{")
    with app.program("recorder"):
        assert poll(app.waiting, 0) == 0

    assert pushes(app) == ids(messages)
    assert app.shell("from activity.models import DeadLetter; print(DeadLetter.objects.count())") == "1\n"


@on_postgresql
def test_long_transaction_does_not_stop_recording(app: Application) -> None:
    """Someone's transaction, in which an action was recorded, is still open."""
    with app.program("recorder"), psycopg.connect(app.environ["DATABASE_URL"]) as other:
        other.execute(
            "INSERT INTO registry_activity_journalentry (source, token_key, received_at, content, size)"
            " VALUES (2, '', now(), '{', 1)"
        )
        message = push()
        deliver(app, message)

        assert poll(lambda: pushes(app), ids([message])) == ids([message])
        other.rollback()


@on_postgresql
def test_messages_wait_while_the_recorder_cannot_write(app: Application) -> None:
    """The database refuses events, as a server that has run out of disk space does."""
    first, second = push(), push()
    with app.program("recorder"):
        deliver(app, first)
        assert poll(lambda: pushes(app), ids([first])) == ids([first])
        with insertion_forbidden(app):
            deliver(app, second)
            assert poll(lambda: "permission denied" in app.log("recorder"), True)
            assert app.waiting() == 1

        assert poll(lambda: pushes(app), ids([first, second])) == ids([first, second])


@contextmanager
def insertion_forbidden(app: Application) -> Iterator[None]:
    """Keep the recorder from inserting events. The web server inserts only into the journal."""
    with psycopg.connect(app.environ["DATABASE_URL"], autocommit=True) as owner:
        owner.execute(f"REVOKE INSERT ON registry_activity_event FROM {WEB_ROLE}")
        try:
            yield
        finally:
            owner.execute(f"GRANT INSERT ON registry_activity_event TO {WEB_ROLE}")
