"""Events from a real registry appear in the API, on the pages and in the admin, as permissions allow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests import services
from tests.connected_registry import Registry, connected_registry
from tests.running import (
    TIMEOUT,
    Application,
    application,
    click_link,
    click_tab,
    poll,
    rows,
    sign_in,
    status,
    text,
)

pytestmark = pytest.mark.long

Events = list[tuple[str, str, str]]
"""The label, tag and actor of each event, newest first."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application")) as app:
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def registry(app: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with connected_registry(app, tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with services.chromium(1280, 900) as browser:
        yield browser


def events_in_api(app: Application, viewer: str, **query: Any) -> Events:
    events = app.events(viewer, **query)
    return [(event["label"], event["tag"], event["actor"]["label"]) for event in events]


def events_on_page(driver: Chrome) -> Events:
    return [(row["Label"], row["Tag"], row["Initiated by"]) for row in rows(driver)]


# --- Life of an image ---------------------------------------------------------------------------

ALL_EVENTS = [
    # Before skopeo deletes an image, it gets the manifest to find out its digest. Deleting the image also
    # deletes all its tags.
    ("Delete Tag", "acme/web:v1", "repoadmin"),
    ("Delete Tag", "acme/web:latest", "repoadmin"),
    ("Delete Manifest", "", "repoadmin"),
    ("Get Tag", "acme/web:v1", "repoadmin"),
    ("Get Tag", "acme/web:latest", "reader"),
    # To copy a tag, skopeo gets its manifest and pushes it with the new tag.
    ("Update Tag", "acme/web:v1", "repoadmin"),
    ("Create Manifest", "", "repoadmin"),
    ("Get Tag", "acme/web:latest", "repoadmin"),
    ("Update Tag", "acme/web:latest", "repoadmin"),
    ("Create Manifest", "", "repoadmin"),
]
WITHOUT_PULLS = [event for event in ALL_EVENTS if event[0] != "Get Tag"]
ADMIN_ROWS = """
    return [...document.querySelectorAll("#result_list tbody tr")].map(row =>
        ["headline", "repository_column", "tag_column", "initiated_by"].map(
            name => row.querySelector(`.field-${name}`).innerText))
"""


@pytest.fixture(scope="module")
def life_of_image(registry: Registry) -> None:
    """Push an image to acme/web, give it a second tag, pull it and delete it."""
    registry.skopeo.push(registry.image, "acme/web:latest")
    registry.skopeo.copy("acme/web:latest", to="acme/web:v1")
    registry.skopeo.pull("acme/web:latest", by="reader")
    registry.skopeo.delete("acme/web:v1")
    registry.wait_for_notifications()


@pytest.mark.usefixtures("life_of_image")
class TestLifeOfAnImage:
    @pytest.mark.parametrize(
        ("viewer", "expected"),
        [
            ("admin", ALL_EVENTS),
            ("auditor", ALL_EVENTS),
            ("repoadmin", ALL_EVENTS),
            ("reader", WITHOUT_PULLS),
            ("outsider", []),
        ],
    )
    def test_events_api_shows_only_visible_events(
        self, app: Application, viewer: str, expected: Events
    ) -> None:
        assert events_in_api(app, viewer, repository="acme/web") == expected

    def test_repository_api_shows_only_visible_events(self, app: Application) -> None:
        path = "repositories/acme/web/events/"

        assert [event["label"] for event in app.get_all(path, "reader")] == [
            label for label, *_ in WITHOUT_PULLS
        ]
        assert app.get(path, "outsider").status_code == 404

    def test_activity_tab_shows_pulls_to_repository_admin_on_request(
        self, app: Application, driver: Chrome
    ) -> None:
        sign_in(driver, app, "repoadmin")
        click_link(driver, "acme/web")
        click_tab(driver, "Activity")
        assert poll(lambda: events_on_page(driver), WITHOUT_PULLS) == WITHOUT_PULLS

        driver.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").click()

        assert poll(lambda: events_on_page(driver), ALL_EVENTS) == ALL_EVENTS

    @pytest.mark.parametrize("page", ["/repositories/acme/web/activity/", "/users/reader/"])
    def test_pages_show_no_pulls_to_reader(self, app: Application, driver: Chrome, page: str) -> None:
        sign_in(driver, app, "reader")
        for query in ("", "?exclude_pull=false"):
            driver.get(f"{app.url}{page}{query}")

            assert status(driver) == 200
            assert "Exclude pull" not in driver.page_source
            # Ignore the reader's own logins.
            shown = [row for row in events_on_page(driver) if row[0] != "Create Session"]
            assert shown == ([] if "users" in page else WITHOUT_PULLS)

    def test_private_repository_is_hidden_from_outsider(self, app: Application, driver: Chrome) -> None:
        sign_in(driver, app, "outsider")
        assert "acme/docs" in text(driver, "main")
        assert "acme/web" not in text(driver, "main")

        driver.get(f"{app.url}/repositories/acme/web/activity/")

        assert status(driver) == 404
        assert text(driver, "h1") == "Page not found"
        assert "acme" not in text(driver, "body")

    def test_admin_finds_events_by_repository(self, app: Application, driver: Chrome) -> None:
        sign_in(driver, app, "admin")
        click_link(driver, "Admin")
        click_link(driver, "Events")
        WebDriverWait(driver, TIMEOUT).until(lambda _: driver.find_elements(By.ID, "searchbar"))
        driver.find_element(By.ID, "searchbar").send_keys("acme/web", Keys.ENTER)

        expected = [
            [label, "acme/web", tag.partition(":")[2] or "-", actor] for label, tag, actor in ALL_EVENTS
        ]
        assert poll(lambda: driver.execute_script(ADMIN_ROWS), expected) == expected

    def test_user_page_shows_pulls_to_repository_admin(self, app: Application, driver: Chrome) -> None:
        sign_in(driver, app, "repoadmin")
        driver.get(f"{app.url}/repositories/acme/web/activity/?exclude_pull=false")

        click_link(driver, "reader")
        assert poll(lambda: text(driver, "h1"), "reader") == "reader"
        driver.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").click()

        pull = ("Get Tag", "acme/web:latest", "reader")
        assert poll(lambda: events_on_page(driver), [pull]) == [pull]


# --- Pulls by Docker clients --------------------------------------------------------------------


def test_head_request_and_get_by_digest_are_a_pull_of_the_tag(app: Application, registry: Registry) -> None:
    registry.skopeo.push(registry.image, "acme/pulled-by-tag:v1")
    found = registry.request_manifest("HEAD", "acme/pulled-by-tag", "v1", by="reader")
    registry.request_manifest(
        "GET", "acme/pulled-by-tag", found.headers["Docker-Content-Digest"], by="reader"
    )
    registry.wait_for_notifications()

    pulls = app.events("admin", repository="acme/pulled-by-tag", category="pull")
    assert [(pull["label"], pull["tag"], pull["digest"], pull["actor"]["label"]) for pull in pulls] == [
        ("Get Tag", "acme/pulled-by-tag:v1", registry.digest, "reader")
    ]


def test_head_request_alone_is_not_a_pull(app: Application, registry: Registry) -> None:
    registry.skopeo.push(registry.image, "acme/looked-up:v1")
    registry.request_manifest("HEAD", "acme/looked-up", "v1", by="reader")
    registry.wait_for_notifications()

    assert app.events("admin", repository="acme/looked-up", category="pull") == []


def test_get_by_digest_is_a_pull_of_the_manifest(app: Application, registry: Registry) -> None:
    registry.skopeo.push(registry.image, "acme/pulled-by-digest:v1")
    registry.request_manifest("GET", "acme/pulled-by-digest", registry.digest, by="reader")
    registry.wait_for_notifications()

    pulls = app.events("admin", repository="acme/pulled-by-digest", category="pull")
    assert [(pull["label"], pull["tag"], pull["digest"], pull["actor"]["label"]) for pull in pulls] == [
        ("Get Manifest", "", registry.digest, "reader")
    ]


# --- New repositories ---------------------------------------------------------------------------


def test_new_repository_is_visible_only_to_msr_admins_and_auditors(
    app: Application, registry: Registry
) -> None:
    registry.skopeo.push(registry.image, "newcorp/team/app:v1")
    registry.skopeo.push(registry.image, "newcorp/team/app:v2")
    registry.wait_for_notifications()

    for viewer in ("admin", "auditor"):
        assert events_in_api(app, viewer, repository="newcorp/team/app") == [
            ("Update Tag", "newcorp/team/app:v2", "repoadmin"),
            ("Create Manifest", "", "repoadmin"),
            ("Update Tag", "newcorp/team/app:v1", "repoadmin"),
            ("Create Manifest", "", "repoadmin"),
            ("Create Repository", "", "repoadmin"),
        ]
    for viewer in ("repoadmin", "reader", "outsider"):
        assert events_in_api(app, viewer, repository="newcorp/team/app") == []
        assert app.get("repositories/newcorp/team/app/events/", viewer).status_code == 404
    (repository,) = [row for row in app.get_all("repositories/", "admin") if row["namespace"] == "newcorp"]
    assert (repository["name"], repository["visibility"]) == ("newcorp/team/app", "private")


def test_new_namespace_is_shown_as_unclaimed(app: Application, registry: Registry, driver: Chrome) -> None:
    registry.skopeo.push(registry.image, "newcomer/app:v1")
    registry.wait_for_notifications()

    sign_in(driver, app, "admin")

    shown = driver.execute_script(
        "return [...document.querySelectorAll('main li')].map(row => row.innerText)"
    )
    (row,) = (row for row in shown if "newcomer" in row)
    assert row.split()[:3] == ["newcomer/app", "Private", "unclaimed"]


def test_repository_without_namespace_is_shown_by_its_name(
    app: Application, registry: Registry, driver: Chrome
) -> None:
    registry.skopeo.push(registry.image, "busybox:1.36")
    registry.wait_for_notifications()

    sign_in(driver, app, "admin")
    click_link(driver, "busybox")
    click_tab(driver, "Activity")

    assert poll(lambda: text(driver, "h1"), "busybox Private") == "busybox Private"
    assert [(row["Label"], row["Repository"], row["Tag"]) for row in rows(driver)] == [
        ("Update Tag", "busybox", "busybox:1.36"),
        ("Create Manifest", "busybox", ""),
        ("Create Repository", "busybox", ""),
    ]
