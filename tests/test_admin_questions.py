"""Admins can answer typical questions with at most three clicks and one search after logging in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests import services
from tests.factories import produced_event
from tests.running import PASSWORD, TIMEOUT, Application, application, click_link, console_messages, poll

pytestmark = pytest.mark.long

TODAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
LAST_MONTH = TODAY.replace(day=1) - timedelta(days=10)
DIGEST = "sha256:" + "09c0ffee" * 8
ADDRESS = "203.0.113.9"


EVENTS = [
    produced_event("update_tag", LAST_MONTH, "dana", tag="v9"),
    produced_event("update_tag", LAST_MONTH + timedelta(hours=1), "li", tag="v9"),
    produced_event("update_tag", LAST_MONTH + timedelta(hours=1), "li", tag="v8"),
    produced_event("get_tag", LAST_MONTH + timedelta(hours=2), "mara", tag="v9"),
    produced_event("get_tag", LAST_MONTH + timedelta(hours=3), "reader", tag="v9"),
    produced_event("get_tag", LAST_MONTH + timedelta(hours=3), "reader", tag="v8"),
    produced_event("get_tag", TODAY - timedelta(hours=30), "li", tag="v9", repository="acme/docs"),
    produced_event("delete_manifest", YESTERDAY, "mallory", digest=DIGEST),
    produced_event("delete_tag", YESTERDAY + timedelta(minutes=1), "mallory", tag="v9"),
    produced_event("scan", YESTERDAY - timedelta(days=3), "mallory"),
    produced_event("create_repository", LAST_MONTH, "dana", repository="acme/shop"),
    produced_event("create_repository", LAST_MONTH + timedelta(days=1), "dana", repository="acme/till"),
    produced_event(
        "get_manifest",
        YESTERDAY,
        "eve",
        repository="acme/docs",
        digest=DIGEST,
        details={"client_address": ADDRESS},
    ),
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application")) as app:
        headers = {"Authorization": f"Bearer {app.token('registry')}"}
        response = requests.post(f"{app.url}/api/v0/events/", json=EVENTS, headers=headers, timeout=TIMEOUT)
        assert response.status_code == 201, response.text
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with services.chromium(1280, 900) as browser:
        yield browser


class Session:
    """A browser session that starts with a login to the admin, and that counts clicks and searches."""

    def __init__(self, driver: Chrome, app: Application, username: str) -> None:
        self.driver, self.clicks, self.searches = driver, 0, 0
        driver.get("about:blank")
        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        driver.get_log("browser")
        driver.get(f"{app.url}/admin/")
        driver.find_element(By.NAME, "username").send_keys(username)
        driver.find_element(By.NAME, "password").send_keys(PASSWORD, Keys.ENTER)

    def click(self, link: str) -> None:
        self.clicks += 1
        click_link(self.driver, link)

    def search(self, text: str) -> None:
        self.searches += 1
        poll(lambda: bool(self.driver.find_elements(By.ID, "searchbar")), True)
        self.driver.find_element(By.ID, "searchbar").send_keys(text, Keys.ENTER)

    def filter(self, **values: str) -> None:
        """Choose values of filters, and apply them."""
        poll(lambda: bool(self.driver.find_elements(By.CLASS_NAME, "event-filters")), True)
        for name, value in values.items():
            Select(self.driver.find_element(By.NAME, name)).select_by_visible_text(value)
        self.clicks += 1
        self.driver.find_element(By.CSS_SELECTOR, ".event-filters .apply button").click()

    def read_list(self, *columns: str) -> list[tuple[str, ...]]:
        """Return the text of these columns in each row of the list."""
        return [
            tuple(row)
            for row in self.driver.execute_script(
                """
                return [...document.querySelectorAll("#result_list tbody tr")].map(row =>
                    arguments[0].map(name => row.querySelector(`.field-${name}`).innerText.trim()))
                """,
                columns,
            )
        ]

    def answers(self, columns: tuple[str, ...], expected: list[tuple[str, ...]]) -> bool:
        """Wait until the list shows these rows. Return whether three clicks and one search were enough."""
        assert poll(lambda: self.read_list(*columns), expected) == expected
        return self.is_quick()

    def is_quick(self) -> bool:
        """Check that no script failed, and return whether three clicks and one search were enough."""
        assert console_messages(self.driver) == []
        return self.clicks <= 3 and self.searches <= 1


@pytest.fixture(params=["auditor", "admin"])
def session(app: Application, browser: Chrome, request: pytest.FixtureRequest) -> Session:
    return Session(browser, app, request.param)


def format_time(moment: datetime) -> str:
    return f"{moment:%b} {moment.day}, {moment.year} {moment.hour % 12 or 12}:{moment:%M:%S %p}"


def test_admin_finds_who_deleted_an_image_and_when(session: Session) -> None:
    session.click("Events")
    session.search(f"digest:{DIGEST[:20]} type:delete")

    assert session.answers(
        ("headline", "repository_column", "initiated_by", "time"),
        [("Delete Manifest", "acme/web", "mallory", format_time(YESTERDAY))],
    )


def test_admin_finds_who_pulled_a_tag_last_month(session: Session) -> None:
    session.click("Events")
    session.search(f"acme/web:v9 type:get on:{LAST_MONTH:%Y-%m}")

    assert session.answers(("headline", "initiated_by"), [("Get Tag", "reader"), ("Get Tag", "mara")])


def test_admin_finds_what_a_user_did_yesterday(session: Session) -> None:
    session.click("Events")
    session.search(f"actor:mallory on:{YESTERDAY:%Y-%m-%d}")

    assert session.answers(("headline", "tag_column"), [("Delete Tag", "v9"), ("Delete Manifest", "-")])


def test_admin_finds_who_changed_a_tag(session: Session) -> None:
    session.click("Events")
    session.search("acme/web:v9 -type:get")

    assert session.answers(
        ("headline", "initiated_by"),
        [("Delete Tag", "mallory"), ("Update Tag", "li"), ("Update Tag", "dana")],
    )


def test_admin_finds_the_repositories_created_between_two_dates(session: Session) -> None:
    session.click("Events")
    start, end = LAST_MONTH, LAST_MONTH + timedelta(days=2)
    session.search(f"category:create_repo after:{start:%Y-%m-%d} before:{end:%Y-%m-%d}")

    assert session.answers(
        ("repository_column", "initiated_by"), [("acme/till", "dana"), ("acme/shop", "dana")]
    )


def test_admin_finds_what_was_done_from_an_ip_address(session: Session) -> None:
    session.click("Events")
    session.search(f"ip:{ADDRESS}")

    assert session.answers(
        ("headline", "repository_column", "initiated_by"), [("Get Manifest", "acme/docs", "eve")]
    )


def test_admin_finds_who_has_access_to_a_repository_and_why(session: Session) -> None:
    session.click("Repositories")
    session.click("acme/web")
    session.click("EFFECTIVE ACCESS")  # the stylesheet shows the link text in capitals

    def rights() -> dict[str, str]:
        rows = session.driver.find_elements(By.CSS_SELECTOR, "table.access tbody tr")
        cells = ([cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows)
        return {name: f"{level} {why}" for name, level, why, _ in cells}

    assert poll(lambda: "reader" in rights(), True)
    assert "acme/web-readers" in rights()["reader"]
    assert rights()["reader"].startswith("read")
    assert "acme/web-admins" in rights()["repoadmin"]
    assert session.is_quick()


def test_admin_finds_an_event_with_filters_and_without_a_search(app: Application, browser: Chrome) -> None:
    session = Session(browser, app, "auditor")
    session.click("Events")
    session.filter(category="Delete")
    poll(lambda: {row[0] for row in session.read_list("type_badge")}, {"DELETE"})
    session.click("Delete Tag")
    poll(lambda: "Earlier events on acme/web:v9" in browser.page_source, True)

    assert "Earlier events on acme/web:v9" in browser.page_source
    browser.back()
    poll(lambda: [row[0] for row in session.read_list("headline")][:1], ["Delete Tag"])
    assert "category=delete" in browser.current_url
    assert session.is_quick()
