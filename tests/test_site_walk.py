"""The site works in a browser: on a desktop, on a phone, and on a phone without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests import services
from tests.activity_tab import (
    choose_range,
    click_button,
    expected_rows,
    newer_than,
    sort_by,
    toggle_exclude_pull,
    wait_for_rows,
)
from tests.pages import SIZES
from tests.running import (
    TIMEOUT,
    Application,
    application,
    click_link,
    console_messages,
    poll,
    rows,
    sign_in,
    text,
)

pytestmark = pytest.mark.long

TOKYO = ZoneInfo("Asia/Tokyo")
BROWSERS = {"desktop": ("desktop", True), "phone": ("phone", True), "no-scripts": ("phone", False)}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=1500) as app:
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(
    scope="module", params=["desktop", pytest.param("phone", marks=pytest.mark.long), "no-scripts"]
)
def browser_name(request: pytest.FixtureRequest) -> str:
    """The name of the browser. Tests include it in values that must be different in each browser."""
    return request.param


@pytest.fixture(scope="module")
def browser(browser_name: str) -> Iterator[Chrome]:
    width, javascript = BROWSERS[browser_name]
    with services.chromium(*SIZES[width], javascript=javascript) as browser:
        yield browser


@pytest.fixture
def driver(app: Application, browser: Chrome) -> Iterator[Chrome]:
    """A browser logged in as repoadmin. Its console must be empty at the end of the test."""
    sign_in(browser, app, "repoadmin")
    yield browser
    assert console_messages(browser) == []


def shows_message(driver: Chrome, expected: str) -> bool:
    """Wait for this message above the content of the page, and return whether it appears."""
    return poll(lambda: text(driver, "main > .notice"), expected) == expected


def fill(driver: Chrome, field_name: str, value: str) -> WebElement:
    field = driver.find_element(By.NAME, field_name)
    field.clear()
    field.send_keys(value)
    return field


def select(driver: Chrome, field_name: str, value: str) -> None:
    Select(driver.find_element(By.NAME, field_name)).select_by_value(value)


def reaches(driver: Chrome, ending: str) -> bool:
    """Wait for a URL with this ending, and return whether the browser reaches it.

    If tests didn't wait, they could find elements on the previous page.
    """
    return poll(lambda: driver.current_url.endswith(ending), True)


def open_tab(driver: Chrome, tab: str) -> None:
    """Search for the repository acme/web, and open one of its tabs."""
    driver.find_element(By.CSS_SELECTOR, "nav.sidebar").find_element(By.LINK_TEXT, "Repositories").click()
    assert reaches(driver, "/repositories/")
    fill(driver, "q", "web")
    click_button(driver, "Search")
    assert poll(lambda: "?q=web&" in driver.current_url, True)
    click_link(driver, "acme/web")
    assert reaches(driver, "/repositories/acme/web/info/")
    driver.find_element(By.CSS_SELECTOR, "nav.tabs").find_element(By.LINK_TEXT, tab).click()
    assert reaches(driver, f"/repositories/acme/web/{tab.lower()}/")
    assert poll(lambda: text(driver, "nav.tabs [aria-current]"), tab) == tab


def open_settings(driver: Chrome) -> None:
    click_link(driver, "repoadmin")
    assert reaches(driver, "/settings/")


def initiators(driver: Chrome) -> list[str]:
    return [row["Initiated by"] for row in rows(driver)]


class TestActivity:
    def test_activity_can_be_filtered_sorted_and_paginated(self, app: Application, driver: Chrome) -> None:
        self.choose_time_zone(driver)
        open_tab(driver, "Activity")
        events = app.events("repoadmin", repository="acme/web", exclude_pull="true")
        assert wait_for_rows(driver, expected_rows(events, TOKYO))

        toggle_exclude_pull(driver)
        events = app.events("repoadmin", repository="acme/web")
        assert wait_for_rows(driver, expected_rows(events, TOKYO), exclude_pull="false")

        choose_range(driver, "Last 30 days")
        events = newer_than(events, days=30)
        assert wait_for_rows(driver, expected_rows(events, TOKYO), range="month")

        sort_by(driver, "Type")
        events.sort(key=lambda event: event["type"])
        assert wait_for_rows(driver, expected_rows(events, TOKYO), sort="type")

        driver.find_element(By.PARTIAL_LINK_TEXT, "Next").click()
        assert wait_for_rows(driver, expected_rows(events[10:], TOKYO))

    def choose_time_zone(self, driver: Chrome) -> None:
        open_settings(driver)
        select(driver, "time_zone", TOKYO.key)
        click_button(driver, "Save")
        assert shows_message(driver, "Saved.")

    def test_clicking_a_bar_of_the_chart_filters_the_activity(self, driver: Chrome) -> None:
        open_tab(driver, "Activity")
        bar = driver.find_elements(By.CSS_SELECTOR, ".chart svg a")[-1]
        summary = bar.get_attribute("aria-label") or ""
        number = int(summary.rpartition(": ")[2].partition(" ")[0])

        bar.click()

        assert poll(lambda: "range=custom" in driver.current_url, True)
        assert poll(lambda: len(rows(driver)), min(number, 10)) == min(number, 10)
        total = driver.execute_script("return document.getElementById('chart-summary').textContent")
        assert total.startswith(f"{number} event")

    def test_activity_links_to_the_page_of_the_actor(self, driver: Chrome) -> None:
        open_tab(driver, "Activity")
        actor = driver.find_element(By.CSS_SELECTOR, "td[data-label='Initiated by'] a[href^='/users/']")
        name = actor.text
        actor.click()

        assert poll(lambda: text(driver, "h1"), name) == name
        assert urlsplit(driver.current_url).path == f"/users/{name}/"
        assert poll(lambda: set(initiators(driver)), {name}) == {name}

    def test_activity_links_to_a_policy_and_shows_its_edit(
        self, app: Application, driver: Chrome, browser_name: str
    ) -> None:
        policy = self.promotion_actor(app)
        open_tab(driver, "Activity")
        fill(driver, "actor", policy["id"]).send_keys(Keys.ENTER)
        assert poll(lambda: set(initiators(driver)), {policy["label"]}) == {policy["label"]}
        click_link(driver, policy["label"])
        assert reaches(driver, f"/policies/{policy['id']}/")
        click_link(driver, "Edit")
        assert reaches(driver, "/edit/")
        fill(driver, "tag_template", f"%n-{browser_name}")
        click_button(driver, "Save")
        assert shows_message(driver, "Saved.")
        assert f"→ %n-{browser_name}" in text(driver, ".changes")
        self.assert_newest_event_is_the_edit(driver)

        open_tab(driver, "Activity")
        self.assert_newest_event_is_the_edit(driver)

    def promotion_actor(self, app: Application) -> dict[str, Any]:
        events = app.events("repoadmin", repository="acme/web", actor_type="promotion")
        return events[0]["actor"]

    def assert_newest_event_is_the_edit(self, driver: Chrome) -> None:
        newest = next(row for row in rows(driver) if "Label" in row)  # skips the rows of the matching tags
        assert newest["Label"].startswith("Update Promotion Policy")
        assert newest["Type"] == "UPDATE"
        assert newest["Initiated by"] == "repoadmin"


class TestSettings:
    def test_theme_can_be_switched_to_dark(self, driver: Chrome) -> None:
        def background() -> str:
            return driver.execute_script("return getComputedStyle(document.body).backgroundColor")

        open_settings(driver)
        light = background()
        select(driver, "theme", "dark")
        click_button(driver, "Save")
        assert shows_message(driver, "Saved.")
        dark = background()
        assert dark != light

        select(driver, "theme", "light")
        click_button(driver, "Save")
        assert poll(background, light) == light

    def test_token_can_be_created_and_revoked(
        self, app: Application, driver: Chrome, browser_name: str
    ) -> None:
        def api_status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return requests.get(f"{app.url}/api/v0/events/", headers=headers, timeout=TIMEOUT).status_code

        open_settings(driver)
        click_link(driver, "Access tokens")
        assert reaches(driver, "/tokens/")
        fill(driver, "name", f"CI on {browser_name}")
        click_button(driver, "Create token")
        assert poll(lambda: bool(driver.find_elements(By.ID, "new-token")), True)
        token = driver.find_element(By.ID, "new-token").get_attribute("value") or ""
        assert api_status(token) == 200

        click_link(driver, "Access tokens")
        assert poll(lambda: bool(driver.find_elements(By.ID, "new-token")), False) is False
        assert token not in driver.page_source
        driver.find_element(By.CSS_SELECTOR, f"[aria-label='Revoke CI on {browser_name}']").click()
        assert shows_message(driver, f"The token “CI on {browser_name}” was revoked.")
        assert api_status(token) == 401


class TestPermissions:
    def test_permission_can_be_granted_and_revoked(self, app: Application, driver: Chrome) -> None:
        def api_status() -> int:
            return app.get("repositories/acme/web/events/", "outsider").status_code

        open_tab(driver, "Permissions")
        assert api_status() == 404
        fill(driver, "holder", "outsider")
        click_button(driver, "Grant")
        assert poll(api_status, 200) == 200

        driver.find_element(By.CSS_SELECTOR, "[aria-label='Revoke read from outsider']").click()
        assert poll(api_status, 404) == 404
