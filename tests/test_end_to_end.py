"""What clients do in a real registry shows in the API, on pages and in the admin, to those who may see it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests import services
from tests.running import (
    SECONDS,
    Application,
    application,
    follow,
    follow_tab,
    poll,
    rows,
    sign_in,
    status,
    text,
)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
USERS = {"repoadmin": "secret of repoadmin", "reader": "secret of reader"}  # of the registry

Told = list[tuple[str, str, str]]
"""Events as label, tag and actor, newest first."""


@dataclass
class Registry:
    """A registry that tells an application what happens in it, and its clients."""

    address: str
    image: Path
    app: Application
    markers: Iterator[int] = field(default_factory=count)

    def push(self, name: str, by: str = "repoadmin") -> None:
        self._skopeo("copy", "--dest-creds", by, f"oci:{self.image}", self._at(name))

    def copy(self, name: str, to: str, by: str = "repoadmin") -> None:
        self._skopeo("copy", "--src-creds", by, "--dest-creds", by, self._at(name), self._at(to))

    def pull(self, name: str, to: Path, by: str) -> None:
        self._skopeo("copy", "--src-creds", by, self._at(name), f"dir:{to}")

    def delete(self, name: str, by: str = "repoadmin") -> None:
        self._skopeo("delete", "--creds", by, self._at(name))

    def manifest(self, method: str, name: str, reference: str, by: str) -> requests.Response:
        """Ask for a manifest by tag or digest, as a Docker client does."""
        url = f"http://{self.address}/v2/{name}/manifests/{reference}"
        headers = {"Accept": MANIFEST, "User-Agent": "docker/29.1.2 go/go1.25 os/linux"}
        response = requests.request(method, url, auth=(by, USERS[by]), headers=headers, timeout=SECONDS)
        response.raise_for_status()
        return response

    @property
    def digest(self) -> str:
        """The digest of the image, which every push is of."""
        return json.loads((self.image / "index.json").read_text())["manifests"][0]["digest"]

    def wait_until_all_is_told(self) -> None:
        """Push a marker, and wait for it: notifications are delivered in order."""
        marker = f"marker-{next(self.markers)}"
        self.push(f"acme/docs:{marker}")
        query = {"repository": "acme/docs", "tag": marker}
        assert poll(lambda: len(self.app.events("admin", **query)), 1) == 1

    def _at(self, name: str) -> str:
        return f"docker://{self.address}/{name}"

    def _skopeo(self, verb: str, *arguments: str) -> None:
        program = services.find_program("skopeo", "skopeo")
        with_passwords = [f"{word}:{USERS[word]}" if word in USERS else word for word in arguments]
        sides = {"copy": ["--src-tls-verify=false", "--dest-tls-verify=false"]}
        tls = sides.get(verb, ["--tls-verify=false"])
        command = [program, "--insecure-policy", verb, *tls, *with_passwords]
        subprocess.run(command, check=True, timeout=SECONDS)


def make_image(folder: Path) -> Path:
    """Write an image of one small file, as an OCI layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty-file"))
    layer = blob("layer.v1.tar+gzip", gzip.compress(archive.getvalue(), mtime=0))
    unpacked = hashlib.sha256(archive.getvalue()).hexdigest()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{unpacked}"]}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": [layer],
    }
    index = {"schemaVersion": 2, "manifests": [blob("manifest.v1+json", json.dumps(manifest).encode())]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application")) as app:
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def registry(app: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry configured with what `manage.py registry_config` prints, pasted as it is."""
    image = make_image(tmp_path_factory.mktemp("image"))
    notifications = yaml.safe_load(app.manage("registry_config"))["notifications"]
    folder = tmp_path_factory.mktemp("registry")
    with services.docker_registry(folder, notifications=notifications, users=USERS) as address:
        yield Registry(address, image, app)


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with services.chromium(1280, 900) as browser:
        yield browser


def seen_in_api(app: Application, viewer: str, **query: Any) -> Told:
    events = app.events(viewer, **query)
    return [(event["label"], event["tag"], event["actor"]["label"]) for event in events]


def seen_on_page(driver: Chrome) -> Told:
    return [(row["Label"], row["Tag"], row["Initiated by"]) for row in rows(driver)]


# --- An image's life ----------------------------------------------------------------------------

LIFE_OF_WEB = [
    # Deleting an image takes all its tags with it; skopeo reads the manifest for its digest first.
    ("Delete Tag", "acme/web:v1", "repoadmin"),
    ("Delete Tag", "acme/web:latest", "repoadmin"),
    ("Delete Manifest", "", "repoadmin"),
    ("Get Tag", "acme/web:v1", "repoadmin"),
    ("Get Tag", "acme/web:latest", "reader"),
    # Copying a tag to another reads the one, and writes the other.
    ("Update Tag", "acme/web:v1", "repoadmin"),
    ("Create Manifest", "", "repoadmin"),
    ("Get Tag", "acme/web:latest", "repoadmin"),
    ("Update Tag", "acme/web:latest", "repoadmin"),
    ("Create Manifest", "", "repoadmin"),
]
WITHOUT_PULLS = [event for event in LIFE_OF_WEB if event[0] != "Get Tag"]
ADMIN_ROWS = """
    return [...document.querySelectorAll("#result_list tbody tr")].map(row =>
        ["label", "repository_shown", "tag", "initiated_by"].map(
            name => row.querySelector(`.field-${name}`).innerText))
"""


@pytest.fixture(scope="module")
def life_of_web(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An image is pushed to acme/web, tagged again, pulled and deleted."""
    registry.push("acme/web:latest")
    registry.copy("acme/web:latest", to="acme/web:v1")
    registry.pull("acme/web:latest", to=tmp_path_factory.mktemp("pulled"), by="reader")
    registry.delete("acme/web:v1")
    registry.wait_until_all_is_told()


@pytest.mark.usefixtures("life_of_web")
class TestLifeOfAnImage:
    @pytest.mark.parametrize(
        ("viewer", "expected"),
        [
            ("admin", LIFE_OF_WEB),
            ("auditor", LIFE_OF_WEB),
            ("repoadmin", LIFE_OF_WEB),
            ("reader", WITHOUT_PULLS),
            ("outsider", []),
        ],
    )
    def test_in_the_api(self, app: Application, viewer: str, expected: Told) -> None:
        assert seen_in_api(app, viewer, repository="acme/web") == expected

    def test_in_the_api_of_the_repository(self, app: Application) -> None:
        path = "repositories/acme/web/events/"

        assert [event["label"] for event in app.all(path, "reader")] == [label for label, *_ in WITHOUT_PULLS]
        assert app.get(path, "outsider").status_code == 404

    def test_on_the_page_for_a_repository_admin(self, app: Application, driver: Chrome) -> None:
        sign_in(driver, app, "repoadmin")
        follow(driver, "acme/web")
        follow_tab(driver, "Activity")
        assert poll(lambda: seen_on_page(driver), WITHOUT_PULLS) == WITHOUT_PULLS

        driver.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").click()

        assert poll(lambda: seen_on_page(driver), LIFE_OF_WEB) == LIFE_OF_WEB

    @pytest.mark.parametrize("page", ["/repositories/acme/web/activity/", "/users/reader/"])
    def test_on_pages_for_a_reader_without_pulls(self, app: Application, driver: Chrome, page: str) -> None:
        sign_in(driver, app, "reader")
        for query in ("", "?exclude_pull=false"):
            driver.get(f"{app.url}{page}{query}")

            assert status(driver) == 200
            assert "Exclude pull" not in driver.page_source
            told = [row for row in seen_on_page(driver) if row[0] != "Create Session"]  # one's own
            assert told == ([] if "users" in page else WITHOUT_PULLS)

    def test_not_for_an_outsider(self, app: Application, driver: Chrome) -> None:
        sign_in(driver, app, "outsider")
        assert "acme/docs" in text(driver, "main")
        assert "acme/web" not in text(driver, "main")

        driver.get(f"{app.url}/repositories/acme/web/activity/")

        assert status(driver) == 404
        assert text(driver, "h1") == "There is nothing here that you can see"
        assert "acme" not in text(driver, "body")

    def test_in_the_admin(self, app: Application, driver: Chrome) -> None:
        sign_in(driver, app, "admin")
        follow(driver, "Admin")
        follow(driver, "Events")
        WebDriverWait(driver, SECONDS).until(lambda _: driver.find_elements(By.ID, "searchbar"))
        driver.find_element(By.ID, "searchbar").send_keys("acme/web", Keys.ENTER)

        expected = [
            [label, "acme/web", tag.partition(":")[2] or "-", actor] for label, tag, actor in LIFE_OF_WEB
        ]
        assert poll(lambda: driver.execute_script(ADMIN_ROWS), expected) == expected

    def test_with_the_people_who_did_it(self, app: Application, driver: Chrome) -> None:
        sign_in(driver, app, "repoadmin")
        driver.get(f"{app.url}/repositories/acme/web/activity/?exclude_pull=false")

        follow(driver, "reader")
        assert poll(lambda: text(driver, "h1"), "reader") == "reader"
        driver.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").click()

        pull = ("Get Tag", "acme/web:latest", "reader")
        assert poll(lambda: seen_on_page(driver), [pull]) == [pull]


# --- Pulls by Docker clients --------------------------------------------------------------------


def test_a_pull_that_looks_the_tag_up_first_is_one_of_the_tag(app: Application, registry: Registry) -> None:
    registry.push("acme/pulled-by-tag:v1")
    found = registry.manifest("HEAD", "acme/pulled-by-tag", "v1", by="reader")
    registry.manifest("GET", "acme/pulled-by-tag", found.headers["Docker-Content-Digest"], by="reader")
    registry.wait_until_all_is_told()

    pulls = app.events("admin", repository="acme/pulled-by-tag", category="pull")
    assert [(pull["label"], pull["tag"], pull["digest"], pull["actor"]["label"]) for pull in pulls] == [
        ("Get Tag", "acme/pulled-by-tag:v1", registry.digest, "reader")
    ]


def test_a_look_up_alone_is_no_pull(app: Application, registry: Registry) -> None:
    registry.push("acme/looked-up:v1")
    registry.manifest("HEAD", "acme/looked-up", "v1", by="reader")
    registry.wait_until_all_is_told()

    assert app.events("admin", repository="acme/looked-up", category="pull") == []


def test_a_pull_by_digest_is_one_of_the_manifest(app: Application, registry: Registry) -> None:
    registry.push("acme/pulled-by-digest:v1")
    registry.manifest("GET", "acme/pulled-by-digest", registry.digest, by="reader")
    registry.wait_until_all_is_told()

    pulls = app.events("admin", repository="acme/pulled-by-digest", category="pull")
    assert [(pull["label"], pull["tag"], pull["digest"], pull["actor"]["label"]) for pull in pulls] == [
        ("Get Manifest", "", registry.digest, "reader")
    ]


# --- Repositories seen for the first time -------------------------------------------------------


def test_a_repository_never_seen_is_registered_for_administrators_alone(
    app: Application, registry: Registry
) -> None:
    registry.push("newcorp/team/app:v1")
    registry.push("newcorp/team/app:v2")
    registry.wait_until_all_is_told()

    for overseer in ("admin", "auditor"):
        assert seen_in_api(app, overseer, repository="newcorp/team/app") == [
            ("Update Tag", "newcorp/team/app:v2", "repoadmin"),
            ("Create Manifest", "", "repoadmin"),
            ("Update Tag", "newcorp/team/app:v1", "repoadmin"),
            ("Create Manifest", "", "repoadmin"),
            ("Create Repository", "", "repoadmin"),
        ]
    for other in ("repoadmin", "reader", "outsider"):
        assert seen_in_api(app, other, repository="newcorp/team/app") == []
        assert app.get("repositories/newcorp/team/app/events/", other).status_code == 404
    (repository,) = [row for row in app.all("repositories/", "admin") if row["namespace"] == "newcorp"]
    assert (repository["name"], repository["visibility"]) == ("newcorp/team/app", "private")


def test_a_new_namespace_is_shown_as_unclaimed(app: Application, registry: Registry, driver: Chrome) -> None:
    registry.push("newcomer/app:v1")
    registry.wait_until_all_is_told()

    sign_in(driver, app, "admin")

    shown = driver.execute_script(
        "return [...document.querySelectorAll('main li')].map(row => row.innerText)"
    )
    (row,) = (row for row in shown if "newcomer" in row)
    assert row.split()[:3] == ["newcomer/app", "Private", "unclaimed"]


def test_a_repository_without_a_namespace_is_shown_by_its_one_name(
    app: Application, registry: Registry, driver: Chrome
) -> None:
    registry.push("busybox:1.36")
    registry.wait_until_all_is_told()

    sign_in(driver, app, "admin")
    follow(driver, "busybox")
    follow_tab(driver, "Activity")

    assert poll(lambda: text(driver, "h1"), "busybox Private") == "busybox Private"
    assert [(row["Label"], row["Repository"], row["Tag"]) for row in rows(driver)] == [
        ("Update Tag", "busybox", "busybox:1.36"),
        ("Create Manifest", "busybox", ""),
        ("Create Repository", "busybox", ""),
    ]
