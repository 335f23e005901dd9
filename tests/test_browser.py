"""What people can do with the Activity tab in a browser, with and without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from zoneinfo import ZoneInfo

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests import services
from tests.running import Application, application, follow, poll, rows, sign_in, text

ACTIVITY = "/repositories/acme/web/activity/"

Rows = list[dict[str, str]]


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
    """A browser whose console stays empty: no errors, and nothing that the security policy refused."""
    browser.get_log("browser")
    yield browser
    assert browser.get_log("browser") == []


@pytest.fixture
def page(app: Application, driver: Chrome) -> Chrome:
    """The Activity tab of acme/web, opened by its administrator."""
    driver.get(app.url + ACTIVITY)
    if text(driver, "nav.me a") != "repoadmin":  # from the test before
        sign_in(driver, app, "repoadmin")
        driver.get(app.url + ACTIVITY)
    return driver


@pytest.fixture(scope="module")
def events(app: Application) -> list[dict[str, Any]]:
    """All events of acme/web but the pulls, newest first."""
    return app.events("repoadmin", repository="acme/web", exclude_pull="true")


def shown(events: list[dict[str, Any]], zone: ZoneInfo | None = None) -> Rows:
    """Return the first ten events as the page shows them."""
    return [
        {
            "Label": event["label"],
            "Repository": event["repository"],
            "Tag": event["tag"],
            "SHA": event["digest"][: len("sha256:01234567")],
            "Type": event["type"],
            "Initiated by": event["actor"]["label"],
            "Date and time": time_shown(event, zone),
        }
        for event in events[:10]
    ]


def time_shown(event: dict[str, Any], zone: ZoneInfo | None = None) -> str:
    time = occurred(event).astimezone(zone or UTC)
    return f"{time:%b} {time.day}, {time.year} {time.hour % 12 or 12}:{time:%M %p}"


def occurred(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


def since(events: list[dict[str, Any]], **ago: int) -> list[dict[str, Any]]:
    start = datetime.now(UTC) - timedelta(**ago)
    return [event for event in events if occurred(event) >= start]


def becomes(driver: Chrome, expected: Rows, **query: str) -> bool:
    """Wait until the page has these rows, and its address says this."""

    def found() -> tuple[Rows, dict[str, str]]:
        in_address = dict(parse_qsl(urlsplit(driver.current_url).query))
        return rows(driver), {name: in_address.get(name, "") for name in query}

    assert poll(found, (expected, query)) == (expected, query)
    return True


def press(driver: Chrome, button: str) -> None:
    driver.find_element(By.XPATH, f"//button[text()='{button}']").click()


def apply_without_scripts(driver: Chrome) -> None:
    """Press the button that a choice needs without scripts: else it applies at once."""
    if not driver.execute_script("return 'htmx' in window"):
        press(driver, "Apply")


def choose_range(driver: Chrome, label: str) -> None:
    Select(driver.find_element(By.NAME, "range")).select_by_visible_text(label)
    apply_without_scripts(driver)


def set_bounds(driver: Chrome, after: datetime, before: datetime) -> None:
    """Choose both ends. How one types a time depends on the browser's language, so it is put in."""
    for name, time in (("after", after), ("before", before)):
        field = driver.find_element(By.NAME, name)
        assert field.is_displayed()
        driver.execute_script("arguments[0].value = arguments[1]", field, f"{time:%Y-%m-%dT%H:%M}")
    press(driver, "Apply")


def exclude_pull(driver: Chrome) -> None:
    """Check or uncheck the box."""
    driver.find_element(By.CSS_SELECTOR, "input[type=checkbox][name=exclude_pull]").click()
    apply_without_scripts(driver)


def sort_by(driver: Chrome, column: str) -> None:
    driver.find_element(By.CSS_SELECTOR, ".events thead").find_element(By.PARTIAL_LINK_TEXT, column).click()


class TestActivityTab:
    def test_begins_with_the_ten_latest_events_without_pulls(
        self, page: Chrome, events: list[dict[str, Any]]
    ) -> None:
        assert rows(page) == shown(events)
        assert len(rows(page)) == 10

    def test_is_paged_forward_and_back(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        assert not page.find_elements(By.PARTIAL_LINK_TEXT, "Previous")
        for start in (10, 20):
            page.find_element(By.PARTIAL_LINK_TEXT, "Next").click()
            assert becomes(page, shown(events[start:]))
        page.find_element(By.PARTIAL_LINK_TEXT, "Previous").click()
        assert becomes(page, shown(events[10:]))

        page.back()
        assert becomes(page, shown(events[20:]))
        page.refresh()
        assert becomes(page, shown(events[20:]))

    @pytest.mark.parametrize(
        ("column", "sorts_by"),
        [
            ("Label", lambda event: event["label"]),
            ("Tag", lambda event: event["tag"]),
            ("Type", lambda event: event["type"]),
        ],
        ids=["label", "tag", "type"],
    )
    def test_is_sorted_by_a_column(
        self,
        page: Chrome,
        events: list[dict[str, Any]],
        column: str,
        sorts_by: Callable[[dict[str, Any]], str],
    ) -> None:
        recent = since(events, days=90)
        blank = [event for event in recent if not sorts_by(event)]
        ascending = sorted((event for event in recent if sorts_by(event)), key=sorts_by)
        descending = sorted(ascending, key=sorts_by, reverse=True)

        sort_by(page, column)
        assert becomes(page, shown(ascending + blank), sort=column.lower())
        assert text(page, "th[aria-sort=ascending]").startswith(column)
        page.find_element(By.PARTIAL_LINK_TEXT, "Next").click()
        assert becomes(page, shown((ascending + blank)[10:]))

        sort_by(page, column)
        assert becomes(page, shown(descending + blank), sort=f"-{column.lower()}")
        assert text(page, "th[aria-sort=descending]").startswith(column)

    def test_is_narrowed_to_a_period(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        choose_range(page, "Last 7 days")

        assert becomes(page, shown(since(events, days=7)), range="week")

    def test_is_narrowed_to_a_range_of_ones_own(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        assert not page.find_element(By.NAME, "after").is_displayed()
        choose_range(page, "From … to …")
        assert becomes(page, shown(events), range="custom")
        end, start = (occurred(events[number]).replace(second=0, microsecond=0) for number in (15, 30))
        set_bounds(page, start, end)

        expected = [event for event in events if start <= occurred(event) < end]
        assert becomes(page, shown(expected), after=f"{start:%Y-%m-%dT%H:%M}")

    def test_says_what_is_wrong_with_a_range(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        choose_range(page, "From … to …")
        assert becomes(page, shown(events), range="custom")
        now = datetime.now(UTC)
        set_bounds(page, now, now - timedelta(days=1))

        complaint = "To: The end of the range must come after its beginning. The default is shown."
        assert poll(lambda: text(page, "#feed [role=status]"), complaint) == complaint
        assert rows(page) == shown(events)

    def test_shows_pulls_to_whoever_unchecks_the_box(
        self, app: Application, page: Chrome, events: list[dict[str, Any]]
    ) -> None:
        exclude_pull(page)
        assert becomes(page, shown(app.events("repoadmin", repository="acme/web")))
        assert any(row["Label"].startswith("Get ") for row in rows(page))

        exclude_pull(page)
        assert becomes(page, shown(events))

    def test_has_its_state_in_the_address(self, app: Application, page: Chrome) -> None:
        with_pulls = app.events("repoadmin", repository="acme/web")
        expected = sorted(since(with_pulls, days=30), key=lambda event: event["type"])
        exclude_pull(page)
        assert becomes(page, shown(with_pulls))
        choose_range(page, "Last 30 days")
        assert becomes(page, shown(with_pulls), range="month")
        sort_by(page, "Type")
        assert becomes(page, shown(expected), sort="type")
        page.find_element(By.PARTIAL_LINK_TEXT, "Next").click()
        assert becomes(page, shown(expected[10:]))
        address = page.current_url

        sign_in(page, app, "admin")
        page.get(address)

        assert rows(page) == shown(expected[10:])
        assert Select(page.find_element(By.NAME, "range")).first_selected_option.text == "Last 30 days"
        assert not page.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").is_selected()
        assert text(page, "th[aria-sort=ascending]").startswith("Type")

    def test_shows_a_whole_digest_on_demand(self, page: Chrome, events: list[dict[str, Any]]) -> None:
        digest = next(event["digest"] for event in events if event["digest"])

        page.find_element(By.CSS_SELECTOR, ".digest summary").click()

        assert digest in text(page, ".events")

    @pytest.mark.parametrize("browser", [True], ids=["scripts"], indirect=True)
    def test_keeps_the_place_of_whoever_uses_the_keyboard(
        self, page: Chrome, events: list[dict[str, Any]]
    ) -> None:
        def send_keys(keys: str) -> None:
            page.switch_to.active_element.send_keys(keys)

        page.find_element(By.PARTIAL_LINK_TEXT, "Next").send_keys(Keys.ENTER)
        assert becomes(page, shown(events[10:]))
        send_keys(Keys.ENTER)
        assert becomes(page, shown(events[20:]))

        page.find_element(By.NAME, "range").send_keys(Keys.ARROW_DOWN)
        assert becomes(page, shown(since(events, hours=1)), range="hour")
        send_keys(Keys.ARROW_DOWN)
        assert becomes(page, shown(since(events, days=1)), range="day")

        page.find_element(By.CSS_SELECTOR, "[type=checkbox][name=exclude_pull]").send_keys(Keys.SPACE)
        assert poll(lambda: "exclude_pull=true" in page.current_url, False) is False
        send_keys(Keys.SPACE)
        assert poll(lambda: "exclude_pull=true" in page.current_url, True) is True


def test_times_are_in_the_time_zone_that_the_viewer_chose(app: Application, driver: Chrome) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    events = app.events("reader", repository="acme/web")
    sign_in(driver, app, "reader")
    follow(driver, "reader")
    assert poll(lambda: text(driver, "h1"), "Your settings") == "Your settings"
    Select(driver.find_element(By.NAME, "time_zone")).select_by_value(tokyo.key)
    press(driver, "Save")
    assert poll(lambda: text(driver, ".notice"), "Saved.") == "Saved."

    driver.get(app.url + ACTIVITY)
    assert rows(driver) == shown(events, tokyo)
    assert "Times are in Asia/Tokyo." in text(driver, "#feed")

    day = occurred(events[0]).astimezone(tokyo).replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = {"range": "custom", "after": f"{day:%Y-%m-%dT%H:%M}"}
    driver.get(f"{app.url}{ACTIVITY}?{urlencode(bounds)}")
    assert rows(driver) == shown([event for event in events if occurred(event) >= day], tokyo)
