"""Live updates: an open page announces new events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from repositories.models import Repository
from tests import factories, services
from tests.running import Application, application, console_messages, poll, rows, sign_in, text

URL = "/repositories/acme/web/activity/"


def polling_url(client: Client, **query: Any) -> str:
    """Request the page, and return the URL that it polls for new events, or "" if it doesn't poll."""
    found = re.search(r'hx-get="([^"]*since=[^"]*)"', client.get(URL, query).content.decode())
    return URL + unescape(found[1]) if found else ""


def announcement(client: Client, url: str, announced: int = 0) -> str:
    """Poll for new events, and return the text of the announcement."""
    response = client.get(f"{url}&announced={announced}")
    assert response.status_code in (200, 204)
    return " ".join(re.sub("<[^>]*>", "", response.content.decode()).split())


def record(web: Repository, kind: str = "update_tag", ago: int = 0, **values: Any) -> None:
    moment = timezone.now() - timedelta(seconds=ago)
    factories.record(kind, web, occurred_at=moment, **{"tag": "v1", **values})


def test_new_events_are_counted(reader: Client, web: Repository) -> None:
    record(web, ago=60)
    url = polling_url(reader)
    assert announcement(reader, url) == ""

    record(web)
    assert announcement(reader, url) == "1 new event. Show it"
    for _ in range(2):
        record(web)
    assert announcement(reader, url) == "3 new events. Show them"


def test_announced_events_are_not_announced_again(reader: Client, web: Repository) -> None:
    url = polling_url(reader)
    record(web)
    assert announcement(reader, url, announced=1) == ""

    record(web)
    assert announcement(reader, url, announced=1) == "2 new events. Show them"


def test_events_that_arrive_late_are_announced(reader: Client, web: Repository) -> None:
    for ago in (10, 1800):
        record(web, ago=ago)
    url = polling_url(reader)

    record(web, ago=600)

    assert announcement(reader, url) == "1 new event. Show it"


def test_event_that_left_the_time_range_does_not_offset_a_new_one(reader: Client, web: Repository) -> None:
    shown = factories.record("update_tag", web, tag="v1", occurred_at=timezone.now() - timedelta(minutes=61))
    opened_two_minutes_ago = f"{URL}?range=hour&since={shown.pk}&shown=1"

    record(web)

    assert announcement(reader, opened_two_minutes_ago) == "1 new event. Show it"


def test_events_older_than_an_hour_are_not_announced(reader: Client, web: Repository) -> None:
    record(web, ago=90 * 60)
    url = polling_url(reader)

    record(web, ago=80 * 60)

    assert announcement(reader, url) == ""


def test_new_events_are_announced_on_a_full_page(reader: Client, web: Repository) -> None:
    for ago in range(12):
        record(web, ago=60 + ago)
    url = polling_url(reader)

    record(web)

    assert announcement(reader, url) == "1 new event. Show it"


def test_new_events_are_counted_up_to_100(reader: Client, web: Repository) -> None:
    url = polling_url(reader)
    for _ in range(101):
        record(web)

    assert announcement(reader, url) == "100 or more new events. Show them"


@pytest.mark.parametrize(
    ("query", "expected"),
    [({"tag": "v1"}, "1 new"), ({"tag": "v2"}, ""), ({"range": "hour"}, "1 new")],
    ids=str,
)
def test_only_events_that_the_page_lists_are_announced(
    reader: Client, web: Repository, query: dict[str, str], expected: str
) -> None:
    url = polling_url(reader, **query)

    record(web)
    record(web, "get_tag")  # readers can't see pulls
    record(factories.repository("acme/secret"))

    assert announcement(reader, url)[:5] == expected


def test_announcement_links_to_the_first_page_with_the_same_filters(reader: Client, web: Repository) -> None:
    url = polling_url(reader, tag="v1", type="UPDATE")
    record(web)

    html = reader.get(url).content.decode()

    assert 'href="?tag=v1&amp;type=UPDATE"' in html
    assert 'name="announced" value="1"' in html


@pytest.mark.parametrize(
    "query", [{"sort": "time"}, {"sort": "tag"}, {"range": "custom", "before": "2026-11-01T00:00"}], ids=str
)
def test_lists_that_do_not_start_with_the_newest_event_do_not_poll(
    reader: Client, query: dict[str, str]
) -> None:
    assert polling_url(reader, **query) == ""


def test_later_pages_do_not_poll(reader: Client, web: Repository) -> None:
    for ago in range(11):
        record(web, ago=ago)
    first = reader.get(URL).content.decode()
    cursor = re.search(r'rel="next" href="\?cursor=([^"]*)"', first)
    assert cursor

    assert polling_url(reader) != ""
    assert polling_url(reader, cursor=cursor[1]) == ""


def test_polling_requires_access_to_the_page(reader: Client, log_in: Any, web: Repository) -> None:
    url = polling_url(reader)

    assert log_in(factories.UserFactory()).get(url).status_code == 404
    assert Client().get(url).status_code == 302


@pytest.mark.parametrize(
    "query",
    [
        {"since": ""},
        {"since": "x"},
        {"since": "\0"},
        {"since": "0" * 32, "shown": "-1"},
        {"since": "0" * 32, "announced": "1" * 5000},
        {"since": "0" * 32, "shown": "²"},
    ],
    ids=lambda query: str(query)[:60],
)
def test_polling_with_invalid_parameters_is_not_found(reader: Client, query: dict[str, str]) -> None:
    assert reader.get(URL, query).status_code == 404


def test_query_count_of_polling_does_not_grow(reader: Client, web: Repository) -> None:
    def add_events_and_count_queries() -> int:
        url = polling_url(reader)
        for _ in range(5):
            record(web)
        with CaptureQueriesContext(connection) as queries:
            announcement(reader, url)
        return len(queries)

    add_events_and_count_queries()
    assert add_events_and_count_queries() == add_events_and_count_queries() <= 14


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=100) as app:
        yield app


@pytest.mark.long
class TestInBrowser:
    @pytest.fixture
    def page(self, app: Application) -> Iterator[Chrome]:
        with services.chromium(1280, 900) as driver:
            sign_in(driver, app, "reader")
            driver.get(app.url + URL)
            yield driver
            assert console_messages(driver) == []

    def push(self, app: Application, tag: str) -> None:
        message = factories.notification(timestamp=timezone.now().isoformat(), target={"tag": tag})
        assert app.notify(json.dumps({"events": [message]})).status_code == 200

    def poll_now(self, page: Chrome) -> None:
        """Pretend that the tab becomes visible, so that the page polls now rather than within ten seconds."""
        page.execute_script("document.dispatchEvent(new Event('visibilitychange'))")

    def test_page_does_not_change_until_new_events_are_requested(
        self, app: Application, page: Chrome
    ) -> None:
        page.execute_script("scrollTo(0, 300)")
        before = rows(page)
        get_top = "return document.querySelector('.events').getBoundingClientRect().top"
        top = page.execute_script(get_top)

        self.push(app, "brand-new")
        self.poll_now(page)

        announced = "2 new events. Show them"  # one push creates a manifest and updates a tag
        assert poll(lambda: text(page, "#new-events[role=status]"), announced) == announced
        assert (rows(page), page.execute_script(get_top)) == (before, top)

        page.find_element(By.ID, "show-new-events").click()
        assert poll(lambda: rows(page)[0]["Tag"], "acme/web:brand-new") == "acme/web:brand-new"
        assert rows(page)[2:] == before[:-2]
        focused = "return document.activeElement.id"
        assert poll(lambda: page.execute_script(focused), "events") == "events"
        assert poll(lambda: text(page, "#new-events"), "") == ""

    @pytest.mark.long
    def test_new_events_are_announced_automatically(self, app: Application, page: Chrome) -> None:
        self.push(app, "by-itself")

        announced = "2 new events. Show them"
        assert poll(lambda: text(page, "#new-events"), announced) == announced

    def test_hidden_tab_does_not_poll(self, app: Application, page: Chrome) -> None:
        count_requests = (
            "return performance.getEntriesByType('resource').filter(e => e.name.includes('since=')).length"
        )
        page.execute_script("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        self.push(app, "unseen")
        self.poll_now(page)
        assert page.execute_script(count_requests) == 0

        page.execute_script("delete document.hidden")
        self.poll_now(page)
        announced = "2 new events. Show them"
        assert poll(lambda: text(page, "#new-events"), announced) == announced
        assert page.execute_script(count_requests) == 1

    def test_default_time_zone_is_that_of_the_browser(self, app: Application) -> None:
        with services.chromium(1280, 900) as driver:
            driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
            sign_in(driver, app, "repoadmin")

            def shows_time_zone() -> bool:
                driver.get(app.url + URL)
                return "Times are in Asia/Tokyo (detected from your browser)" in text(driver, "#events")

            assert poll(shows_time_zone, True) is True
