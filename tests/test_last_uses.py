"""Repositories are listed by their last push and pull, and pulls are summed by person."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from activity.storage import tags, tallies
from repositories.models import Repository
from tests import factories
from tests.event_tables import column

NOW = timezone.now()
LONG_AGO = NOW - timedelta(days=200)
API = "/api/v0/repositories/"
ADMIN = "/admin/registry_repositories/repository/"


def listed(client: Client, url: str = "/repositories/", **query: Any) -> list[str]:
    """Return the names in a list of repositories."""
    html = client.get(url, query).content.decode()
    return re.findall(r'<a href="[^"]*">(acme/[a-z]+)</a>', html)


@pytest.fixture
def repositories(db: None) -> dict[str, Repository]:
    """Repositories that were last pushed to and pulled from at different times."""
    found = {}
    uses: dict[str, dict[str, datetime]] = {
        "idle": {"update_tag": LONG_AGO, "get_tag": LONG_AGO},
        "busy": {"update_tag": NOW - timedelta(days=3), "get_tag": NOW - timedelta(hours=2)},
        "quiet": {"update_tag": NOW - timedelta(days=1)},
    }
    for name, moments in uses.items():
        repository = found[name] = factories.repository(f"acme/{name}")
        Repository.objects.filter(pk=repository.pk).update(known_since=LONG_AGO)
        for kind, moment in moments.items():
            factories.record(kind, repository, tag="v1", actor_name="mara", occurred_at=moment)
    new = factories.repository("acme/new")
    factories.record("update_tag", new, tag="v1", occurred_at=NOW)
    tallies.fold()
    return {**found, "new": new}


class TestOrder:
    @pytest.mark.parametrize(
        ("sort", "names"),
        [
            ("-push", ["new", "quiet", "busy", "idle"]),
            ("push", ["idle", "busy", "quiet", "new"]),
            ("-pull", ["busy", "idle", "new", "quiet"]),
            ("pull", ["quiet", "new", "idle", "busy"]),
        ],
    )
    def test_repositories_are_listed_by_use(
        self, admin: Client, repositories: dict[str, Repository], sort: str, names: list[str]
    ) -> None:
        found = listed(admin, sort=sort)
        never = {"quiet", "new"} if "pull" in sort else set()

        assert [name for name in found if name.removeprefix("acme/") not in never] == [
            f"acme/{name}" for name in names if name not in never
        ]
        assert {*found} == {f"acme/{name}" for name in names}

    def test_pages_of_the_list_contain_each_repository_once(
        self, admin: Client, repositories: dict[str, Repository], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("repositories.views.lists.KeysetListView.page_size", 1)
        found, query = [], {"sort": "pull"}
        for _ in range(4):
            html = admin.get("/repositories/", query).content.decode()
            found += re.findall(r'<a href="[^"]*">(acme/[a-z]+)</a>', html)
            if cursor := re.search(r'rel="next" href="[^"]*cursor=([\w-]+)', html):
                query["cursor"] = cursor[1]

        assert sorted(found) == ["acme/busy", "acme/idle", "acme/new", "acme/quiet"]

    def test_repositories_not_pulled_for_90_days(
        self, admin: Client, repositories: dict[str, Repository]
    ) -> None:
        assert sorted(listed(admin, not_pulled_for="90")) == ["acme/idle", "acme/quiet"]
        html = admin.get(ADMIN, {"not_pulled_for": "90"}).content.decode()
        assert [name in html for name in ("acme/idle", "acme/quiet", "acme/busy", "acme/new")] == [
            True,
            True,
            False,
            False,
        ]

    def test_api_lists_repositories_not_pulled_for_90_days(
        self, admin: Client, log_in: Any, repositories: dict[str, Repository]
    ) -> None:
        reader = log_in(factories.user_with("level_read", repositories["idle"]))

        found = admin.get(API, {"not_pulled_for": "90"}).json()["results"]

        assert [each["name"] for each in found] == ["acme/idle", "acme/quiet"]
        assert reader.get(API).json()["results"] != []
        assert reader.get(API, {"not_pulled_for": "90"}).json()["results"] == []
        (error,) = admin.get(API, {"not_pulled_for": "0"}).json()["errors"]
        assert error["parameter"] == "not_pulled_for"

    def test_request_for_a_tag_counts_as_a_pull(
        self, admin: Client, repositories: dict[str, Repository]
    ) -> None:
        tags.update_requests([(repositories["quiet"], "v1", NOW)])

        assert listed(admin, not_pulled_for="90") == ["acme/idle"]

    def test_event_that_arrives_late_does_not_change_a_later_use(
        self, admin: Client, repositories: dict[str, Repository]
    ) -> None:
        factories.record("get_tag", repositories["busy"], tag="v1", occurred_at=LONG_AGO)
        tallies.fold()

        assert "acme/busy" not in listed(admin, not_pulled_for="90")

    def test_clock_ahead_does_not_hide_a_repository_for_ever(
        self, admin: Client, repositories: dict[str, Repository]
    ) -> None:
        factories.record("get_tag", repositories["idle"], occurred_at=NOW + timedelta(days=900), tag="v1")
        tallies.fold()

        repositories["idle"].refresh_from_db()
        assert repositories["idle"].last_pull is not None
        assert repositories["idle"].last_pull <= timezone.now()

    def test_list_by_pulls_contains_only_repositories_whose_pulls_the_viewer_may_see(
        self, log_in: Any, repositories: dict[str, Repository]
    ) -> None:
        reader = factories.user_with("level_read", repositories["idle"])
        client = log_in(reader)

        assert listed(client, sort="push") == ["acme/idle"]
        assert listed(client, sort="pull") == listed(client, not_pulled_for="90") == []
        assert listed(client, not_pulled_for="90", sort="push") == []

    def test_staff_without_a_role_do_not_see_uses(
        self, log_in: Any, repositories: dict[str, Repository]
    ) -> None:
        staff = factories.UserFactory(is_staff=True)
        factories.permit(staff, "registry_repositories.view_repository")
        client = log_in(staff)

        page = client.get(f"{ADMIN}{repositories['idle'].pk}/change/").content.decode()
        assert "acme/idle" in client.get(ADMIN).content.decode()
        assert "Last pull" not in client.get(ADMIN).content.decode() + page
        for query in ({"not_pulled_for": "90"}, {"last_pull__lt": "2026-01-01"}, {"last_pull__isnull": "1"}):
            answer = client.get(ADMIN, query, follow=True)
            assert answer.status_code == 400 or "acme/idle" not in answer.content.decode()

    @pytest.mark.parametrize("query", [{"sort": "size"}, {"not_pulled_for": "x"}, {"not_pulled_for": "0"}])
    def test_unknown_order_shows_nothing(
        self, admin: Client, repositories: dict[str, Repository], query: dict[str, str]
    ) -> None:
        assert listed(admin, **query) == []


class TestTags:
    URL = "/repositories/acme/idle/tags/"

    @pytest.fixture
    def idle(self, repositories: dict[str, Repository]) -> Repository:
        """The repository with an unused tag, one that is pulled, one that is requested, and a new one."""
        idle = repositories["idle"]
        for name, pushed in (("pulled", LONG_AGO), ("requested", LONG_AGO), ("new", NOW)):
            factories.record("update_tag", idle, tag=name, occurred_at=pushed)
        factories.record("get_tag", idle, tag="pulled", occurred_at=NOW)
        tags.update_requests([(idle, "requested", NOW)])
        return idle

    def test_tags_not_pulled_for_90_days(self, admin: Client, idle: Repository) -> None:
        html = admin.get(self.URL, {"not_pulled_for": "90"}).content.decode()
        assert column(html, "Tag") == ["v1"]
        assert "All tags" in admin.get(self.URL, {"not_pulled_for": "300"}).content.decode()

    def test_api_lists_tags_not_pulled_for_90_days(
        self, admin: Client, log_in: Any, idle: Repository
    ) -> None:
        reader = log_in(factories.user_with("level_read", idle))
        url = f"{API}acme/idle/tags/"

        assert [tag["name"] for tag in admin.get(url, {"not_pulled_for": "90"}).json()["results"]] == ["v1"]
        assert reader.get(url, {"not_pulled_for": "90"}).status_code == 400

    def test_filter_is_only_for_those_who_may_see_pulls(self, log_in: Any, idle: Repository) -> None:
        client = log_in(factories.user_with("level_read", idle))
        html = client.get(self.URL, {"not_pulled_for": "90"}).content.decode()

        assert "Unknown parameter: “not_pulled_for”." in html


class TestPullers:
    URL = "/repositories/acme/busy/pulls/"

    @pytest.fixture
    def pulls(self, repositories: dict[str, Repository]) -> Repository:
        busy = repositories["busy"]
        for number, (actor, days) in enumerate([("li", 1), ("li", 2), ("mara", 1), ("old", 50)]):
            moment = NOW - timedelta(days=days, minutes=number)
            factories.record("get_tag", busy, tag=f"v{number}", actor_name=actor, occurred_at=moment)
        return busy

    @staticmethod
    def sums(html: str) -> list[tuple[str, ...]]:
        text = re.sub(r"<(?!/?td)[^>]*>", "", html)
        return re.findall(r'label="Pulled by"[^>]*>([^<]*)</td>\s*<td data-label="Pulls">(\d+)<', text)

    def test_pulls_are_summed_by_person(self, admin: Client, pulls: Repository) -> None:
        assert self.sums(admin.get(self.URL).content.decode()) == [("li", "2"), ("mara", "2")]
        quarter = self.sums(admin.get(self.URL, {"range": "quarter"}).content.decode())
        assert quarter == [("li", "2"), ("mara", "2"), ("old", "1")]
        assert self.sums(admin.get(self.URL, {"tag": "v0"}).content.decode()) == [("li", "1")]

    def test_sums_say_since_when_they_count(
        self, admin: Client, pulls: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("activity.feed.pullers.MAX_COUNTED", 2)
        html = admin.get(self.URL).content.decode()

        assert "Only the newest pulls are counted, since" in html
        assert sum(int(number) for _, number in self.sums(html)) == 2

    def test_only_who_may_see_pulls_finds_the_sums(self, log_in: Any, pulls: Repository) -> None:
        assert log_in(factories.user_with("level_read_write", pulls)).get(self.URL).status_code == 404
        assert log_in(factories.user_with("view_pull_events", pulls)).get(self.URL).status_code == 200
