"""The chart of each activity page counts the same events as the list below the chart."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.test import Client
from django.utils import timezone

from activity.feed import chart_counts, plans, reading
from activity.models import Event
from activity.storage import tallies
from repositories.models import Repository
from repositories.utils.among import MAX_LISTED
from tests import factories
from tests.event_tables import column, get_page
from tests.factories import SEES_EVERYTHING

NEXT = re.compile(r'rel="next" href="([^"]*)"')


def count_in_list(client: Client, url: str, **query: Any) -> int:
    """Return the total number of events on all pages of a list."""
    html = get_page(client, url, **query)
    number = len(column(html, "Label"))
    while found := NEXT.search(html):
        html = client.get(url + found[1].replace("&amp;", "&")).content.decode()
        number += len(column(html, "Label"))
    return number


def count_in_chart(client: Client, url: str, **query: Any) -> int:
    """Return the number of events in a page's chart."""
    return client.get(url, query).context["chart"].total


class TestChart:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        now = timezone.now()
        repositories = [
            web,
            factories.repository("acme/docs", public=True),
            factories.repository("acme/secret"),
        ]
        for number in range(60):
            kind = ["update_tag", "get_tag", "delete_tag", "promote", "create_manifest"][number % 5]
            factories.record(
                kind,
                repositories[number % 3],
                tag="v1",
                digest=factories.DIGEST,
                actor_name=f"u{number % 2}",
                occurred_at=now - timedelta(minutes=number**2 * 10),
            )
        factories.UserFactory(username="late")
        factories.record(
            "update_tag", web, tag="late", actor_name="late", occurred_at=now - timedelta(days=9)
        )
        tallies.fold()
        factories.record("update_tag", web, tag="v2", occurred_at=now - timedelta(days=8))

    QUERIES = [
        {},
        {"exclude_pull": "false"},
        {"range": "hour"},
        {"range": "day", "exclude_pull": "false"},
        {"range": "week"},
        {"range": "quarter", "sort": "tag"},
        {"tag": "v1"},
        {"type": "DELETE", "range": "month"},
        {"actor": "u1", "exclude_pull": "false"},
    ]

    @pytest.mark.long
    @pytest.mark.parametrize(("permission", "max_listed"), [("level_read", MAX_LISTED), ("level_admin", 0)])
    @pytest.mark.parametrize(
        "path", ["activity", "repositories/acme/web/activity", "organizations/acme/activity"]
    )
    def test_chart_counts_the_events_of_the_list(
        self,
        log_in: Any,
        web: Repository,
        permission: str,
        max_listed: int,
        path: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # If the limit is 0, the application uses the queries for viewers who can see many repositories.
        monkeypatch.setattr("activity.feed.chart_counts.MAX_LISTED", max_listed)
        person = factories.user_with(permission, web)
        factories.add_member(web.namespace.organization, person)
        client = log_in(person)

        counts = [
            (count_in_chart(client, f"/{path}/", **query), count_in_list(client, f"/{path}/", **query))
            for query in self.QUERIES
        ]

        assert [in_chart for in_chart, _ in counts] == [in_list for _, in_list in counts]
        assert len(set(counts)) > 4

    @pytest.mark.long
    @pytest.mark.parametrize("query", [{}, {"range": "day"}, {"tag": "v1"}], ids=str)
    def test_chart_bar_links_to_the_events_that_it_counts(
        self, log_in: Any, web: Repository, query: dict[str, str]
    ) -> None:
        client = log_in(factories.user_with("level_admin", web))
        url = "/repositories/acme/web/activity/"

        for bar in client.get(url, query).context["chart"].bars:
            link = parse_qs(bar.url.removeprefix("?"))
            assert count_in_list(client, url, **link) == count_in_chart(client, url, **link) == bar.total
            assert link["range"] == ["custom"]

    def test_chart_with_filters_counts_at_most_the_limit_and_says_so(
        self, admin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 10)

        response = admin.get("/activity/", {"tag": "v1"})

        assert response.context["chart"].total == 9  # the time of the tenth may have more events
        assert "The chart shows only the newest 9 events" in response.content.decode()
        bars = response.context["chart"].bars
        assert sum(count_in_list(admin, "/activity/", **parse_qs(bar.url[1:])) for bar in bars) == 9

    def test_chart_of_quiet_repositories_begins_with_their_events(
        self, admin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plans, "MAX_DESCENTS", 5)

        response = admin.get("/activity/", {"q": "repo:acme/web"})

        assert len(response.context["chart"].bars) > 20
        assert response.context["chart"].total == count_in_list(admin, "/activity/", q="repo:acme/web")
        assert "The chart shows only" not in response.content.decode()

    def test_chart_is_empty_if_more_events_than_the_limit_have_the_newest_time(
        self, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = timezone.now()
        for number in range(5):
            factories.record("update_tag", web, tag="now", source_id=f"now-{number}", occurred_at=now)

        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 3)
        plan = plans.Plan(Event.objects.all(), SEES_EVERYTHING).without_pulls()

        buckets, cutoff = chart_counts.count_events(plan, None, None)

        assert (buckets, cutoff is not None) == ([], True)
