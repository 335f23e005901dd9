"""Real clients use a real registry, and the application records what their users did."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests import images, services
from tests.clients import Client, Ctr, Curl, Podman, Skopeo
from tests.connected_registry import Registry, connected_registry
from tests.running import Application, application, rows, sign_in

CLIENTS: dict[str, type[Client]] = {"ctr": Ctr, "curl": Curl, "podman": Podman, "skopeo": Skopeo}
PUSHING_CLIENTS = ["ctr", "podman", "skopeo"]

pytestmark = pytest.mark.long

Start = Callable[[str], Any]
Events = list[tuple[str, str, str, str]]
"""The label, the tag, the digest and the actor of each event."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application")) as app:
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def registry(app: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry in which some repositories existed before it was connected."""
    existing = [f"existing/{name}:v1" for name in [*CLIENTS, "deleted", "looked-up"]]
    with connected_registry(app, tmp_path_factory.mktemp("registry"), existing=existing) as registry:
        yield registry


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of an index with images for two platforms."""
    return images.create_index(tmp_path_factory.mktemp("index"), "amd64", "arm64")


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.containerd(tmp_path_factory.mktemp("containerd")) as socket:
        yield socket


@pytest.fixture
def start(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Start:
    """Return a function that creates a client by its name, on a machine of its own."""

    def start(name: str) -> Client:
        options = {"socket": request.getfixturevalue("containerd")} if name == "ctr" else {}
        client = CLIENTS[name](registry.address, tmp_path_factory.mktemp(name), **options)
        client.check()
        return client

    return start


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest, start: Start) -> Client:
    return start(request.param)


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """The name of a repository that only this test uses."""
    return "clients/" + re.sub(r"[^a-z]+", "-", request.node.name).strip("-")


@pytest.fixture(scope="module")
def driver(app: Application) -> Iterator[Chrome]:
    """A browser in which an MSR admin is logged in."""
    with services.chromium(1280, 900) as browser:
        sign_in(browser, app, "admin")
        yield browser


def recorded(registry: Registry, repository: str, **query: Any) -> list[dict[str, Any]]:
    """Wait for all notifications, and return the repository's events from the API, oldest first."""
    registry.wait_for_notifications()
    return registry.app.events("admin", repository=repository, **query)[::-1]


def events(registry: Registry, repository: str, **query: Any) -> Events:
    return [
        (event["label"], event["tag"].partition(":")[2], event["digest"], event["actor"]["label"])
        for event in recorded(registry, repository, **query)
    ]


def tags_tab(driver: Chrome, app: Application, repository: str) -> dict[str, dict[str, str]]:
    """Return the rows of the Tags tab, as dicts keyed by column label, by their tag."""
    driver.get(f"{app.url}/repositories/{repository}/tags/")
    return {row["Tag"]: row for row in rows(driver)}


def counted_pulls(driver: Chrome, app: Application, image: str) -> tuple[int, int]:
    """Return the number of pulls on the Tags tab, and in the chart of the Activity tab."""
    repository, _, tag = image.partition(":")
    on_tags_tab = int(tags_tab(driver, app, repository)[tag]["Pulls"])
    driver.get(f"{app.url}/repositories/{repository}/activity/?exclude_pull=false")
    legend = [item.text.rsplit(maxsplit=1) for item in driver.find_elements(By.CSS_SELECTOR, ".legend li")]
    return on_tags_tab, int(dict(legend)["Pull"])


# --- Who created a repository -------------------------------------------------------------------


class TestRepositoryThatExistedBefore:
    def test_is_known_after_the_first_pull_but_was_not_created_by_it(
        self, registry: Registry, client: Client
    ) -> None:
        repository = f"existing/{type(client).__name__.lower()}"
        pull = ("Get Tag", "v1", registry.digest, "reader")

        client.pull(f"{repository}:v1", by="reader")

        assert events(registry, repository) == [pull]
        known = [row["name"] for row in registry.app.get_all("repositories/", "admin")]
        assert repository in known

        registry.skopeo.push(registry.image, f"{repository}:v2")

        assert events(registry, repository) == [
            pull,
            ("Create Manifest", "", registry.digest, "repoadmin"),
            ("Update Tag", "v2", registry.digest, "repoadmin"),
        ]

    def test_was_not_created_by_its_first_deletion(self, registry: Registry, start: Start) -> None:
        start("curl").delete(f"existing/deleted@{registry.digest}", by="repoadmin")

        assert events(registry, "existing/deleted") == [
            ("Delete Manifest", "", registry.digest, "repoadmin"),
            ("Delete Tag", "v1", "", "repoadmin"),
        ]


@pytest.mark.parametrize("name", PUSHING_CLIENTS)
def test_first_push_creates_the_repository(
    registry: Registry, start: Start, name: str, repository: str
) -> None:
    start(name).push(registry.image, f"{repository}:v1", by="reader")

    created, *pushed = recorded(registry, repository)
    assert (created["label"], created["actor"]["label"]) == ("Create Repository", "reader")
    assert [event["label"] for event in pushed] == ["Create Manifest", "Update Tag"]


# --- The tag of a pull --------------------------------------------------------------------------


class TestTagOfPull:
    def test_pull_by_tag(self, registry: Registry, client: Client, repository: str) -> None:
        registry.skopeo.push(registry.image, f"{repository}:v1")
        client.pull(f"{repository}:v1", by="reader")

        assert events(registry, repository, category="pull") == [("Get Tag", "v1", registry.digest, "reader")]

    def test_pull_by_digest_has_no_tag(self, registry: Registry, client: Client, repository: str) -> None:
        registry.skopeo.push(registry.image, f"{repository}:v1")
        client.pull(f"{repository}@{registry.digest}", by="reader")

        assert events(registry, repository, category="pull") == [
            ("Get Manifest", "", registry.digest, "reader")
        ]

    def test_pull_by_digest_is_not_of_the_tag_that_another_person_looked_up(
        self, registry: Registry, client: Client, repository: str, start: Start
    ) -> None:
        registry.skopeo.push(registry.image, f"{repository}:v1")
        start("curl").look_up(f"{repository}:v1", by="reader")
        client.pull(f"{repository}@{registry.digest}", by="repoadmin")

        assert events(registry, repository, category="pull") == [
            ("Get Manifest", "", registry.digest, "repoadmin")
        ]

    def test_pull_by_digest_is_not_of_the_tag_that_another_program_looked_up(
        self, registry: Registry, client: Client, repository: str
    ) -> None:
        registry.skopeo.push(registry.image, f"{repository}:v1")
        registry.request_manifest("HEAD", repository, "v1", by="reader")
        client.pull(f"{repository}@{registry.digest}", by="reader")

        assert events(registry, repository, category="pull") == [
            ("Get Manifest", "", registry.digest, "reader")
        ]

    def test_pull_by_digest_is_not_of_the_tag_that_another_machine_pulled(
        self, registry: Registry, start: Start, repository: str
    ) -> None:
        registry.skopeo.push(registry.image, f"{repository}:v1")
        start("ctr").pull(f"{repository}:v1", by="reader")
        start("ctr").pull(f"{repository}@{registry.digest}", by="reader")

        assert events(registry, repository, category="pull") == [
            ("Get Tag", "v1", registry.digest, "reader"),
            ("Get Manifest", "", registry.digest, "reader"),
        ]

    def test_two_people_pull_two_tags_of_one_image_at_once(
        self, registry: Registry, start: Start, repository: str
    ) -> None:
        pulls = {"reader": "v1", "repoadmin": "latest"}
        for tag in pulls.values():
            registry.skopeo.push(registry.image, f"{repository}:{tag}")
        machines = {user: start("ctr") for user in pulls}

        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda user: machines[user].pull(f"{repository}:{pulls[user]}", by=user), pulls))

        assert sorted(events(registry, repository, category="pull")) == [
            ("Get Tag", "latest", registry.digest, "repoadmin"),
            ("Get Tag", "v1", registry.digest, "reader"),
        ]


# --- Images for several platforms ---------------------------------------------------------------


class TestMultiPlatformImage:
    def test_pull_is_one_pull(
        self, registry: Registry, client: Client, index: Path, repository: str, driver: Chrome
    ) -> None:
        registry.skopeo.push(index, f"{repository}:multi")
        client.pull(f"{repository}:multi", by="reader", architecture="arm64")

        assert events(registry, repository, category="pull") == [
            ("Get Tag", "multi", images.digest(index), "reader"),
            ("Get Manifest", "multi", images.digest(index, "arm64"), "reader"),
        ]
        of_index, of_platform = recorded(registry, repository, category="pull")
        assert (of_index["pull"], of_platform["pull"]) == (None, of_index["id"])
        assert counted_pulls(driver, registry.app, f"{repository}:multi") == (1, 1)

    def test_pull_for_another_platform_is_another_pull(
        self, registry: Registry, start: Start, index: Path, repository: str, driver: Chrome
    ) -> None:
        """The machine has stored the index, so it requests only the image for the other platform."""
        registry.skopeo.push(index, f"{repository}:multi")
        machine = start("ctr")
        machine.pull(f"{repository}:multi", by="reader", architecture="amd64")
        machine.pull(f"{repository}:multi", by="reader", architecture="arm64")

        assert events(registry, repository, category="pull") == [
            ("Get Tag", "multi", images.digest(index), "reader"),
            ("Get Manifest", "multi", images.digest(index, "amd64"), "reader"),
            ("Get Tag", "multi", images.digest(index, "arm64"), "reader"),
        ]
        assert counted_pulls(driver, registry.app, f"{repository}:multi") == (2, 2)

    def test_pull_by_a_client_that_does_not_accept_indexes_is_one_pull(
        self, registry: Registry, start: Start, index: Path, repository: str, driver: Chrome
    ) -> None:
        """The registry responds with the image for amd64, and reports pulls of the index and of the image."""
        registry.skopeo.push(index, f"{repository}:multi", media_types="v2s2")
        start("curl").pull(f"{repository}:multi", by="reader", media_types=images.DOCKER_MANIFEST)

        of_index, of_platform = recorded(registry, repository, category="pull")
        assert [event["tag"] for event in (of_index, of_platform)] == [f"{repository}:multi"] * 2
        assert (of_index["pull"], of_platform["pull"]) == (None, of_index["id"])
        assert counted_pulls(driver, registry.app, f"{repository}:multi") == (1, 1)


# --- Attachments --------------------------------------------------------------------------------


def test_tags_tab_shows_signatures_and_referrers_under_their_image(
    registry: Registry, index: Path, repository: str, driver: Chrome, tmp_path: Path
) -> None:
    subject = images.described(registry.image)
    referrers = f"{repository}:{subject['digest'].replace(':', '-')}"
    registry.skopeo.push(index, f"{repository}:multi")
    registry.skopeo.push(registry.image, f"{repository}:v1")
    registry.skopeo.push(images.create_referrers(tmp_path / "referrers", subject), referrers)
    registry.skopeo.push(images.create_signature(tmp_path / "signature"), f"{referrers}.sig")
    registry.wait_for_notifications()

    driver.get(f"{registry.app.url}/repositories/{repository}/tags/")

    assert [(row.get("Tag"), row.get("Attached")) for row in rows(driver)] == [
        ("v1", None),
        (None, "Referrers"),
        (None, "Signature"),
        ("multi", None),
    ]


# --- Tags that are used, but not pulled ---------------------------------------------------------


class TestLookUp:
    """A client that has stored the image, or that only asks for its digest, sends only a HEAD request."""

    @pytest.mark.parametrize("name", ["ctr", "curl"])
    def test_look_up_is_no_event_but_its_time_is_kept(
        self, registry: Registry, start: Start, name: str, repository: str, driver: Chrome
    ) -> None:
        for tag in ("v1", "latest", "unused"):
            registry.skopeo.push(registry.image, f"{repository}:{tag}")
        machine = start(name)
        machine.pull(f"{repository}:v1", by="reader")
        if name == "ctr":
            machine.pull(f"{repository}:latest", by="reader")
        else:
            machine.look_up(f"{repository}:latest", by="reader")

        assert events(registry, repository, category="pull") == [("Get Tag", "v1", registry.digest, "reader")]
        tags = tags_tab(driver, registry.app, repository)
        assert (tags["latest"]["Last pulled"], tags["latest"]["Pulls"]) == ("never", "0")
        assert tags["latest"]["Last requested"] != "never"
        assert tags["unused"]["Last requested"] == "never"

    def test_look_up_in_an_unknown_repository_is_no_event(self, registry: Registry, start: Start) -> None:
        start("curl").look_up("existing/looked-up:v1", by="reader")

        assert events(registry, "existing/looked-up") == []
