"""The application on an ASGI server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests import services
from tests.running import ADD_LARGE_EVENTS, PROJECT, TIMEOUT, Application, application, poll

pytestmark = pytest.mark.long


@contextmanager
def asgi_server(app: Application) -> Iterator[str]:
    """Run an ASGI server for an application, and yield its URL."""
    port = services.free_port()
    url = f"http://{services.LOOPBACK}:{port}"
    command = [
        str(Path(sys.executable).with_name("uvicorn")),
        *("--factory", "django.core.asgi:get_asgi_application", "--port", str(port)),
    ]
    environ = app.environ | app.web_environ | {"DJANGO_SETTINGS_MODULE": "msr_project.settings"}
    with services.running(
        command, app.folder, lambda: requests.head(url, timeout=5), cwd=PROJECT, env=environ
    ):
        yield url


def export_states(app: Application) -> list[str]:
    """Return the states of the exports that the trail has recorded, oldest first."""
    found = app.get("events/", "admin", search="kind:export_events", sort="time").json()["results"]
    return [event["details"]["state"] for event in found]


def test_export_is_sent_while_it_is_read(tmp_path: Path) -> None:
    with application(tmp_path) as app:
        app.shell(ADD_LARGE_EVENTS)
        headers = {"Authorization": f"Bearer {app.token('admin')}"}
        with (
            asgi_server(app) as url,
            requests.get(
                f"{url}/api/v0/events/export/", headers=headers, stream=True, timeout=TIMEOUT
            ) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            assert export_states(app) == ["started"]
            assert sum(1 for _ in lines) >= 5_999
            assert poll(lambda: export_states(app), ["started", "complete"]) == ["started", "complete"]
