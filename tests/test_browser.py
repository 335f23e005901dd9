"""The Activity tab works in a browser, with and without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests import services
from tests.activity_tab import (
    choose_range,
    click_button,
    expected_rows,
    newer_than,
    occurred_at,
    set_custom_range,
    sort_by,
    toggle_exclude_pull,
    wait_for_rows,
)
from tests.running import Application, application, click_link, console_messages, poll, rows, sign_in, text

pytestmark = pytest.mark.long

ACTIVITY = "/repositories/acme/web/activity/"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=1500) as app:
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module", params=[True, False], ids=["scripts", "no-scripts"])
def browser(request: pytest.FixtureRequest) -> Iterator[Chrome]:
    with services.chromium(1280, 900, javascript=request.param) as browser:
        yield browser


@pytest.fixture
def driver(browser: Chrome) -> Iterator[Chrome]:
    """A browser whose console must show no errors and no CSP violations."""
    browser.get_log("browser")
    yield browser
    assert console_messages(browser) == []


@pytest.fixture
def page(app: Application, driver: Chrome) -> Chrome:
    """The Activity tab of acme/web, opened by an admin of the repository."""
    driver.get(app.url + ACTIVITY)
    if text(driver, "nav.user-menu a") != "repoadmin":  # an earlier test may have logged in already
        sign_in(driver, app, "repoadmin")
        driver.get(app.url + ACTIVITY)
    return driver


@pytest.fixture(scope="module")
def events(app: Application) -> list[dict[str, Any]]:
    """All events of acme/web except pulls. The newest event comes first."""
    return app.events("repoadmin", repository="acme/web", exclude_pull="true")


class TestActivityTab:
    def test_activity_tab_shows_the_ten_newest_events_without_pulls(
        self, page: Chrome, events: list[dict[str, Any]]
    ) -> None:
        assert rows(page) == expected_rows(events)
        assert len(rows(page)) == 10

    def test_activity_tab_is_paged_forward_and_back(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        assert not page.find_elements(By.PARTIAL_LINK_TEXT, "Previous")
        for start in (10, 20):
            page.find_element(By.PARTIAL_LINK_TEXT, "Next").click()
            assert wait_for_rows(page, expected_rows(events[start:]))
        page.find_element(By.PARTIAL_LINK_TEXT, "Previous").click()
        assert wait_for_rows(page, expected_rows(events[10:]))

        page.back()
        assert wait_for_rows(page, expected_rows(events[20:]))
        page.refresh()
        assert wait_for_rows(page, expected_rows(events[20:]))

    @pytest.mark.parametrize(
        ("column", "sort_key"),
        [
            ("Label", lambda event: event["label"]),
            ("Tag", lambda event: event["tag"]),
            ("Type", lambda event: event["type"]),
        ],
        ids=["label", "tag", "type"],
    )
    def test_activity_tab_is_sorted_by_a_column(
        self,
        page: Chrome,
        events: list[dict[str, Any]],
        column: str,
        sort_key: Callable[[dict[str, Any]], str],
    ) -> None:
        recent = newer_than(events, days=90)
        blank = [event for event in recent if not sort_key(event)]
        ascending = sorted((event for event in recent if sort_key(event)), key=sort_key)
        descending = sorted(ascending, key=sort_key, reverse=True)

        sort_by(page, column)
        assert wait_for_rows(page, expected_rows(ascending + blank), sort=column.lower())
        assert text(page, "th[aria-sort=ascending]").startswith(column)
        page.find_element(By.PARTIAL_LINK_TEXT, "Next").click()
        assert wait_for_rows(page, expected_rows((ascending + blank)[10:]))

        sort_by(page, column)
        assert wait_for_rows(page, expected_rows(descending + blank), sort=f"-{column.lower()}")
        assert text(page, "th[aria-sort=descending]").startswith(column)

    def test_activity_tab_is_filtered_by_time_range(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        choose_range(page, "Last 7 days")

        assert wait_for_rows(page, expected_rows(newer_than(events, days=7)), range="week")

    def test_activity_tab_is_filtered_by_a_custom_range(
        self, page: Chrome, events: list[dict[str, Any]]
    ) -> None:
        assert not page.find_element(By.NAME, "after").is_displayed()
        choose_range(page, "Custom range")
        assert wait_for_rows(page, expected_rows(events), range="custom")
        end, start = (occurred_at(events[number]).replace(second=0, microsecond=0) for number in (15, 30))
        set_custom_range(page, start, end)

        expected = [event for event in events if start <= occurred_at(event) < end]
        assert wait_for_rows(page, expected_rows(expected), after=f"{start:%Y-%m-%dT%H:%M}")

    def test_invalid_custom_range_shows_an_error(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        choose_range(page, "Custom range")
        assert wait_for_rows(page, expected_rows(events), range="custom")
        now = datetime.now(UTC)
        set_custom_range(page, now, now - timedelta(days=1))

        message = "The end of the range must be after its start."
        assert poll(lambda: message in text(page, "#events [role=status]"), True)
        assert rows(page) == []
        # Without scripts, the browser logs the status of the page, 400.
        assert all("status of 400" in message for message in console_messages(page))

    def test_unchecking_exclude_pull_shows_pulls(
        self, app: Application, page: Chrome, events: list[dict[str, Any]]
    ) -> None:
        toggle_exclude_pull(page)
        assert wait_for_rows(page, expected_rows(app.events("repoadmin", repository="acme/web")))
        assert any(row["Label"].startswith("Get ") for row in rows(page))

        toggle_exclude_pull(page)
        assert wait_for_rows(page, expected_rows(events))

    def test_activity_tab_keeps_its_state_in_the_url(self, app: Application, page: Chrome) -> None:
        with_pulls = app.events("repoadmin", repository="acme/web")
        expected = sorted(newer_than(with_pulls, days=30), key=lambda event: event["type"])
        toggle_exclude_pull(page)
        assert wait_for_rows(page, expected_rows(with_pulls))
        choose_range(page, "Last 30 days")
        assert wait_for_rows(page, expected_rows(with_pulls), range="month")
        sort_by(page, "Type")
        assert wait_for_rows(page, expected_rows(expected), sort="type")
        page.find_element(By.PARTIAL_LINK_TEXT, "Next").click()
        assert wait_for_rows(page, expected_rows(expected[10:]))
        address = page.current_url

        sign_in(page, app, "admin")
        page.get(address)

        assert rows(page) == expected_rows(expected[10:])
        assert Select(page.find_element(By.NAME, "range")).first_selected_option.text == "Last 30 days"
        assert not page.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").is_selected()
        assert text(page, "th[aria-sort=ascending]").startswith("Type")

    def test_full_digest_is_shown_on_demand(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        digest = next(event["digest"] for event in events if event["digest"])

        page.find_element(By.CSS_SELECTOR, ".digest summary").click()

        assert digest in text(page, ".events")

    @pytest.mark.parametrize("browser", [True], ids=["scripts"], indirect=True)
    def test_keyboard_focus_is_kept_when_the_list_changes(
        self, page: Chrome, events: list[dict[str, Any]]
    ) -> None:
        def send_keys(keys: str) -> None:
            page.switch_to.active_element.send_keys(keys)

        page.find_element(By.PARTIAL_LINK_TEXT, "Next").send_keys(Keys.ENTER)
        assert wait_for_rows(page, expected_rows(events[10:]))
        send_keys(Keys.ENTER)
        assert wait_for_rows(page, expected_rows(events[20:]))

        page.find_element(By.NAME, "range").send_keys(Keys.ARROW_DOWN)
        assert wait_for_rows(page, expected_rows(newer_than(events, hours=1)), range="hour")
        send_keys(Keys.ARROW_DOWN)
        assert wait_for_rows(page, expected_rows(newer_than(events, days=1)), range="day")

        page.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").send_keys(Keys.SPACE)
        assert poll(lambda: "exclude_pull=true" in page.current_url, False) is False
        send_keys(Keys.SPACE)
        assert poll(lambda: "exclude_pull=true" in page.current_url, True) is True


def test_times_are_in_the_time_zone_from_the_settings(app: Application, driver: Chrome) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    events = app.events("reader", repository="acme/web")
    sign_in(driver, app, "reader")
    click_link(driver, "reader")
    assert poll(lambda: text(driver, "h1"), "Your settings") == "Your settings"
    Select(driver.find_element(By.NAME, "time_zone")).select_by_value(tokyo.key)
    click_button(driver, "Save")
    assert poll(lambda: text(driver, ".notice"), "Saved.") == "Saved."

    driver.get(app.url + ACTIVITY)
    assert rows(driver) == expected_rows(events, tokyo)
    assert "Times are in Asia/Tokyo." in text(driver, "#events")

    day = occurred_at(events[0]).astimezone(tokyo).replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = {"range": "custom", "after": f"{day:%Y-%m-%dT%H:%M}"}
    driver.get(f"{app.url}{ACTIVITY}?{urlencode(bounds)}")
    assert rows(driver) == expected_rows([event for event in events if occurred_at(event) >= day], tokyo)
