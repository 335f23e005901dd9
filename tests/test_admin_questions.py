"""The questions that admins have, from log-in to answer: at most three clicks, or one search, each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests import services
from tests.running import PASSWORD, SECONDS, Application, application, follow, poll

TODAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
LAST_MONTH = TODAY.replace(day=1) - timedelta(days=10)
DIGEST = "sha256:" + "09c0ffee" * 8
ADDRESS = "203.0.113.9"


def happened(kind: str, moment: datetime, actor: str, **values: Any) -> dict[str, Any]:
    """Return an event as a producer sends it."""
    return {
        "id": f"{kind} {moment.isoformat()} {actor} {values}",
        "kind": kind,
        "repository": "acme/web",
        "occurred_at": moment.isoformat(),
        "actor": {"type": "user", "id": actor},
        **values,
    }


STORY = [
    happened("update_tag", LAST_MONTH, "dana", tag="v9"),
    happened("update_tag", LAST_MONTH + timedelta(hours=1), "li", tag="v9"),
    happened("update_tag", LAST_MONTH + timedelta(hours=1), "li", tag="v8"),
    happened("get_tag", LAST_MONTH + timedelta(hours=2), "mara", tag="v9"),
    happened("get_tag", LAST_MONTH + timedelta(hours=3), "reader", tag="v9"),
    happened("get_tag", LAST_MONTH + timedelta(hours=3), "reader", tag="v8"),
    happened("get_tag", TODAY - timedelta(hours=30), "li", tag="v9", repository="acme/docs"),
    happened("delete_manifest", YESTERDAY, "mallory", digest=DIGEST),
    happened("delete_tag", YESTERDAY + timedelta(minutes=1), "mallory", tag="v9"),
    happened("scan", YESTERDAY - timedelta(days=3), "mallory"),
    happened("create_repository", LAST_MONTH, "dana", repository="acme/shop"),
    happened("create_repository", LAST_MONTH + timedelta(days=1), "dana", repository="acme/till"),
    happened(
        "get_manifest",
        YESTERDAY,
        "eve",
        repository="acme/docs",
        digest=DIGEST,
        details={"client_address": f"{ADDRESS}:40000"},
    ),
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application")) as app:
        headers = {"Authorization": f"Bearer {app.token('registry')}"}
        answer = requests.post(f"{app.url}/api/v0/events/", json=STORY, headers=headers, timeout=SECONDS)
        assert answer.status_code == 201, answer.text
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with services.chromium(1280, 900) as browser:
        yield browser


class Person:
    """Somebody in front of the browser, who has just logged in to the admin. Counts what they do."""

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
        follow(self.driver, link)

    def search(self, text: str) -> None:
        self.searches += 1
        poll(lambda: bool(self.driver.find_elements(By.ID, "searchbar")), True)
        self.driver.find_element(By.ID, "searchbar").send_keys(text, Keys.ENTER)

    def reads(self, *columns: str) -> list[tuple[str, ...]]:
        """Return these columns of the list, as they are shown."""
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

    def finds(self, columns: tuple[str, ...], expected: list[tuple[str, ...]]) -> bool:
        """Wait for the answer: it took three clicks or one search at most, and no script failed."""
        assert poll(lambda: self.reads(*columns), expected) == expected
        return self.is_quick()

    def is_quick(self) -> bool:
        assert self.driver.get_log("browser") == []
        return self.clicks <= 3 and self.searches <= 1


@pytest.fixture(params=["auditor", "admin"])
def person(app: Application, browser: Chrome, request: pytest.FixtureRequest) -> Person:
    return Person(browser, app, request.param)


def shown(moment: datetime) -> str:
    return f"{moment:%b} {moment.day}, {moment.year} {moment.hour % 12 or 12}:{moment:%M:%S %p}"


def test_when_and_by_whom_was_this_image_deleted(person: Person) -> None:
    person.click("Events")
    person.search(f"digest:{DIGEST[:20]} type:delete")

    assert person.finds(
        ("label", "repository_shown", "initiated_by", "time"),
        [("Delete Manifest", "acme/web", "mallory", shown(YESTERDAY))],
    )


def test_who_pulled_this_tag_last_month(person: Person) -> None:
    person.click("Events")
    person.search(f"acme/web:v9 type:get on:{LAST_MONTH:%Y-%m}")

    assert person.finds(("label", "initiated_by"), [("Get Tag", "reader"), ("Get Tag", "mara")])


def test_what_did_one_user_do_yesterday(person: Person) -> None:
    person.click("Events")
    person.search(f"actor:mallory on:{YESTERDAY:%Y-%m-%d}")

    assert person.finds(("label", "tag"), [("Delete Tag", "v9"), ("Delete Manifest", "-")])


def test_who_wrote_to_this_tag(person: Person) -> None:
    person.click("Events")
    person.search("acme/web:v9 -type:get")

    assert person.finds(
        ("label", "initiated_by"), [("Delete Tag", "mallory"), ("Update Tag", "li"), ("Update Tag", "dana")]
    )


def test_which_repositories_were_created_between_two_dates(person: Person) -> None:
    person.click("Events")
    start, end = LAST_MONTH, LAST_MONTH + timedelta(days=2)
    person.search(f"category:create_repo after:{start:%Y-%m-%d} before:{end:%Y-%m-%d}")

    assert person.finds(("repository_shown", "initiated_by"), [("acme/till", "dana"), ("acme/shop", "dana")])


def test_what_happened_from_this_address(person: Person) -> None:
    person.click("Events")
    person.search(f"ip:{ADDRESS}")

    assert person.finds(("label", "repository_shown", "initiated_by"), [("Get Manifest", "acme/docs", "eve")])


def test_who_can_see_what_in_this_repository_and_why(person: Person) -> None:
    person.click("Repositories")
    person.click("acme/web")
    person.click("EFFECTIVE ACCESS")  # as it looks

    def rights() -> dict[str, str]:
        rows = person.driver.find_elements(By.CSS_SELECTOR, "table.access tbody tr")
        cells = ([cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows)
        return {name: f"{level} {why}" for name, level, why, _ in cells}

    assert poll(lambda: "reader" in rights(), True)
    assert "acme/web-readers" in rights()["reader"]
    assert rights()["reader"].startswith("read")
    assert "acme/web-admins" in rights()["repoadmin"]
    assert person.is_quick()


def test_list_leads_on_without_a_search(app: Application, browser: Chrome) -> None:
    person = Person(browser, app, "auditor")
    person.click("Events")
    person.click("Delete")  # the category, among the filters
    poll(lambda: {row[0] for row in person.reads("type_shown")}, {"DELETE"})
    person.click("Delete Tag")
    poll(lambda: "Before it, on acme/web:v9" in browser.page_source, True)

    assert "Before it, on acme/web:v9" in browser.page_source
    browser.back()
    poll(lambda: [row[0] for row in person.reads("label")][:1], ["Delete Tag"])
    assert "category=delete" in browser.current_url
    assert person.is_quick()
