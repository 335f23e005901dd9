"""Start the programs to measure: the application's web server and recorder, and the bare site."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests import services

PROJECT = Path(__file__).resolve().parents[2]
PROJECT_SETTINGS = "msr_project.settings"
Address = tuple[str, int]


@contextmanager
def web_server(folder: Path, application: str = "") -> Iterator[Address]:
    """Run the Procfile's web server, by default with the project's own application."""
    port = services.free_port()
    command = [*_procfile()["web"], *([application] if application else [])]
    logs = folder / f"web-{port}"
    logs.mkdir()
    environ = {**os.environ, "PORT": str(port), "DJANGO_SETTINGS_MODULE": PROJECT_SETTINGS}
    with services.running(command, logs, lambda: _connect(port), cwd=PROJECT, env=environ):
        yield services.LOOPBACK, port


@contextmanager
def recorder(folder: Path) -> Iterator[None]:
    """Run the Procfile's recorder."""
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": PROJECT_SETTINGS}
    with services.running(_procfile()["recorder"], folder, lambda: None, cwd=PROJECT, env=environ):
        yield


@contextmanager
def slow_disk() -> Iterator[None]:
    """Make each commit wait 2 ms for the disk, which is what a network volume takes."""
    set_commit_delay(2_000)
    try:
        yield
    finally:
        set_commit_delay(0)


def set_commit_delay(microseconds: int) -> None:
    """Set how long each commit waits in addition, whether or not others commit at the same time."""
    settings = {"commit_delay": microseconds, "commit_siblings": 0 if microseconds else 5}
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        for name, value in settings.items():
            database.execute(f"ALTER SYSTEM SET {name} = {value}")
        database.execute("SELECT pg_reload_conf()")


def _connect(port: int) -> None:
    socket.create_connection((services.LOOPBACK, port), timeout=5).close()


def _procfile() -> dict[str, list[str]]:
    commands = {}
    for line in (PROJECT / "Procfile").read_text().splitlines():
        name, _, command = line.partition(": ")
        program, *options = shlex.split(command)
        commands[name] = [str(Path(sys.executable).with_name(program)), *options]
    return commands
