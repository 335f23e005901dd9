"""Several web servers and recorders share one database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from django.db import connection

from tests import services
from tests.factories import notification
from tests.running import Application, application, poll

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite is for one machine"),
]
TAGS = [f"v{number}" for number in range(200)]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Application, Application]]:
    """Two web servers with one database."""
    with ExitStack() as stack:
        first = stack.enter_context(application(tmp_path / "first", variables={"RECORD_IN_REQUEST": "false"}))
        port = services.free_port()
        url = f"http://{services.LOOPBACK}:{port}"
        environ = first.environ | {"PORT": str(port), "PUBLIC_URL": url}
        folder = tmp_path / "second"
        folder.mkdir()
        second = replace(first, url=url, folder=folder, environ=environ)
        stack.enter_context(second.program("web", lambda: requests.head(f"{url}/accounts/login/", timeout=5)))
        yield first, second


def push(node: Application, tag: str) -> None:
    event = notification(id=tag, target={"repository": "acme/web", "tag": tag})
    node.notify(json.dumps({"events": [event]})).raise_for_status()


def pushed(node: Application) -> list[str]:
    """Return the tags that were pushed, in alphabetical order, each as often as it was recorded."""
    return sorted(event["tag"] for event in node.events("admin", type="UPDATE", repository="acme/web"))


def test_web_servers_accept_and_show_the_same_events_and_a_second_recorder_takes_over(
    nodes: tuple[Application, Application],
) -> None:
    first, second = nodes
    expected = sorted(f"acme/web:{tag}" for tag in TAGS)
    with (
        first.program("recorder") as active,
        second.program("recorder"),
        ThreadPoolExecutor(4) as clients,
    ):
        accepted = [clients.submit(push, nodes[number % 2], tag) for number, tag in enumerate(TAGS)]
        accepted[len(TAGS) // 2].result()
        active.kill()
        for each in accepted:
            each.result()

        assert poll(lambda: pushed(first), expected) == expected
        assert pushed(second) == expected


def test_token_revoked_on_one_web_server_is_soon_refused_by_the_other(
    nodes: tuple[Application, Application],
) -> None:
    first, second = nodes
    push(second, "before")

    first.shell("from repositories.models import AccessToken; AccessToken.objects.all().delete()")

    assert poll(lambda: second.notify('{"events": []}').status_code, 401) == 401
