"""What a page tells of events that are recorded while it is read."""

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
from tests.running import Application, application, poll, rows, sign_in, text

URL = "/repositories/acme/web/activity/"


@pytest.fixture
def reader(log_in: Any, web: Repository) -> Client:
    return log_in(factories.user_with("level_read", web))


def watched(client: Client, **query: Any) -> str:
    """Open the page, and return where it asks for news."""
    found = re.search(r'hx-get="([^"]*since=[^"]*)"', client.get(URL, query).content.decode())
    return URL + unescape(found[1]) if found else ""


def news(client: Client, url: str, told: int = 0) -> str:
    response = client.get(f"{url}&announced={told}")
    assert response.status_code in (200, 204)
    return " ".join(re.sub("<[^>]*>", "", response.content.decode()).split())


def record(web: Repository, kind: str = "update_tag", ago: int = 0, **values: Any) -> None:
    moment = timezone.now() - timedelta(seconds=ago)
    factories.record(kind, web, occurred_at=moment, **{"tag": "v1", **values})


def test_new_events_are_counted(reader: Client, web: Repository) -> None:
    record(web, ago=60)
    url = watched(reader)
    assert news(reader, url) == ""

    record(web)
    assert news(reader, url) == "1 new event. Show it"
    for _ in range(2):
        record(web)
    assert news(reader, url) == "3 new events. Show them"


def test_what_was_told_is_not_told_again(reader: Client, web: Repository) -> None:
    url = watched(reader)
    record(web)
    assert news(reader, url, told=1) == ""

    record(web)
    assert news(reader, url, told=1) == "2 new events. Show them"


def test_late_arrivals_are_news(reader: Client, web: Repository) -> None:
    for ago in (10, 1800):
        record(web, ago=ago)
    url = watched(reader)

    record(web, ago=600)

    assert news(reader, url) == "1 new event. Show it"


def test_what_leaves_the_last_hour_meanwhile_makes_up_for_nothing(reader: Client, web: Repository) -> None:
    shown = factories.record("update_tag", web, tag="v1", occurred_at=timezone.now() - timedelta(minutes=61))
    opened_two_minutes_ago = f"{URL}?range=hour&since={shown.pk}&shown=1"

    record(web)

    assert news(reader, opened_two_minutes_ago) == "1 new event. Show it"


def test_looks_back_an_hour_at_most(reader: Client, web: Repository) -> None:
    record(web, ago=90 * 60)
    url = watched(reader)

    record(web, ago=80 * 60)

    assert news(reader, url) == ""


def test_a_full_page_has_news_too(reader: Client, web: Repository) -> None:
    for ago in range(12):
        record(web, ago=60 + ago)
    url = watched(reader)

    record(web)

    assert news(reader, url) == "1 new event. Show it"


def test_many_are_not_counted_to_the_end(reader: Client, web: Repository) -> None:
    url = watched(reader)
    for _ in range(101):
        record(web)

    assert news(reader, url) == "100 or more new events. Show them"


@pytest.mark.parametrize(
    ("query", "found"), [({"tag": "v1"}, "1 new"), ({"tag": "v2"}, ""), ({"range": "hour"}, "1 new")], ids=str
)
def test_only_what_the_page_would_list_is_news(
    reader: Client, web: Repository, query: dict[str, str], found: str
) -> None:
    url = watched(reader, **query)

    record(web)
    record(web, "get_tag")  # readers see no pulls
    record(factories.repository("acme/secret"))

    assert news(reader, url)[:5] == found


def test_show_them_leads_to_the_first_page_with_the_same_choice(reader: Client, web: Repository) -> None:
    url = watched(reader, tag="v1", type="UPDATE")
    record(web)

    html = reader.get(url).content.decode()

    assert 'href="?tag=v1&amp;type=UPDATE"' in html
    assert 'name="announced" value="1"' in html


@pytest.mark.parametrize(
    "query", [{"sort": "time"}, {"sort": "tag"}, {"range": "custom", "before": "2026-11-01T00:00"}], ids=str
)
def test_lists_that_do_not_begin_with_the_newest_have_none(reader: Client, query: dict[str, str]) -> None:
    assert watched(reader, **query) == ""


def test_later_pages_have_none(reader: Client, web: Repository) -> None:
    for ago in range(11):
        record(web, ago=ago)
    first = reader.get(URL).content.decode()
    cursor = re.search(r'rel="next" href="\?cursor=([^"]*)"', first)
    assert cursor

    assert watched(reader) != ""
    assert watched(reader, cursor=cursor[1]) == ""


def test_are_for_those_who_may_see_the_page(reader: Client, log_in: Any, web: Repository) -> None:
    url = watched(reader)

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
def test_position_that_no_page_has_is_not_found(reader: Client, query: dict[str, str]) -> None:
    assert reader.get(URL, query).status_code == 404


def test_cost_does_not_grow(reader: Client, web: Repository) -> None:
    def cost() -> int:
        url = watched(reader)
        for _ in range(5):
            record(web)
        with CaptureQueriesContext(connection) as queries:
            news(reader, url)
        return len(queries)

    cost()
    assert cost() == cost() <= 9


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=100) as app:
        yield app


class TestInABrowser:
    @pytest.fixture
    def page(self, app: Application) -> Iterator[Chrome]:
        with services.chromium(1280, 900) as driver:
            sign_in(driver, app, "reader")
            driver.get(app.url + URL)
            yield driver
            assert driver.get_log("browser") == []

    def push(self, app: Application, tag: str) -> None:
        message = factories.notification(timestamp=timezone.now().isoformat(), target={"tag": tag})
        assert app.notify(json.dumps({"events": [message]})).status_code == 200

    def ask(self, page: Chrome) -> None:
        """Have the page ask now, as it does when its tab is shown again, rather than in ten seconds."""
        page.execute_script("document.dispatchEvent(new Event('visibilitychange'))")

    def test_news_are_told_and_move_nothing_until_they_are_asked_for(
        self, app: Application, page: Chrome
    ) -> None:
        page.execute_script("scrollTo(0, 300)")
        before = rows(page)
        place = "return document.querySelector('.events').getBoundingClientRect().top"
        top = page.execute_script(place)

        self.push(app, "brand-new")
        self.ask(page)

        told = "2 new events. Show them"  # the manifest and the tag
        assert poll(lambda: text(page, "#new-events[role=status]"), told) == told
        assert (rows(page), page.execute_script(place)) == (before, top)

        page.find_element(By.ID, "show-new-events").click()
        assert poll(lambda: rows(page)[0]["Tag"], "acme/web:brand-new") == "acme/web:brand-new"
        assert rows(page)[2:] == before[:-2]
        focused = "return document.activeElement.id"
        assert poll(lambda: page.execute_script(focused), "events") == "events"
        assert poll(lambda: text(page, "#new-events"), "") == ""

    def test_come_by_themselves(self, app: Application, page: Chrome) -> None:
        self.push(app, "by-itself")

        told = "2 new events. Show them"
        assert poll(lambda: text(page, "#new-events"), told) == told

    def test_are_not_asked_for_in_a_hidden_tab(self, app: Application, page: Chrome) -> None:
        asked = (
            "return performance.getEntriesByType('resource').filter(e => e.name.includes('since=')).length"
        )
        page.execute_script("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        self.push(app, "unseen")
        self.ask(page)
        assert page.execute_script(asked) == 0

        page.execute_script("delete document.hidden")
        self.ask(page)
        told = "2 new events. Show them"
        assert poll(lambda: text(page, "#new-events"), told) == told
        assert page.execute_script(asked) == 1

    def test_time_zone_is_that_of_the_browser_until_another_is_chosen(self, app: Application) -> None:
        with services.chromium(1280, 900) as driver:
            driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
            sign_in(driver, app, "repoadmin")

            def zone() -> bool:
                driver.get(app.url + URL)
                return "Times are in Asia/Tokyo (detected from your browser)" in text(driver, "#events")

            assert poll(zone, True) is True
