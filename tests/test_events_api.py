"""The events API: viewers read events, and producers other than registries send events."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import remove_perm

from activity.api.docs import Generator
from activity.catalogue import REPOSITORY_KINDS
from activity.models import DeadLetter, Event
from activity.storage.events import delete_events, insert
from repositories.models import Repository
from tests import factories
from tests.factories import DIGEST, NOON

URL = "/api/v0/events/"


def get(client: Client, url: str = URL, **query: Any) -> Any:
    response = client.get(url, query)
    assert response.status_code == 200, response.content
    return response.json()


def tags(client: Client, url: str = URL, **query: Any) -> list[str]:
    return [event["tag"] for event in get(client, url, **query)["results"]]


class TestEvent:
    def test_fields_of_event(self, admin: Client, web: Repository) -> None:
        user = factories.UserFactory(username="jane")
        event = factories.record(
            "update_tag", web, tag="v1", digest=DIGEST, details={"size": 7}, occurred_at=NOON
        )

        (result,) = get(admin)["results"]

        assert result.pop("received_at").endswith("Z")
        assert result == {
            "id": str(event.pk),
            "label": "Update Tag",
            "type": "UPDATE",
            "category": "push",
            "subject": "",
            "repository": "acme/web",
            "tag": "acme/web:v1",
            "digest": DIGEST,
            "pull": None,
            "actor": {
                "type": "user",
                "id": user.username,
                "label": "jane",
                "url": "http://testserver/users/jane/",
                "account": user.pk,
            },
            "policy_url": None,
            "occurred_at": "2026-11-22T12:00:00Z",
            "delivered_by": None,
            "delivered_with": None,
            "disputed": False,
            "details": {"size": 7},
        }
        assert get(admin, f"{URL}{event.pk}/")["id"] == str(event.pk)

    def test_deleted_actors_have_a_label_but_no_url(self, admin: Client, web: Repository) -> None:
        jane = factories.UserFactory(username="jane")
        policy = factories.PolicyFactory(repository=web)
        factories.record("delete_tag", web, tag="v1")
        factories.record("promote", web, tag="v1", actor_type="promotion", actor_name=policy.public_id)
        jane.delete()
        policy.delete()

        actors = [event["actor"] for event in get(admin)["results"]]

        assert [(actor["label"], actor["url"]) for actor in actors] == [
            (f"PROMOTION {policy.public_id}", None),
            ("jane", None),
        ]

    def test_policy_actor_has_a_url_only_for_repository_admins(self, log_in: Any, web: Repository) -> None:
        policy = factories.PolicyFactory(repository=web, kind="pruning")
        factories.record("delete_tag", web, tag="v1", actor_type="pruning", actor_name=policy.public_id)

        urls = {}
        for level in ("level_read", "level_admin"):
            client = log_in(factories.user_with(level, web))
            (event,) = get(client)["results"]
            assert event["actor"]["label"] == f"PRUNING {policy.public_id}"
            urls[level] = event["actor"]["url"]

        path = f"/policies/{policy.public_id}/"
        assert urls == {"level_read": None, "level_admin": f"http://testserver{path}"}
        assert log_in(factories.user_with("level_admin", web)).get(path).status_code == 200
        assert log_in(factories.user_with("level_read", web)).get(path).status_code == 404

    def test_label_of_manual_promotion(self, admin: Client, web: Repository) -> None:
        factories.record("promote", web, tag="v1", actor_type="manual_promotion", actor_name="MANUAL_P")

        assert get(admin)["results"][0]["actor"]["label"] == "PROMOTION MANUAL_P"


class TestFilters:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        for number, (kind, repository, tag, actor) in enumerate(
            [
                ("update_tag", "acme/web", "a", "jane"),
                ("get_tag", "acme/web", "b", "joe"),
                ("delete_tag", "acme/api", "c", "jane"),
                ("push_mirror_failed", "globex/web", "d", "joe"),
                ("update_tag", "alpine", "e", "jane"),
            ]
        ):
            digest = DIGEST if tag == "b" else ""
            occurred_at = NOON + timedelta(hours=number)
            factories.record(
                kind, repository, tag=tag, actor_name=actor, digest=digest, occurred_at=occurred_at
            )
        delete_events(Event.objects.filter(kind="create_repository"), "run 1")
        factories.record(
            "promote",
            "acme/web",
            tag="f",
            actor_type="manual_promotion",
            actor_name="MANUAL_P",
            occurred_at=NOON + timedelta(hours=5),
        )

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, "fedcba"),
            ({"repository": "acme/web"}, "fba"),
            ({"repository": "alpine"}, "e"),
            ({"repository": "acme"}, ""),
            ({"namespace": "acme"}, "fcba"),
            ({"namespace": "_"}, "e"),
            ({"type": "UPDATE"}, "ea"),
            ({"type": ["DELETE", "FAIL"]}, "dc"),
            ({"category": "pull"}, "b"),
            ({"category": ["pull", "mirror"]}, "db"),
            ({"tag": "c"}, "c"),
            ({"digest": DIGEST}, "b"),
            ({"actor": "joe"}, "db"),
            ({"actor_type": "manual_promotion"}, "f"),
            ({"exclude_pull": "true"}, "fedca"),
            ({"exclude_pull": "false"}, "fedcba"),
            ({"after": "2026-11-22T13:00:00Z", "before": "2026-11-22T15:00:00Z"}, "cb"),
            ({"after": "2026-11-22T15:00:00+02:00", "before": "2026-11-22T13:00:00.001Z"}, "b"),
            ({"actor": "jane", "type": "UPDATE", "namespace": "acme"}, "a"),
        ],
        ids=str,
    )
    def test_api_filters_select_events(self, admin: Client, query: dict[str, Any], expected: str) -> None:
        found = [tag.rpartition(":")[2] for tag in tags(admin, **query)]

        assert found == list(expected)

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"colour": "red"}, "colour"),
            ({"type": "BAR"}, "type"),
            ({"category": "nothing"}, "category"),
            ({"actor_type": "dog"}, "actor_type"),
            ({"after": "yesterday"}, "after"),
            ({"exclude_pull": "perhaps"}, "exclude_pull"),
            ({"page_size": "0"}, "page_size"),
            ({"page_size": "1001"}, "page_size"),
            ({"page_size": "x"}, "page_size"),
            ({"cursor": "x"}, "cursor"),
            ({"cursor": "WyJuIiwieCJd"}, "cursor"),
            ({"cursor": "é"}, "cursor"),
            ({"tag": "a\0b"}, "tag"),
            ({"repository": "x" * 256}, "repository"),
        ],
        ids=str,
    )
    def test_invalid_api_filter_is_rejected_with_its_name(
        self, admin: Client, query: dict[str, str], field: str
    ) -> None:
        response = admin.get(URL, query)

        assert response.status_code == 400
        assert [error["parameter"] for error in response.json()["errors"]] == [field]

    @pytest.mark.parametrize(
        "bound", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-01-01"]
    )
    def test_api_time_filters_accept_any_time(self, admin: Client, bound: str) -> None:
        assert admin.get(URL, {"after": bound, "before": bound}).status_code == 200

    def test_scan_category_is_valid_only_if_scanning_is_enabled(self, admin: Client) -> None:
        Generator().get_schema(public=True)  # describes all categories, and leaves the filters as they are
        assert admin.get(URL, {"category": "scan"}).status_code == 400

        factories.enable_scanning()

        assert admin.get(URL, {"category": "scan"}).status_code == 200

    def test_filter_does_not_reveal_whether_a_repository_exists(self, log_in: Any) -> None:
        outsider = log_in(factories.UserFactory())

        assert get(outsider, repository="acme/web") == get(outsider, repository="acme/none")
        assert get(outsider, category="pull")["results"] == []

    @pytest.mark.parametrize(
        ("hidden", "missing"),
        [
            ({"repository": "acme/web"}, {"repository": "acme/none"}),
            ({"namespace": "acme"}, {"namespace": "none"}),
            ({"organization": "acme"}, {"organization": "none"}),
            ({"policy": "CA5E7822"}, {"policy": "00000000"}),
            ({"actor": "jane"}, {"actor": "nobody"}),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("url", [URL, "/activity/"])
    def test_filter_takes_as_many_queries_for_hidden_as_for_missing_names(
        self, log_in: Any, url: str, hidden: dict[str, str], missing: dict[str, str]
    ) -> None:
        factories.PolicyFactory(
            repository=Repository.objects.get(name="web", namespace__name="acme"), public_id="CA5E7822"
        )
        factories.repository("pub/lic", public=True)
        outsider = log_in(factories.UserFactory())
        counts = []
        for query in (hidden, hidden, missing):  # the first request fills Django's caches
            with CaptureQueriesContext(connection) as queries:
                outsider.get(url, query)
            counts.append(len(queries))

        assert counts[1] == counts[2]

    def test_repository_api_has_the_same_filters(self, admin: Client) -> None:
        assert tags(admin, "/api/v0/repositories/acme/web/events/", type="GET") == ["acme/web:b"]


class TestPages:
    def test_api_pages_can_be_followed_forward_and_back(self, admin: Client, web: Repository) -> None:
        for number in range(25):
            factories.record("update_tag", web, tag=f"t{number}")

        first = get(admin)
        second = admin.get(first["next"]).json()
        third = admin.get(second["next"]).json()

        pages = [
            [event["tag"].rpartition("t")[2] for event in page["results"]] for page in (first, second, third)
        ]
        assert [len(page) for page in pages] == [10, 10, 5]
        assert [int(tag) for page in pages for tag in page] == list(range(24, -1, -1))
        assert (first["previous"], third["next"]) == (None, None)
        assert admin.get(third["previous"]).json()["results"] == second["results"]
        assert admin.get(second["previous"]).json() == first

    @pytest.mark.parametrize("query", ["", "&search=type:update"])
    def test_oldest_events_can_come_first(self, admin: Client, web: Repository, query: str) -> None:
        for number in range(25):
            factories.record("update_tag", web, tag=f"t{number}")

        url: str | None = f"{URL}?sort=time{query}"
        pages: list[Any] = []
        while url:
            pages.append(get(admin, url))
            url = pages[-1]["next"]

        found = [int(event["tag"].rpartition("t")[2]) for page in pages for event in page["results"]]
        assert found == list(range(25))
        assert [len(page["results"]) for page in pages] == [10, 10, 5]
        assert pages[0]["previous"] is None
        assert get(admin, pages[2]["previous"])["results"] == pages[1]["results"]
        assert get(admin, pages[1]["previous"])["results"] == pages[0]["results"]

    def test_page_can_have_a_thousand_events(self, admin: Client, web: Repository) -> None:
        insert([factories.event_row(repository=web, tag=f"t{number}") for number in range(1_001)])

        page = get(admin, page_size=1_000)

        assert len(page["results"]) == 1_000
        assert len(get(admin, page["next"])["results"]) == 1

    def test_links_are_headers_too(self, admin: Client, web: Repository) -> None:
        for number in range(3):
            factories.record("update_tag", web, tag=f"t{number}")

        first = admin.get(URL, {"page_size": 1})
        second = admin.get(first.json()["next"])

        assert first["Link"] == f'<{first.json()["next"]}>; rel="next"'
        assert second["Link"] == (
            f'<{second.json()["next"]}>; rel="next", <{second.json()["previous"]}>; rel="prev"'
        )
        assert "Link" not in admin.get(URL)

    def test_next_api_page_does_not_shift_when_events_arrive(self, admin: Client, web: Repository) -> None:
        for number in range(4):
            factories.record("update_tag", web, tag=f"t{number}")
        first = get(admin, page_size=2)
        factories.record("update_tag", web, tag="new")

        second = admin.get(first["next"]).json()

        assert [event["tag"] for event in second["results"]] == ["acme/web:t1", "acme/web:t0"]

    def test_hidden_events_cause_no_next_api_page(self, log_in: Any, web: Repository) -> None:
        for _ in range(30):
            factories.record("get_tag", web, tag="v1")
        factories.record("update_tag", web, tag="v1")

        page = get(log_in(factories.user_with("level_read", web)))

        assert (len(page["results"]), page["next"], page["previous"]) == (1, None, None)


class TestFields:
    @pytest.mark.parametrize(
        "url", [URL, f"{URL}{{id}}/", "/api/v0/repositories/", "/api/v0/repositories/acme/web/events/"]
    )
    def test_only_the_chosen_fields_are_returned(self, admin: Client, web: Repository, url: str) -> None:
        url = url.format(id=factories.record("update_tag", web, tag="v1").pk)
        whole = get(admin, url)
        rows = whole.get("results", [whole])

        for names in ([name] for row in rows[:1] for name in row):
            sparse = get(admin, url, fields=",".join(names))
            assert sparse.get("results", [sparse]) == [{name: row[name] for name in names} for row in rows]

    @pytest.mark.parametrize("url", [URL, f"{URL}{{id}}/", "/api/v0/repositories/"])
    @pytest.mark.parametrize("fields", ["", "id,colour", "id,", "full_details", "name\0"])
    def test_unknown_fields_are_rejected(self, admin: Client, web: Repository, url: str, fields: str) -> None:
        url = url.format(id=factories.record("update_tag", web, tag="v1").pk)

        response = admin.get(url, {"fields": fields})

        assert response.status_code == 400
        assert [error["parameter"] for error in response.json()["errors"]] == ["fields"]

    def test_fields_that_are_not_chosen_are_not_computed(self, admin: Client, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1")
        get(admin)  # the first request creates the registry settings
        with CaptureQueriesContext(connection) as queries:
            get(admin, fields="id")
        number = len(queries)

        with CaptureQueriesContext(connection) as queries:
            get(admin)

        assert number <= len(queries)


class TestRepeatedReading:
    def test_unchanged_content_is_not_sent_again(self, admin: Client, web: Repository) -> None:
        for url in (URL, "/api/v0/repositories/", f"{URL}{factories.record(repository=web).pk}/"):
            first = admin.get(url)
            again = admin.get(url, headers={"if-none-match": first["ETag"]})

            assert (again.status_code, again.content) == (304, b"")
            assert again["ETag"] == first["ETag"]
            assert again["Cache-Control"] == first["Cache-Control"] == "private, no-cache"
            assert {"Accept-Encoding", "Authorization", "Cookie"} <= set(again["Vary"].split(", "))
            assert again["Vary"] == first["Vary"]
            assert admin.get(url, headers={"if-none-match": '"other"'}).status_code == 200

    def test_new_events_and_lost_rights_change_the_content(self, log_in: Any, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1")
        person = factories.user_with("level_read", web)
        tags: list[str] = []
        for change in (
            lambda: None,
            lambda: factories.record("update_tag", web, tag="v2"),
            lambda: remove_perm("level_read", person, web),
        ):
            change()
            response = log_in(person).get(URL, headers={"if-none-match": ", ".join(tags)})
            assert response.status_code == 200
            tags.append(response["ETag"])

        assert len(set(tags)) == 3

    def test_hidden_events_do_not_change_the_content(self, log_in: Any, web: Repository) -> None:
        reader = log_in(factories.user_with("level_read", web))
        tag = reader.get(URL)["ETag"]
        factories.record("get_tag", web, tag="v1")
        factories.record("update_tag", factories.repository("acme/other"), tag="v1")

        assert reader.get(URL, headers={"if-none-match": tag}).status_code == 304

    def test_content_is_compressed_for_clients_that_accept_it(self, admin: Client, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1")
        plain = admin.get(URL)
        compressed = admin.get(URL, headers={"accept-encoding": "gzip"})

        assert compressed["Content-Encoding"] == "gzip"
        assert gzip.decompress(compressed.content) == plain.content
        assert compressed["ETag"] == plain["ETag"]
        assert "Content-Encoding" not in plain
        assert "Accept-Encoding" in plain["Vary"]

    def test_errors_are_not_kept(self, admin: Client) -> None:
        response = admin.get(URL, {"colour": "red"}, headers={"if-none-match": "*"})

        assert (response.status_code, response["Cache-Control"]) == (400, "private, no-store")
        assert "ETag" not in response


class TestAccess:
    def test_anonymous_gets_401_whether_the_object_exists_or_not(self, web: Repository) -> None:
        event = factories.record(repository=web)
        for url in (
            URL,
            f"{URL}{event.pk}/",
            "/api/v0/repositories/",
            "/api/v0/repositories/acme/web/events/",
            "/api/v0/repositories/acme/none/events/",
        ):
            response = Client().get(url)
            assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")

    def test_hidden_repository_is_reported_as_missing(self, log_in: Any, web: Repository) -> None:
        outsider = log_in(factories.UserFactory())
        responses = [outsider.get(f"/api/v0/repositories/acme/{name}/events/") for name in ("web", "none")]

        assert [response.status_code for response in responses] == [404, 404]
        assert responses[0].json() == responses[1].json()

    def test_token_authenticates_the_viewer(self, web: Repository) -> None:
        factories.record(repository=web)
        reader = factories.user_with("level_read", web)

        response = Client().get(URL, headers=factories.bearer(reader))

        assert len(response.json()["results"]) == 1

    def test_token_of_inactive_user_is_rejected(self, web: Repository) -> None:
        reader = factories.user_with("level_read", web)
        headers = factories.bearer(reader)
        reader.is_active = False
        reader.save()

        assert Client().get(URL, headers=headers).status_code == 401

    def test_repositories_are_listed_with_permissions_of_the_viewer(
        self, log_in: Any, web: Repository
    ) -> None:
        factories.repository("acme/secret")
        factories.repository("globex/open", public=True)

        rows = get(log_in(factories.user_with("view_pull_events", web)), "/api/v0/repositories/")["results"]

        assert [(row["name"], "view_pull_events" in row["permissions"]) for row in rows] == [
            ("acme/web", True),
            ("globex/open", False),
        ]
        assert [(row["visibility"], bool(row["created_at"])) for row in rows] == [
            (None, False),
            ("public", True),
        ]

    @pytest.mark.parametrize("url", [URL, "/api/v0/repositories/", "/api/v0/repositories/acme/web/events/"])
    def test_query_count_of_api_lists_does_not_grow(self, log_in: Any, web: Repository, url: str) -> None:
        person = factories.user_with("level_admin", web)
        client = log_in(person)

        def add_data_and_count_queries(number: int) -> int:
            repository = factories.repository(f"org{number}x/web")
            team = factories.team_of(repository.namespace.organization, person)
            factories.assign_perm("level_admin", team.group, repository)
            category = ("push", "pull", "mirror", "delete")[number]
            factories.assign_perm(
                f"view_{category}_events", person, factories.repository(f"org{number}y/web")
            )
            for _ in range(3):
                policy = factories.PolicyFactory(repository=repository)
                factories.record(
                    "promote", repository, tag="v1", actor_type="promotion", actor_name=policy.public_id
                )
                factories.record("update_tag", web, tag="v1", actor_name=factories.UserFactory().username)
            with CaptureQueriesContext(connection) as queries:
                get(client, url, page_size=100)
            return len(queries)

        add_data_and_count_queries(0)  # the first request creates the registry settings
        counts = [add_data_and_count_queries(number) for number in (1, 2, 3)]
        assert counts[0] == counts[1] == counts[2]


class TestProducers:
    @pytest.fixture
    def post(self, db: None) -> Any:
        headers = factories.bearer(factories.producer(username="ci"))

        def post(data: Any) -> Any:
            return Client().post(URL, data, content_type="application/json", headers=headers)

        return post

    def event(self, **values: Any) -> dict[str, Any]:
        return {
            "id": "1",
            "kind": "push_mirror",
            "repository": "acme/web",
            "occurred_at": "2026-11-22T12:00:00Z",
            **values,
        }

    def test_event_sent_twice_is_recorded_once(self, post: Any, web: Repository) -> None:
        responses = [
            post(self.event(tag="v1", digest=DIGEST, details={"to": "example.org"})) for _ in range(2)
        ]

        assert [response.status_code for response in responses] == [201, 201]
        event = Event.objects.get()
        assert responses[0].json() == responses[1].json() == {"id": str(event.pk), "dead_letter": None}
        assert (event.label, event.type, event.actor_label) == ("Push Mirror", "SEND", "ci")
        assert event.details == {"to": "example.org", "source_id": "1"}

    @pytest.mark.parametrize(
        ("actor", "label"),
        [
            ({"type": "user", "id": "jane"}, "jane"),
            ({"type": "promotion", "id": "CA5E7822"}, "PROMOTION CA5E7822"),
            ({"type": "push_mirroring", "id": "CA5E7822"}, "PUSH MIRRORING CA5E7822"),
            ({"type": "manual_promotion"}, "PROMOTION MANUAL_P"),
        ],
    )
    def test_actor_can_be_a_user_a_policy_or_a_manual_promotion(
        self, post: Any, web: Repository, actor: dict[str, str], label: str
    ) -> None:
        assert post(self.event(actor=actor)).status_code == 201
        assert Event.objects.get().actor_label == label

    def test_list_is_recorded_in_a_fixed_number_of_queries(self, post: Any, web: Repository) -> None:
        counts = []
        for size in (1, 2, 30):  # on SQLite, one INSERT can contain about 35 rows
            events = [self.event(id=f"{size}-{number}") for number in range(size)]
            with CaptureQueriesContext(connection) as queries:
                assert len(post(events).json()) == size
            counts.append(len(queries))

        assert counts[1] == counts[2]
        assert Event.objects.count() == 33

    def test_each_event_of_a_list_has_a_result(self, post: Any, web: Repository) -> None:
        events = [
            self.event(),
            self.event(id="2", kind="polish"),
            self.event(id="3", repository="A B"),
            "scan",
            self.event(),
        ]

        response = post(events)

        assert response.status_code == 207
        results = response.json()
        assert [result["status"] for result in results] == [201, 400, 400, 400, 201]
        assert results[0]["errors"] is None
        assert [results[n]["errors"][0]["pointer"] for n in (1, 2, 3)] == ["#/kind", "#/repository", "#"]
        event = Event.objects.get()
        assert [result["id"] for result in results] == [str(event.pk), None, None, None, str(event.pk)]
        assert post(events).json() == results

    def test_list_of_more_than_1000_events_is_rejected(self, post: Any, web: Repository) -> None:
        events = [self.event(id=str(number)) for number in range(1001)]

        assert post(events).status_code == 400
        assert not Event.objects.exists()
        assert post(events[:1000]).status_code == 201
        assert Event.objects.count() == 1000

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"kind": "update_tag"}, "tag"),
            ({"kind": "create_manifest"}, "digest"),
            ({"tag": "a b"}, "tag"),
            ({"digest": "sha256:1"}, "digest"),
            ({"occurred_at": "1969-12-31T00:00:00Z"}, "occurred_at"),
            ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "occurred_at"),
            ({"occurred_at": "soon"}, "occurred_at"),
            ({"occurred_at": None}, "occurred_at"),
            ({"id": ""}, "id"),
            ({"id": "x" * 256}, "id"),
            ({"id": "a\0b"}, "id"),
            ({"id": "\ud800"}, "id"),
            ({"repository": "Acme"}, "repository"),
            ({"actor": {"type": "user"}}, "actor"),
            ({"actor": {"type": "dog", "id": "rex"}}, "actor"),
            ({"actor": "jane"}, "actor"),
            ({"details": {"a b": "c"}}, "details"),
            ({"details": {"a": {}}}, "details"),
            ({"details": []}, "details"),
            ({"kind": "scan", "details": {"critical": "many"}}, "details"),
            ({"kind": "scan", "details": {"high": -1}}, "details"),
            ({"kind": "scan", "details": {"report": "javascript:alert(1)"}}, "details"),
            ({"kind": "scan", "details": {"report": "http://"}}, "details"),
        ],
        ids=str,
    )
    def test_invalid_event_is_rejected_with_the_name_of_the_field(
        self, post: Any, changes: dict[str, Any], field: str
    ) -> None:
        response = post(self.event(**changes))

        assert response.status_code == 400
        assert {error["pointer"].split("/")[1] for error in response.json()["errors"]} == {field}
        assert not Event.objects.exists()

    @pytest.mark.parametrize("body", ["", "{", "null", "7", '"x"', "[" * 100_000, "[NaN]"])
    def test_body_that_is_not_an_event_is_rejected(self, post: Any, body: str) -> None:
        assert post(body).status_code == 400

    def test_chunked_event_is_recorded_by_an_asgi_server(self, web: Repository) -> None:
        token = factories.new_token(factories.producer())
        headers = {
            b"host": b"testserver",
            b"authorization": f"Bearer {token}".encode(),
            b"content-type": b"application/json",
        }
        # An ASGI server passes on a chunked body without its length.
        scope = {"type": "http", "method": "POST", "path": URL, "headers": [*headers.items()]}
        handler = BaseHandler()
        handler.load_middleware()

        response = handler.get_response(ASGIRequest(scope, BytesIO(json.dumps(self.event()).encode())))

        assert response.status_code == 201
        assert Event.objects.get().label == "Push Mirror"

    def test_scan_is_stored_as_a_dead_letter_until_scanning_is_enabled(
        self, post: Any, web: Repository
    ) -> None:
        results = post([self.event(kind="scan", digest=DIGEST), self.event(id="2")]).json()

        assert [bool(result["dead_letter"]) for result in results] == [True, False]
        assert "scanning" in DeadLetter.objects.get().reason

        factories.enable_scanning()
        assert post(self.event(kind="scan", id="3")).json()["dead_letter"] is None
        assert Event.objects.filter(kind="scan").count() == 1

    def test_account_without_permission_cannot_send_events(self, web: Repository) -> None:
        reader = factories.user_with("level_admin", web)

        response = Client().post(URL, self.event(), "application/json", headers=factories.bearer(reader))

        assert response.status_code == 403
        assert Client().post(URL, self.event(), "application/json").status_code == 401

    def test_every_kind_of_the_catalogue_is_accepted(self, post: Any, web: Repository) -> None:
        factories.enable_scanning()
        events = [self.event(id=kind, kind=kind, tag="v1", digest=DIGEST) for kind in REPOSITORY_KINDS]

        assert post(events).status_code == 201
        assert set(Event.objects.values_list("kind", flat=True)) == set(REPOSITORY_KINDS)
