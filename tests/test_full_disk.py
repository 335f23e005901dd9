"""When the disk is full, messages are refused, so that registries keep them. Later, nothing is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
import requests
from django.db import connection

from tests import services
from tests.pushes import WITH_RECORDER, ids, push, pushes
from tests.running import TIMEOUT, Application, application, poll

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system"),
]
MESSAGES = 2_000
"""More messages than fit into the pages that the database has reserved already."""


@dataclass
class Disk:
    """A disk of its own, in memory."""

    folder: Path

    def fill(self) -> None:
        """Leave no space on the disk but a few pages."""
        self._resize(shutil.disk_usage(self.folder).used + (64 << 10))

    def grow(self) -> None:
        self._resize(1 << 30)

    def _resize(self, size: int) -> None:
        command = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk() -> Iterator[Disk]:
    # PostgreSQL's user can't enter the folders that pytest creates.
    with TemporaryDirectory(prefix="disk-") as name:
        os.chmod(name, 0o755)
        folder = Path(name, "disk")
        folder.mkdir()
        services.check_program(["mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs", str(folder)])
        try:
            yield Disk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def database_on(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let applications keep their database on a disk, and yield the folder for their data and logs."""
    if connection.vendor != "postgresql":
        yield disk.folder / "application"
        return
    with services.postgresql(tmp_path, durable=True, data=disk.folder / "cluster") as url:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("SHARED_DIR", str(tmp_path))
        yield tmp_path


def reserve_log(app: Application) -> None:
    """Begin a new file of PostgreSQL's log, which has its full size from the beginning.

    PostgreSQL stops if it can't create such a file, and starts again when there is space.
    """
    if "DATABASE_URL" in app.environ:
        with psycopg.connect(app.environ["DATABASE_URL"], autocommit=True) as database:
            database.execute("CHECKPOINT")
            database.execute("SELECT pg_switch_wal()")
            database.execute("CREATE TABLE begins_new_file ()")


def deliver_until_refused(app: Application) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Deliver messages until one is refused, and return those that were acknowledged and that one."""
    acknowledged: list[dict[str, Any]] = []
    for _ in range(MESSAGES):
        message = push()
        status = app.notify(json.dumps({"events": [message]})).status_code
        if status >= 300:
            assert status == 503
            return acknowledged, [message]
        acknowledged.append(message)
    raise AssertionError("The disk did not become full.")


def test_full_disk_loses_nothing_and_is_reported(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        database_on(disk, tmp_path, monkeypatch) as folder,
        application(folder, variables=WITH_RECORDER) as app,
    ):
        reserve_log(app)
        disk.fill()
        acknowledged, refused = deliver_until_refused(app)

        health = requests.get(f"{app.url}/healthz", headers=bearer(app), timeout=TIMEOUT)
        assert health.status_code == 503
        (finding,) = health.json()["checks"]["space"]["findings"]
        assert "full" in finding or "No space left" in finding

        with app.program("recorder"):
            disk.grow()
            for message in refused:  # as a registry does
                assert app.notify(json.dumps({"events": [message]})).status_code == 202
            assert poll(app.waiting, 0, timeout=120) == 0

        assert pushes(app) == ids([*acknowledged, *refused])
        assert poll(lambda: checks(app)["space"]["status"], "ok", timeout=60) == "ok"


def bearer(app: Application) -> dict[str, str]:
    return {"Authorization": f"Bearer {app.token('admin')}"}


def checks(app: Application) -> dict[str, Any]:
    return requests.get(f"{app.url}/healthz", headers=bearer(app), timeout=TIMEOUT).json()["checks"]
