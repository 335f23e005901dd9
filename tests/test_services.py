"""The external programs that the tests start: the databases, the registry, containerd and the browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests
from redis import Redis
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests import services
from tests.plugin import skip_if_program_unavailable

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("durable", "fsync"), [(False, "off"), (True, "on")])
def test_postgresql_runs_during_the_block(tmp_path: Path, durable: bool, fsync: str) -> None:
    with services.postgresql(tmp_path, durable=durable) as url, psycopg.connect(url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == (fsync,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_redis_runs_without_snapshots(redis_url: str) -> None:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.set("key", "value")
        assert client.get("key") == "value"
        assert client.config_get("save") == {"save": ""}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with services.docker_registry(folder, users={"alice": "correct horse"}) as address:
        yield address


@pytest.mark.parametrize(
    ("password", "status"),
    [(None, 401), ("wrong", 401), ("correct horse", 200)],
    ids=["none", "wrong", "right"],
)
def test_registry_requires_a_password(registry: str, password: str | None, status: int) -> None:
    auth = ("alice", password) if password else None
    assert requests.get(f"http://{registry}/v2/", auth=auth, timeout=10).status_code == status


def test_error_of_a_failed_program_includes_its_output(tmp_path: Path) -> None:
    registry = services.docker_registry(tmp_path, notifications={"endpoints": "none"}, users={})
    message = r"docker-registry ended with status 1(.|\n)* cannot unmarshal"
    with pytest.raises(RuntimeError, match=message), registry:
        pass


def test_error_for_a_missing_program_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = "^redis-server is not installed: apt-get install redis-server$"
    with pytest.raises(services.MissingService, match=message), services.redis(tmp_path):
        pass


def test_containerd_answers_its_client(tmp_path: Path) -> None:
    ctr = services.find_program("ctr", "containerd")
    with services.containerd(tmp_path) as socket:
        services.check_program([ctr, f"--address={socket}", "version"])
    with pytest.raises(services.UnusableProgram, match=r"^ctr can't run on this machine: "):
        services.check_program([ctr, f"--address={socket}", "version"])


def test_containerd_without_the_rights_it_needs_is_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "containerd"
    program.write_text("#!/bin/sh\necho 'mount: operation not permitted' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    message = r"^containerd can't run on this machine: (.|\n)*mount: operation not permitted"
    with pytest.raises(services.UnusableProgram, match=message), services.containerd(tmp_path):
        pass


@pytest.mark.parametrize("required", ["0", "1"])
def test_unusable_program_is_reported_and_its_tests_are_skipped(
    monkeypatch: pytest.MonkeyPatch, required: str
) -> None:
    monkeypatch.setenv("REQUIRE_SERVICES", required)
    message = "^Not tested: podman can't run on this machine: no rights$"

    with (
        pytest.warns(UserWarning, match=message),
        pytest.raises(pytest.skip.Exception, match=message),
        skip_if_program_unavailable(),
    ):
        raise services.UnusableProgram("/usr/bin/podman", "no rights\n")


def test_chromium_opens_a_page(driver: Chrome) -> None:
    driver.get("data:text/html,<title>Hello</title>")
    assert driver.title == "Hello"
    assert driver.execute_script("return [innerWidth, innerHeight]") == [1280, 900]


def test_chromium_emulates_a_dark_phone_without_scripts() -> None:
    page = "data:text/html,<noscript><p>No script</p></noscript><script>document.title = 'Ran'</script>"
    with services.chromium(375, 667, dark=True, javascript=False) as driver:
        driver.get(page)
        assert driver.title == ""
        assert driver.find_element(By.TAG_NAME, "p").text == "No script"
        is_dark = "return [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"
        assert driver.execute_script(is_dark) == [375, True]
