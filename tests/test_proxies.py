"""Behind a reverse proxy: whose headers are believed, and what is answered over plain HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from django.test import Client

from activity.models import Event
from repositories.accounts import passwords
from tests import factories
from tests.running import TIMEOUT, Application, application

ROOT = Path(__file__).parent.parent
PUBLIC_URL = "https://audit.example.com"
VARIABLES = {"PUBLIC_URL": PUBLIC_URL, "ALLOWED_HOSTS": "127.0.0.1"}
PROXY = "10.0.0.1"
CLIENT = "198.51.100.7"
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": CLIENT}
API = [
    ("GET", "events/"),
    ("GET", "events"),
    ("HEAD", "events/"),
    ("OPTIONS", "events/"),
    ("GET", "repositories/"),
    ("GET", "notifications/registry"),
    ("GET", "schema/"),
    ("GET", "docs/"),
    ("POST", "repositories/"),
    ("GET", "nowhere/"),
]


@pytest.fixture
def trusted(settings: Any) -> None:
    settings.TRUSTED_PROXIES = [ip_network(f"{PROXY}/32"), ip_network("10.1.0.0/16"), ip_network("fd00::/8")]


def recorded_address(client: Client, forwarded: str | None) -> str | None:
    """Cause an event, and return the client address in it."""
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    client.post("/accounts/login/", {"username": str(uuid4()), "password": "wrong"}, headers=headers)
    return Event.objects.filter(kind="create_session_failed").latest("id").details.get("client_address")


@pytest.mark.audited
@pytest.mark.django_db
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("connected", "forwarded", "address"),
    [
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"203.0.113.9, {CLIENT}", CLIENT),  # a client can forge the first address
        (PROXY, f"203.0.113.9,{CLIENT} , 10.1.2.3", CLIENT),  # two proxies
        (PROXY, "2001:db8::1", "2001:db8::1"),
        ("fd00::1", CLIENT, CLIENT),
        (f"::ffff:{PROXY}", f"::ffff:{CLIENT}", CLIENT),  # the server listens on IPv6 for both
        (PROXY, None, PROXY),
        (PROXY, "<script>", None),
        (PROXY, f"{CLIENT}, unknown", None),
        ("10.0.0.2", CLIENT, "10.0.0.2"),
        ("2001:db8::1", CLIENT, "2001:db8::1"),
        ("", CLIENT, None),
    ],
    ids=str,
)
def test_client_address_is_the_one_that_a_trusted_proxy_saw(
    connected: str, forwarded: str | None, address: str | None
) -> None:
    assert recorded_address(Client(REMOTE_ADDR=connected), forwarded) == address


@pytest.mark.django_db
def test_forged_addresses_do_not_avoid_the_limit_of_failed_logins() -> None:
    statuses = [
        Client(REMOTE_ADDR=CLIENT)
        .post(
            "/accounts/login/",
            {"username": "jane", "password": "wrong"},
            headers={"X-Forwarded-For": f"203.0.113.{number}"},
        )
        .status_code
        for number in range(passwords.BY_NAME_AND_NETWORK.allowed + 1)
    ]

    assert statuses[-1] == 429


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("application")
    with application(folder, variables=VARIABLES) as app:
        yield app


@pytest.mark.long
class TestHttps:
    """The web server of a site whose public URL begins with https."""

    def request(self, app: Application, method: str, path: str, **headers: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {app.token('admin')}"} | headers
        url = f"{app.url}{path}"
        return requests.request(method, url, headers=headers, timeout=TIMEOUT, allow_redirects=False)

    @pytest.mark.parametrize(("method", "path"), API)
    def test_api_reads_out_nothing_over_plain_http(self, app: Application, method: str, path: str) -> None:
        response = self.request(app, method, f"/api/v0/{path}")

        assert (response.status_code, response.headers["Content-Type"]) == (403, "application/problem+json")
        if method != "HEAD":
            assert response.json()["detail"] == f"Use {PUBLIC_URL}/api/v0/{path}."

    def test_api_answers_requests_that_arrived_at_the_proxy_over_https(self, app: Application) -> None:
        assert self.request(app, "GET", "/api/v0/events/", **FORWARDED).status_code == 200

    def test_pages_redirect_to_https(self, app: Application) -> None:
        response = self.request(app, "GET", "/repositories/")

        assert response.status_code == 301
        assert response.headers["Location"].startswith("https://")

    @pytest.mark.parametrize("path", ["notifications/registry", "notifications/registry/"])
    def test_notifications_are_recorded_over_plain_http(self, app: Application, path: str) -> None:
        headers = {"Authorization": f"Bearer {app.token('registry')}"}
        message = {"events": [factories.notification(id=str(uuid4()))]}

        response = requests.post(
            f"{app.url}/api/v0/{path}", json=message, headers=headers, timeout=TIMEOUT, allow_redirects=False
        )

        assert response.status_code == 200
        assert response.json() == {"events": 2, "dead_letters": 0}

    @pytest.mark.parametrize("path", ["events", "events/"])
    def test_posted_events_are_recorded_over_plain_http(self, app: Application, path: str) -> None:
        headers = {"Authorization": f"Bearer {app.token('registry')}"}
        event = {
            "id": str(uuid4()),
            "kind": "delete_tag",
            "repository": "acme/web",
            "tag": "v1",
            "occurred_at": "2026-11-22T12:00:00Z",
        }

        response = requests.post(
            f"{app.url}/api/v0/{path}", json=event, headers=headers, timeout=TIMEOUT, allow_redirects=False
        )

        assert response.status_code == 201
        assert response.json()["id"]

    @pytest.mark.long
    def test_only_trusted_proxies_can_say_that_a_request_used_https(self, tmp_path: Path) -> None:
        with application(tmp_path, variables={**VARIABLES, "TRUSTED_PROXIES": PROXY}) as app:
            assert self.request(app, "GET", "/api/v0/events/", **FORWARDED).status_code == 403
            assert self.request(app, "GET", "/repositories/", **FORWARDED).status_code == 301


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, []),
        ({"BIND": "127.0.0.1,[::1],localhost"}, []),
        ({"BIND": "127.0.0.1,172.17.0.1"}, ["msr_project.I003"]),
        ({"BIND": "0.0.0.0"}, ["msr_project.I003"]),
        ({"BIND": "[::]"}, ["msr_project.I003"]),
        ({"TRUSTED_PROXIES": "10.0.0.0/8,fd00::1"}, []),
        ({"TRUSTED_PROXIES": ""}, ["msr_project.W001"]),
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, ["msr_project.W002"]),
        ({"TRUSTED_PROXIES": "10.0.0.1,::/0"}, ["msr_project.W002"]),
    ],
    ids=str,
)
@pytest.mark.long
def test_deployment_check_says_who_can_connect_and_who_is_trusted(
    tmp_path: Path, variables: dict[str, str], found: list[str]
) -> None:
    environ = {"PUBLIC_URL": PUBLIC_URL, "DATA_DIR": str(tmp_path), "PATH": os.environ["PATH"], **variables}

    check = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    ids = ("msr_project.W001", "msr_project.W002", "msr_project.I003")
    assert [id for id in ids if id in check.stderr] == found
