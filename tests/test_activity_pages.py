"""Activity pages for the whole site, for organizations and for users: access, filters and exports."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity.models import MANUAL_PROMOTION_NAME, ActorType, Event
from repositories.models import Membership, RegistrySettings, Repository
from tests import factories
from tests.event_tables import column, get_page, get_refusal, tags


@pytest.fixture
def client(log_in: Any, person: Any) -> Client:
    return log_in(person)


def count_in_chart(client: Client, url: str, **query: Any) -> int:
    """Return the number of events in a page's chart."""
    return client.get(url, query).context["chart"].total


class TestScope:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="own")
        factories.record("update_tag", factories.repository("acme/docs", public=True), tag="public")
        factories.record("update_tag", factories.repository("acme/secret"), tag="secret")
        factories.record("update_tag", factories.repository("globex/app", public=True), tag="other")

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("/activity/", ["globex/app:other", "acme/docs:public", "acme/web:own"]),
            ("/organizations/acme/activity/", ["acme/docs:public", "acme/web:own"]),
            ("/users/jane/", []),
        ],
    )
    def test_activity_page_lists_only_visible_events(
        self, client: Client, url: str, expected: list[str]
    ) -> None:
        jane = factories.UserFactory(username="jane")
        web = Repository.objects.named("acme/web").get()
        factories.add_member(web.namespace.organization, jane)

        assert tags(client, url) == expected

    def test_organization_activity_is_visible_to_members_msr_admins_and_auditors(
        self, log_in: Any, client: Client
    ) -> None:
        outsider = log_in(factories.UserFactory())

        assert client.get("/organizations/globex/activity/").status_code == 404
        assert outsider.get("/organizations/acme/activity/").status_code == 404
        assert outsider.get("/organizations/acme/activity/atom/").status_code == 404
        for user in (factories.msr_admin(), factories.auditor()):
            assert len(tags(log_in(user), "/organizations/acme/activity/")) == 3

    def test_events_link_to_their_repositories(self, client: Client, log_in: Any) -> None:
        def links(client: Client, url: str) -> list[str]:
            return re.findall(r'<td data-label="Repository"><a href="([^"]+)"', get_page(client, url))

        deleted = factories.repository("acme/deleted")
        factories.record("update_tag", deleted)
        deleted.delete()
        expected = [f"/repositories/{name}/" for name in ("globex/app", "acme/docs", "acme/web")]

        assert links(client, "/activity/") == expected
        assert links(client, "/repositories/acme/web/activity/") == []  # the page belongs to acme/web
        in_all = links(log_in(factories.msr_admin()), "/activity/")
        assert in_all == [expected[0], "/repositories/acme/secret/", *expected[1:]]
        assert {client.get(url, follow=True).status_code for url in expected} == {200}

    def test_api_filters_by_organization(self, log_in: Any, client: Client) -> None:
        def count(client: Client) -> int:
            return len(client.get("/api/v0/events/", {"organization": "acme"}).json()["results"])

        assert count(client) == 2
        assert count(log_in(factories.UserFactory())) == 0  # as if acme didn't exist


class TestUserPage:
    def test_user_page_is_hidden_from_unrelated_users(self, log_in: Any, web: Repository) -> None:
        jane = factories.UserFactory(username="jane", first_name="Jane", last_name="Doe")
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        viewer = log_in(factories.UserFactory())

        def get(name: str) -> tuple[int, str]:
            response = viewer.get(f"/users/{name}/")
            return response.status_code, re.sub(r'value="\w{64}"', "", response.content.decode())

        assert get("jane") == get("nobody")
        assert get("jane")[0] == 404
        assert log_in(jane).get("/users/jane/").status_code == 200

    @pytest.mark.parametrize("by", ["event", "organization", "role"])
    def test_user_page_is_visible_because_of_an_event_an_organization_or_a_role(
        self, log_in: Any, web: Repository, by: str
    ) -> None:
        jane = factories.UserFactory(username="jane", first_name="Jane", last_name="Doe")
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        viewer = factories.auditor() if by == "role" else factories.UserFactory()
        if by == "event":
            factories.assign_perm("level_read", viewer, web)
        if by == "organization":
            for user in (jane, viewer):
                factories.add_member(web.namespace.organization, user)

        html = get_page(log_in(viewer), "/users/jane/")

        assert "Jane Doe" in html
        assert column(html, "Tag") == ([] if by == "organization" else ["acme/web:v1"])

    def test_user_page_lists_only_shared_organizations(self, log_in: Any) -> None:
        jane, viewer = factories.UserFactory(username="jane"), factories.UserFactory()
        for name, members in (("both", [jane, viewer]), ("hers", [jane]), ("mine", [viewer])):
            for user in members:
                organization, _ = factories.Organization.objects.get_or_create(name=name)
                Membership.objects.create(organization=organization, user=user)

        def listed(client: Client) -> list[str]:
            return re.findall(r'href="/organizations/(\w+)/activity/"', get_page(client, "/users/jane/"))

        assert listed(log_in(viewer)) == ["both"]
        assert listed(log_in(factories.auditor())) == ["both", "hers"]

    def test_user_page_excludes_events_of_a_former_user_with_the_same_name(
        self, log_in: Any, web: Repository
    ) -> None:
        former_user = factories.UserFactory(username="jane")
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        former_user.delete()
        factories.UserFactory(username="jane")

        assert tags(log_in(factories.msr_admin()), "/users/jane/") == []


class TestFilters:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        factories.record("update_tag", web, tag="v2", actor_name="joe")
        factories.record("delete_tag", web, tag="v1", actor_name="joe")
        factories.record("update_tag", factories.repository("globex/app", public=True), tag="v1")
        manual = {"actor_type": ActorType.MANUAL_PROMOTION, "actor_name": MANUAL_PROMOTION_NAME}
        factories.record("update_tag", web, tag="promoted", **manual)

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"tag": "v1"}, ["globex/app:v1", "acme/web:v1", "acme/web:v1"]),
            ({"tag": "v1", "type": "DELETE"}, ["acme/web:v1"]),
            ({"actor": "joe"}, ["acme/web:v1", "acme/web:v2"]),
            ({"repository": "acme/web", "actor": "jane"}, ["acme/web:v1"]),
            ({"tag": "acme/web:v1", "actor": "jane"}, ["acme/web:v1"]),  # the format of the Tag column
            ({"tag": "acme/web:v1", "repository": "acme/web", "actor": "jane"}, ["acme/web:v1"]),
            ({"actor": "PROMOTION MANUAL_P"}, ["acme/web:promoted"]),
            ({"tag": "none"}, []),
            (
                {"tag": "", "actor": ""},
                ["acme/web:promoted", "globex/app:v1", "acme/web:v1", "acme/web:v2", "acme/web:v1"],
            ),
        ],
        ids=str,
    )
    def test_filters_apply_to_the_list_and_to_the_chart(
        self, client: Client, query: dict[str, str], expected: list[str]
    ) -> None:
        assert tags(client, "/activity/", **query) == expected
        assert count_in_chart(client, "/activity/", **query) == len(expected)

    def test_filters_are_preserved_in_the_form_and_in_links(self, client: Client) -> None:
        html = get_page(client, "/activity/", tag="v1", type="UPDATE")

        assert '<option value="UPDATE" selected>' in html
        assert re.search(r'name="tag" value="v1"', html)
        assert 'href="?tag=v1&amp;type=UPDATE&amp;sort=label&amp;range=all"' in html

    @pytest.mark.parametrize(
        "query",
        [
            {"tag": "a\0b"},
            {"tag": "x" * 200},
            {"type": "TELEPORT"},
            {"actor": "\0"},
            {"repository": "x" * 300},
            {"actor": "<script>alert(1)</script>", "range": "\0"},
        ],
        ids=str,
    )
    def test_invalid_filter_shows_nothing_and_a_message(self, client: Client, query: dict[str, str]) -> None:
        html = get_refusal(client, "/activity/", **query)

        assert "Nothing is shown" in html
        assert column(html, "Label") == []
        assert "<script>alert" not in html

    @pytest.mark.parametrize("url", ["/activity/", "/activity/atom/", "/repositories/acme/web/activity/"])
    @pytest.mark.parametrize("sort", ["-time", "label"])
    @pytest.mark.parametrize("tag", ["", "v1"])
    @pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "8999-12-31"])
    def test_time_filters_accept_times_up_to_year_9999(
        self, client: Client, url: str, sort: str, tag: str, moment: str
    ) -> None:
        for bound in ("after", "before"):
            query = {"range": "custom", bound: moment, "sort": sort, "tag": tag}
            assert client.get(url, query).status_code == 200

    def test_type_get_is_offered_only_to_viewers_who_can_see_pulls(self, log_in: Any, client: Client) -> None:
        assert "GET" not in get_page(client, "/activity/")
        assert '<option value="GET"' in get_page(log_in(factories.auditor()), "/activity/")


class TestApiCall:
    def test_api_call_returns_the_events_of_the_page(self, log_in: Any, web: Repository) -> None:
        person = factories.user_with("level_admin", web)
        client = log_in(person)
        for kind, tag in [
            ("update_tag", "v1"),
            ("get_tag", "v1"),
            ("delete_tag", "v2"),
            ("update_tag", "v1"),
        ]:
            factories.record(kind, web, tag=tag, actor_name=person.username)
        factories.record("update_tag", factories.repository("globex/app", public=True), tag="v1")

        for url in ("/activity/", "/repositories/acme/web/activity/", f"/users/{person.username}/"):
            for query in ({}, {"tag": "v1"}, {"type": "UPDATE", "exclude_pull": "false"}, {"range": "day"}):
                response = client.get(url, query)
                call = response.context["api_call"]
                *_, header, value, address = shlex.split(call["curl"])
                assert (header, value, address) == ("-H", "Authorization: Bearer $TOKEN", call["url"])
                events = client.get(call["url"].removeprefix("http://testserver")).json()["results"]
                assert [event["id"] for event in events] == [
                    str(row["event"].pk) for row in response.context["rows"]
                ]

    def test_api_call_is_quoted_for_the_shell(self, client: Client, web: Repository) -> None:
        call = client.get("/activity/", {"tag": "'; rm -rf $HOME `x`"}).context["api_call"]

        assert len(shlex.split(call["curl"])) == 4
        assert "'" not in call["url"]


class TestExport:
    @pytest.mark.parametrize("format", ["csv", "jsonl"])
    def test_export_contains_the_visible_events_that_match_the_filters(
        self, client: Client, web: Repository, format: str
    ) -> None:
        for number in range(12):
            factories.record("update_tag", web, tag=f"v{number % 2}")
        factories.record("get_tag", web, tag="v1")
        factories.record("update_tag", factories.repository("acme/secret"), tag="v1")

        response = client.post("/activity/?tag=v1", {"export": format})
        lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]

        rows = lines[1:] if format == "csv" else [json.loads(line)["tag"] for line in lines]
        assert len(rows) == 6
        assert re.search(rf'filename="events-[-\dT]+Z\.{format}"', response["Content-Disposition"])

    def test_export_and_api_hide_raw_messages_from_reader(
        self, client: Client, admin: Client, registry: Any
    ) -> None:
        registry(factories.notification(actor={"name": "jane", "remark": "s3cr3t"}))

        for viewer, included in ((client, False), (admin, True)):
            exports = [viewer.post("/activity/", {"export": format}) for format in ("csv", "jsonl")]
            for response in (*exports, viewer.get("/api/v0/events/")):
                assert (b"s3cr3t" in response.getvalue()) is included

    @pytest.mark.audited
    def test_export_is_recorded_with_filters_and_client_address(
        self, client: Client, web: Repository
    ) -> None:
        url = "/repositories/acme/web/activity/"
        client.post(f"{url}?tag=v1", {"export": "csv"}, REMOTE_ADDR="10.0.0.7").getvalue()

        details = Event.objects.filter(kind="export_events").earliest("pk").details
        assert details["filters"].startswith("repository=acme%2Fweb&tag=v1")
        assert details["client_address"] == "10.0.0.7"

    def test_export_in_unknown_format_is_rejected(self, client: Client) -> None:
        assert client.post("/activity/", {"export": "exe"}).status_code == 405


def test_query_count_of_activity_pages_does_not_grow(log_in: Any, web: Repository) -> None:
    RegistrySettings.get_solo()
    person = factories.user_with("level_admin", web)
    factories.add_member(web.namespace.organization, person)
    client = log_in(person)

    def add_data_and_count_queries() -> list[int]:
        repository = factories.repository(f"acme/app{Event.objects.count()}")
        factories.assign_perm("level_admin", person, repository)
        organization = factories.OrganizationFactory()
        Membership.objects.create(organization=organization, user=person)
        for _ in range(11):  # the events fill each page
            factories.record("update_tag", repository, tag="v1", actor_name=factories.UserFactory().username)
            factories.record("update_tag", repository, tag="v1", actor_name=person.username)
        counts = []
        for url in (
            "/activity/",
            "/organizations/acme/activity/",
            f"/users/{person.username}/",
            "/activity/?tag=v1",
            "/activity/atom/",
        ):
            with CaptureQueriesContext(connection) as queries:
                assert client.get(url).status_code == 200
            counts.append(len(queries))
        return counts

    counts = [add_data_and_count_queries() for _ in range(3)]
    assert counts[0] == counts[1] == counts[2]
