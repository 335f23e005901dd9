"""What the API says about the catalogue, about the caller, about tags, and about numbers of events."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from activity.catalogue import KINDS
from activity.storage import tallies
from repositories.models import Repository
from tests import factories
from tests.factories import DIGEST, NOON

API = "/api/v0/"
OTHER = "sha256:" + 64 * "0"
KINDS_URL, HISTOGRAM, ME = f"{API}events/kinds/", f"{API}events/histogram/", f"{API}me/"
TAGS = f"{API}repositories/acme/web/tags/"


def get(client: Client, url: str, **query: Any) -> Any:
    response = client.get(url, query)
    assert response.status_code == 200, response.content
    return response.json()


def caller(user: Any) -> Client:
    return Client(headers=factories.bearer(user))


class TestKinds:
    def categories(self, client: Client) -> set[str]:
        return {kind["category"] for kind in get(client, KINDS_URL)["results"]}

    def test_auditor_sees_the_whole_catalogue(self, auditor: Client) -> None:
        factories.enable_scanning()

        kinds = get(auditor, KINDS_URL)["results"]

        assert [kind["kind"] for kind in kinds] == list(KINDS)
        assert kinds[0] == {
            "kind": "create_repository",
            "label": "Create Repository",
            "type": "CREATE",
            "category": "create_repo",
        }

    def test_scans_are_listed_if_scanning_is_enabled(self, auditor: Client) -> None:
        assert "scan" not in self.categories(auditor)

    @pytest.mark.parametrize("max_ids", [0, 1, 100])
    def test_others_see_what_they_may_see_somewhere(
        self, web: Repository, max_ids: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("repositories.access.resolving.MAX_IDS", max_ids)
        reader = factories.user_with("level_read", web)
        assert self.categories(caller(factories.UserFactory())) == {"account"}
        assert self.categories(caller(reader)) == {"push", "delete", "create_repo", "account"}

        factories.assign_perm("view_mirror_events", reader, factories.repository("acme/other"))
        assert self.categories(caller(reader)) == {"push", "delete", "create_repo", "account", "mirror"}

    def test_kinds_can_be_searched_for(self, auditor: Client) -> None:
        for kind in get(auditor, KINDS_URL)["results"]:
            get(auditor, f"{API}events/", search=f"kind:{kind['kind']}")


class TestHistogram:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        other = factories.repository("globex/api")
        for number, (kind, repository) in enumerate(
            [("update_tag", web), ("get_tag", web), ("delete_tag", web), ("update_tag", other)]
        ):
            occurred_at = NOON + timedelta(hours=number)
            factories.record(kind, repository, tag="v1", actor_name="jane", occurred_at=occurred_at)
        tallies.fold()

    def counts(self, client: Client, **query: Any) -> dict[str, int]:
        """Return the total of each category, without the events of the fixtures themselves."""
        found = get(client, HISTOGRAM, **{"after": NOON, "before": NOON + timedelta(days=1), **query})
        buckets = found["buckets"]
        for bucket, following in pairwise(buckets):
            assert bucket["end"] == following["start"]
        totals: dict[str, int] = {}
        for bucket in buckets:
            assert bucket["total"] == sum(bucket["counts"].values())
            for category, number in bucket["counts"].items():
                totals[category] = totals.get(category, 0) + number
        return totals

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, {"push": 2, "pull": 1, "delete": 1}),
            ({"exclude_pull": "true"}, {"push": 2, "delete": 1}),
            ({"repository": "acme/web"}, {"push": 1, "pull": 1, "delete": 1}),
            ({"repository": "acme/none"}, {}),
            ({"namespace": "globex"}, {"push": 1}),
            ({"organization": "acme"}, {"push": 1, "pull": 1, "delete": 1}),
            ({"organization": "acme", "namespace": "globex"}, {}),
            ({"category": "pull"}, {"pull": 1}),
            ({"type": ["DELETE", "UPDATE"]}, {"push": 2, "delete": 1}),
            ({"tag": "v1", "namespace": "acme"}, {"push": 1, "pull": 1, "delete": 1}),
            ({"search": "type:delete"}, {"delete": 1}),
            ({"after": NOON + timedelta(hours=2)}, {"delete": 1, "push": 1}),
            ({"before": NOON + timedelta(hours=2)}, {"push": 1, "pull": 1}),
            ({"search": "after:2026-11-22T14:00"}, {"delete": 1, "push": 1}),
        ],
        ids=str,
    )
    def test_filters(self, auditor: Client, query: dict[str, Any], expected: dict[str, int]) -> None:
        assert self.counts(auditor, **query) == expected

    def test_only_visible_events_are_counted(self, web: Repository) -> None:
        reader = caller(factories.user_with("level_read", web))

        for query in ({}, {"search": "actor:jane"}):
            assert self.counts(reader, **query) == {"push": 1, "delete": 1}
        assert self.counts(caller(factories.UserFactory())) == {}
        assert self.counts(caller(factories.UserFactory()), repository="acme/web") == {}

    def test_events_counted_one_by_one_are_limited(
        self, auditor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("activity.feed.reading.MAX_EVENTS_READ", 2)

        found = get(auditor, HISTOGRAM, actor="jane", exclude_pull="true")

        assert found["counted_from"] > "2026-11-22T13"
        # The millisecond of the second event may have more events.
        assert sum(bucket["total"] for bucket in found["buckets"]) == 1

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ({"colour": "red"}, "colour"),
            ({"cursor": "x"}, "cursor"),
            ({"page_size": "5"}, "page_size"),
            ({"fields": "buckets"}, "fields"),
        ],
    )
    def test_what_cannot_be_counted_is_rejected(
        self, auditor: Client, query: dict[str, str], parameter: str
    ) -> None:
        response = auditor.get(HISTOGRAM, query)

        assert response.status_code == 400
        assert [error["parameter"] for error in response.json()["errors"]] == [parameter]

    @pytest.mark.parametrize(
        "bound", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-01-01"]
    )
    def test_any_time_is_accepted(self, auditor: Client, bound: str) -> None:
        for query in ({"after": bound}, {"before": bound}, {"after": bound, "before": bound}):
            for filters in ({}, {"actor": "jane"}):
                assert len(get(auditor, HISTOGRAM, **query, **filters)["buckets"]) <= 61


class TestMe:
    def test_token(self, web: Repository) -> None:
        person = factories.user_with("level_read", web)
        headers = factories.bearer(person)

        found = get(Client(headers=headers), ME)

        token = found.pop("token")
        assert found == {"username": person.username, "role": None, "can_add_events": False}
        assert headers["authorization"].removeprefix("Bearer ").startswith(token["digits"])
        assert len(token["digits"]) == 8

    def test_roles_and_sessions(self, admin: Client, auditor: Client, log_in: Any) -> None:
        assert get(admin, ME)["role"] == "msr_admin"
        assert get(auditor, ME)["role"] == "auditor"
        found = get(log_in(factories.producer()), ME)
        assert (found["can_add_events"], found["token"]) == (True, None)

    @pytest.mark.parametrize("url", [ME, KINDS_URL])
    def test_parameters_are_rejected(self, admin: Client, url: str) -> None:
        assert admin.get(url, {"colour": "red"}).status_code == 400


class TestTags:
    @pytest.fixture(autouse=True)
    def pushes(self, web: Repository) -> None:
        factories.UserFactory(username="jane")
        signature = DIGEST.replace(":", "-") + ".sig"
        for tag, digest in (("v1", DIGEST), ("v2", OTHER), (signature, OTHER)):
            factories.record("update_tag", web, tag=tag, digest=digest, actor_name="jane")
        factories.record("get_tag", web, tag="v1", occurred_at=NOON)

    def test_tags_are_listed_with_their_attachments(self, web: Repository) -> None:
        found = get(caller(factories.user_with("level_admin", web)), TAGS)

        assert (found["next"], found["previous"]) == (None, None)
        assert [tag["name"] for tag in found["results"]] == ["v2", "v1"]
        tag = found["results"][1]
        assert (tag["digest"], tag["attachment"], tag["pulls"]) == (DIGEST, "", 1)
        assert tag["last_pulled_at"] == tag["last_requested_at"] == "2026-11-22T12:00:00Z"
        assert tag["pushed_by"] == {
            "type": "user",
            "id": "jane",
            "label": "jane",
            "url": "http://testserver/users/jane/",
            "account": get_user_model().objects.get(username="jane").pk,
        }
        (attachment,) = tag["attachments"]
        assert attachment["attachment"] == "Signature"
        assert tag["attachments_not_shown"] == 0

    def test_readers_see_no_pulls(self, web: Repository) -> None:
        for tag in get(caller(factories.user_with("level_read", web)), TAGS)["results"]:
            assert tag["pulls"] is tag["last_pulled_at"] is tag["last_requested_at"] is None

    def test_others_see_no_tags(self, web: Repository) -> None:
        for user in (factories.UserFactory(), factories.user_with("view_push_events", web)):
            assert caller(user).get(TAGS).status_code == 404

    def test_search_order_pages_and_fields(self, web: Repository) -> None:
        reader = caller(factories.user_with("level_read", web))

        def names(**query: Any) -> list[str]:
            return [tag["name"] for tag in get(reader, TAGS, **query)["results"]]

        assert names(sort="name") == names(sort="pushed") == ["v1", "v2"]
        assert names(search="v2") == ["v2"]
        first = get(reader, TAGS, page_size=1, sort="name", fields="name")
        assert first["results"] == [{"name": "v1"}]
        assert reader.get(first["next"]).json()["results"] == [{"name": "v2"}]

    @pytest.mark.parametrize(
        "query", [{"sort": "digest"}, {"search": "\0"}, {"search": "x" * 300}, {"fields": "x"}, {"q": "v1"}]
    )
    def test_unreadable_parameters_are_rejected(self, admin: Client, query: dict[str, str]) -> None:
        response = admin.get(TAGS, query)

        assert response.status_code == 400
        assert [error["parameter"] for error in response.json()["errors"]] == list(query)
