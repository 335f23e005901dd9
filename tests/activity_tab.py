"""Browser helpers for the Activity tab, which operate its controls and wait for its rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from repositories.names import short_tag
from tests.running import poll, rows

Rows = list[dict[str, str]]


def expected_rows(events: list[dict[str, Any]], zone: ZoneInfo | None = None) -> Rows:
    """Return the rows that a list of these events shows on its first page."""
    return [
        {
            "Label": f"{event['label']}: {event['subject']}" if event["subject"] else event["label"],
            "Repository": event["repository"],
            "Tag": _shown(event["tag"]),
            "SHA": event["digest"][: len("sha256:01234567")],
            "Type": event["type"],
            "Initiated by": event["actor"]["label"],
            "Date and time": format_time(event, zone),
        }
        for event in events[:10]
    ]


def _shown(reference: str) -> str:
    repository, colon, tag = reference.partition(":")
    return f"{repository}{colon}{short_tag(tag)}"


def format_time(event: dict[str, Any], zone: ZoneInfo | None = None) -> str:
    time = occurred_at(event).astimezone(zone or UTC)
    return f"{time:%b} {time.day}, {time.year} {time.hour % 12 or 12}:{time:%M %p}"


def occurred_at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


def newer_than(events: list[dict[str, Any]], **age: int) -> list[dict[str, Any]]:
    start = datetime.now(UTC) - timedelta(**age)
    return [event for event in events if occurred_at(event) >= start]


def wait_for_rows(driver: Chrome, expected: Rows, **query: str) -> bool:
    """Wait until the page lists these rows and its URL has these query parameters, and return True."""

    def read() -> tuple[Rows, dict[str, str]]:
        in_url = dict(parse_qsl(urlsplit(driver.current_url).query))
        return rows(driver), {name: in_url.get(name, "") for name in query}

    assert poll(read, (expected, query)) == (expected, query)
    return True


def click_button(driver: Chrome, label: str) -> None:
    driver.find_element(By.XPATH, f"//button[text()='{label}']").click()


def apply_if_no_scripts(driver: Chrome) -> None:
    """Click Apply if scripts are off. If scripts are on, the page applies changes immediately."""
    if not driver.execute_script("return 'htmx' in window"):
        click_button(driver, "Apply")


def choose_range(driver: Chrome, label: str) -> None:
    Select(driver.find_element(By.NAME, "range")).select_by_visible_text(label)
    apply_if_no_scripts(driver)


def set_custom_range(driver: Chrome, after: datetime, before: datetime) -> None:
    """Fill in both ends of the custom range.

    The values are set by a script, because the format in which a time must be typed depends on the locale.
    """
    for name, time in (("after", after), ("before", before)):
        field = driver.find_element(By.NAME, name)
        assert field.is_displayed()
        driver.execute_script("arguments[0].value = arguments[1]", field, f"{time:%Y-%m-%dT%H:%M}")
    click_button(driver, "Apply")


def toggle_exclude_pull(driver: Chrome) -> None:
    """Check or uncheck the "Exclude pull" box."""
    driver.find_element(By.CSS_SELECTOR, "input[type=checkbox][name=exclude_pull]").click()
    apply_if_no_scripts(driver)


def sort_by(driver: Chrome, column: str) -> None:
    driver.find_element(By.CSS_SELECTOR, ".events thead").find_element(By.PARTIAL_LINK_TEXT, column).click()
