"""Feeds of everything, of an organization, of a user: who sees what, narrowed how, in which form."""

from __future__ import annotations

import base64
import json
import re
import shlex
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity.feed import chart_counts
from activity.models import MANUAL_PROMOTION_NAME, ActorType, Event
from activity.storage import tallies
from repositories.accounts.tokens import new_token
from repositories.models import Membership, RegistrySettings, Repository
from repositories.utils.among import MAX_LISTED
from tests import factories
from tests.event_tables import column, get_page

NEXT = re.compile(r'rel="next" href="([^"]*)"')


def join(user: Any, repository: Repository) -> None:
    """Make a user a member of the organization that a repository is of."""
    Membership.objects.create(organization_id=repository.namespace.organization_id or 0, user=user)


@pytest.fixture
def person(web: Repository) -> Any:
    """A member of acme who may read acme/web."""
    person = factories.user_with("level_read", web)
    join(person, web)
    return person


@pytest.fixture
def client(log_in: Any, person: Any) -> Client:
    return log_in(person)


def tags(client: Client, url: str, **query: Any) -> list[str]:
    return column(get_page(client, url, **query), "Tag")


def listed(client: Client, url: str, **query: Any) -> int:
    """Count the rows of all pages."""
    html = get_page(client, url, **query)
    number = len(column(html, "Label"))
    while found := NEXT.search(html):
        html = client.get(url + found[1].replace("&amp;", "&")).content.decode()
        number += len(column(html, "Label"))
    return number


def charted(client: Client, url: str, **query: Any) -> int:
    """Add up the bars of a page's chart."""
    return client.get(url, query).context["chart"].total


class TestScope:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="own")
        factories.record("update_tag", factories.repository("acme/docs", public=True), tag="public")
        factories.record("update_tag", factories.repository("acme/secret"), tag="secret")
        factories.record("update_tag", factories.repository("globex/app", public=True), tag="other")

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("/activity/", ["globex/app:other", "acme/docs:public", "acme/web:own"]),
            ("/organizations/acme/activity/", ["acme/docs:public", "acme/web:own"]),
            ("/users/jane/", []),
        ],
    )
    def test_is_what_the_viewer_may_see_there(self, client: Client, url: str, shown: list[str]) -> None:
        jane = factories.UserFactory(username="jane")
        join(jane, Repository.objects.named("acme/web").get())

        assert tags(client, url) == shown

    def test_of_an_organization_is_for_those_who_may_know_of_it(self, log_in: Any, client: Client) -> None:
        outsider = log_in(factories.UserFactory())

        assert client.get("/organizations/globex/activity/").status_code == 404
        assert outsider.get("/organizations/acme/activity/").status_code == 404
        assert outsider.get("/organizations/acme/activity/atom/").status_code == 404
        for overseer in (factories.msr_admin(), factories.auditor()):
            assert len(tags(log_in(overseer), "/organizations/acme/activity/")) == 3

    def test_leads_to_the_repositories(self, client: Client, log_in: Any) -> None:
        def led_to(client: Client, url: str) -> list[str]:
            return re.findall(r'<td data-label="Repository"><a href="([^"]+)"', get_page(client, url))

        former = factories.repository("acme/former")
        factories.record("update_tag", former)
        former.delete()
        everywhere = [f"/repositories/{name}/" for name in ("globex/app", "acme/docs", "acme/web")]

        assert led_to(client, "/activity/") == everywhere
        assert led_to(client, "/repositories/acme/web/activity/") == []  # where one is already
        everything = led_to(log_in(factories.msr_admin()), "/activity/")
        assert everything == [everywhere[0], "/repositories/acme/secret/", *everywhere[1:]]
        assert {client.get(url, follow=True).status_code for url in everywhere} == {200}

    def test_of_the_api_knows_organizations_too(self, log_in: Any, client: Client) -> None:
        def found(client: Client) -> int:
            return len(client.get("/api/v0/events/", {"organization": "acme"}).json()["results"])

        assert found(client) == 2
        assert found(log_in(factories.UserFactory())) == 0  # as for one that isn't there


class TestProfile:
    def test_is_hidden_from_whoever_knows_nothing_of_the_user(self, log_in: Any, web: Repository) -> None:
        jane = factories.UserFactory(username="jane", first_name="Jane", last_name="Doe")
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        viewer = log_in(factories.UserFactory())

        def answer(name: str) -> tuple[int, str]:
            response = viewer.get(f"/users/{name}/")
            return response.status_code, re.sub(r'value="\w{64}"', "", response.content.decode())

        assert answer("jane") == answer("nobody")
        assert answer("jane")[0] == 404
        assert log_in(jane).get("/users/jane/").status_code == 200

    @pytest.mark.parametrize("by", ["event", "organization", "office"])
    def test_is_open_to_whoever_knows_of_the_user(self, log_in: Any, web: Repository, by: str) -> None:
        jane = factories.UserFactory(username="jane", first_name="Jane", last_name="Doe")
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        viewer = factories.auditor() if by == "office" else factories.UserFactory()
        if by == "event":
            factories.assign_perm("level_read", viewer, web)
        if by == "organization":
            for user in (jane, viewer):
                join(user, web)

        html = get_page(log_in(viewer), "/users/jane/")

        assert "Jane Doe" in html
        assert column(html, "Tag") == ([] if by == "organization" else ["acme/web:v1"])

    def test_names_the_organizations_that_both_are_in(self, log_in: Any) -> None:
        jane, viewer = factories.UserFactory(username="jane"), factories.UserFactory()
        for name, members in (("both", [jane, viewer]), ("hers", [jane]), ("mine", [viewer])):
            for user in members:
                organization, _ = factories.Organization.objects.get_or_create(name=name)
                Membership.objects.create(organization=organization, user=user)

        def named(client: Client) -> list[str]:
            return re.findall(r'href="/organizations/(\w+)/activity/"', get_page(client, "/users/jane/"))

        assert named(log_in(viewer)) == ["both"]
        assert named(log_in(factories.auditor())) == ["both", "hers"]

    def test_leaves_out_what_another_did_who_had_the_name(self, log_in: Any, web: Repository) -> None:
        former = factories.UserFactory(username="jane")
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        former.delete()
        factories.UserFactory(username="jane")

        assert tags(log_in(factories.msr_admin()), "/users/jane/") == []


class TestFilters:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1", actor_name="jane")
        factories.record("update_tag", web, tag="v2", actor_name="joe")
        factories.record("delete_tag", web, tag="v1", actor_name="joe")
        factories.record("update_tag", factories.repository("globex/app", public=True), tag="v1")
        manually = {"actor_type": ActorType.MANUAL_PROMOTION, "actor_name": MANUAL_PROMOTION_NAME}
        factories.record("update_tag", web, tag="promoted", **manually)

    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ({"tag": "v1"}, ["globex/app:v1", "acme/web:v1", "acme/web:v1"]),
            ({"tag": "v1", "type": "DELETE"}, ["acme/web:v1"]),
            ({"actor": "joe"}, ["acme/web:v1", "acme/web:v2"]),
            ({"repository": "acme/web", "actor": "jane"}, ["acme/web:v1"]),
            ({"tag": "acme/web:v1", "actor": "jane"}, ["acme/web:v1"]),  # as the columns show them
            ({"tag": "acme/web:v1", "repository": "globex/app"}, ["globex/app:v1"]),
            ({"actor": "PROMOTION MANUAL_P"}, ["acme/web:promoted"]),
            ({"tag": "none"}, []),
            (
                {"tag": "", "actor": ""},
                ["acme/web:promoted", "globex/app:v1", "acme/web:v1", "acme/web:v2", "acme/web:v1"],
            ),
        ],
        ids=str,
    )
    def test_narrow_the_list_and_its_chart(
        self, client: Client, query: dict[str, str], shown: list[str]
    ) -> None:
        assert tags(client, "/activity/", **query) == shown
        assert charted(client, "/activity/", **query) == len(shown)

    def test_are_kept_by_the_form_and_by_links(self, client: Client) -> None:
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
    def test_that_make_no_sense_are_told_of(self, client: Client, query: dict[str, str]) -> None:
        html = get_page(client, "/activity/", **query)

        assert "Using the default instead." in html
        assert "<script>alert" not in html

    @pytest.mark.parametrize("url", ["/activity/", "/activity/atom/", "/repositories/acme/web/activity/"])
    @pytest.mark.parametrize("sort", ["-time", "label"])
    @pytest.mark.parametrize("tag", ["", "v1"])
    @pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "8999-12-31"])
    def test_take_times_to_the_end_of_the_calendar(
        self, client: Client, url: str, sort: str, tag: str, moment: str
    ) -> None:
        for bound in ("after", "before"):
            query = {"range": "custom", bound: moment, "sort": sort, "tag": tag}
            assert client.get(url, query).status_code == 200

    def test_offer_no_type_that_only_pulls_have_to_those_who_see_none(
        self, log_in: Any, client: Client
    ) -> None:
        assert "GET" not in get_page(client, "/activity/")
        assert '<option value="GET"' in get_page(log_in(factories.auditor()), "/activity/")


class TestApiCall:
    def test_lists_what_the_page_lists(self, log_in: Any, web: Repository) -> None:
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
                found = client.get(call["url"].removeprefix("http://testserver")).json()["results"]
                assert [event["id"] for event in found] == [
                    str(row["event"].pk) for row in response.context["rows"]
                ]

    def test_is_safe_in_a_shell(self, client: Client, web: Repository) -> None:
        call = client.get("/activity/", {"tag": "'; rm -rf $HOME `x`"}).context["api_call"]

        assert len(shlex.split(call["curl"])) == 4
        assert "'" not in call["url"]


class TestExport:
    @pytest.mark.parametrize("format", ["csv", "jsonl"])
    def test_sends_what_is_shown(self, client: Client, web: Repository, format: str) -> None:
        for number in range(12):
            factories.record("update_tag", web, tag=f"v{number % 2}")
        factories.record("get_tag", web, tag="v1")
        factories.record("update_tag", factories.repository("acme/secret"), tag="v1")

        response = client.post("/activity/?tag=v1", {"export": format})
        lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]

        rows = lines[1:] if format == "csv" else [json.loads(line)["tag"] for line in lines]
        assert len(rows) == 6
        assert f'filename="events.{format}"' in response["Content-Disposition"]

    def test_has_the_message_only_for_those_who_oversee_the_registry(
        self, client: Client, admin: Client, registry: Any
    ) -> None:
        registry(factories.notification(actor={"name": "jane", "secret": "s3cr3t"}))

        for reader, known in ((client, False), (admin, True)):
            answers = [reader.post("/activity/", {"export": format}) for format in ("csv", "jsonl")]
            for answer in (*answers, reader.get("/api/v0/events/")):
                assert (b"s3cr3t" in answer.getvalue()) is known

    @pytest.mark.audited
    def test_is_recorded_with_what_was_exported_and_from_where(self, client: Client, web: Repository) -> None:
        url = "/repositories/acme/web/activity/"
        client.post(f"{url}?tag=v1", {"export": "csv"}, REMOTE_ADDR="10.0.0.7").getvalue()

        details = Event.objects.filter(kind="export_events").earliest("pk").details
        assert details["filters"].startswith("repository=acme%2Fweb&tag=v1")
        assert details["client_address"] == "10.0.0.7"

    def test_in_an_unknown_format_is_refused(self, client: Client) -> None:
        assert client.post("/activity/", {"export": "exe"}).status_code == 405


ATOM = "{http://www.w3.org/2005/Atom}"


class TestAtom:
    URLS = ["/activity/atom/", "/repositories/acme/web/activity/atom/", "/organizations/acme/activity/atom/"]

    @staticmethod
    def basic(name: str, password: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}

    @pytest.mark.parametrize("url", URLS)
    def test_has_the_events_that_the_reader_may_see(self, person: Any, web: Repository, url: str) -> None:
        event = factories.record("update_tag", web, tag="v1", actor_name="a\x0b<b>")
        factories.record("get_tag", web, tag="v1")

        response = Client().get(url, headers=self.basic(person.username, new_token(person)))

        assert response["Content-Type"].startswith("application/atom+xml")
        (entry,) = ElementTree.fromstring(response.content).iter(f"{ATOM}entry")
        assert entry.findtext(f"{ATOM}title") == "Update Tag acme/web:v1"
        assert entry.findtext(f"{ATOM}id") == f"urn:uuid:{event.pk}"
        assert entry.findtext(f"{ATOM}author/{ATOM}name") == "a<b>"
        link = entry.find(f"{ATOM}link")
        assert link is not None
        assert "range=custom" in link.attrib["href"]

    def test_links_to_the_event(self, client: Client, web: Repository) -> None:
        for tag in ("v1", "v2"):
            factories.record("update_tag", web, tag=tag)
        feed = ElementTree.fromstring(client.get("/activity/atom/").content)

        hrefs = [link.attrib["href"] for link in feed.iterfind(f"{ATOM}entry/{ATOM}link")]

        found = [tags(client, urlsplit(href).path, **parse_qs(urlsplit(href).query)) for href in hrefs]
        assert found == [["acme/web:v2"], ["acme/web:v1"]]

    @pytest.mark.parametrize("url", [*URLS, "/users/jane/atom/"])
    def test_is_for_nobody_without_a_token(self, person: Any, url: str) -> None:
        person.set_password("a-long-pass")
        person.save()
        token, other = new_token(person), new_token(factories.UserFactory())

        for headers in (
            {},
            self.basic(person.username, "a-long-pass"),
            self.basic(person.username, other),
            self.basic("jane", token),
            {"authorization": "Basic nonsense"},
            {"authorization": "Basic " + base64.b64encode(b"\xff\0").decode()},
        ):
            response = Client().get(url, headers=headers)
            assert (response.status_code, response["WWW-Authenticate"][:5]) == (401, "Basic")
        assert Client().get(url, {"token": token}).status_code == 401

    def test_ends_with_its_token(self, client: Client, person: Any) -> None:
        headers = self.basic(person.username, new_token(person))
        assert Client().get("/activity/atom/", headers=headers).status_code == 200

        client.post(f"/settings/tokens/{person.auth_token_set.get().access_token.pk}/revoke/")

        assert Client().get("/activity/atom/", headers=headers).status_code == 401


class TestChart:
    """Its counts are those of the list."""

    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        now = timezone.now()
        places = [web, factories.repository("acme/docs", public=True), factories.repository("acme/secret")]
        for number in range(60):
            kind = ["update_tag", "get_tag", "delete_tag", "promote", "create_manifest"][number % 5]
            factories.record(
                kind,
                places[number % 3],
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

    @pytest.mark.parametrize(("permission", "few"), [("level_read", MAX_LISTED), ("level_admin", 0)])
    @pytest.mark.parametrize(
        "place", ["activity", "repositories/acme/web/activity", "organizations/acme/activity"]
    )
    def test_counts_what_the_pages_list(
        self,
        log_in: Any,
        web: Repository,
        permission: str,
        few: int,
        place: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(
            "repositories.access.resolving.MAX_LISTED", few
        )  # of repositories, for counting another way
        person = factories.user_with(permission, web)
        join(person, web)
        client = log_in(person)

        numbers = [
            (charted(client, f"/{place}/", **q), listed(client, f"/{place}/", **q)) for q in self.QUERIES
        ]

        assert [in_chart for in_chart, _ in numbers] == [in_list for _, in_list in numbers]
        assert len(set(numbers)) > 4

    @pytest.mark.parametrize("query", [{}, {"range": "day"}, {"tag": "v1"}], ids=str)
    def test_narrows_to_just_what_a_bar_counts(
        self, log_in: Any, web: Repository, query: dict[str, str]
    ) -> None:
        client = log_in(factories.user_with("level_admin", web))
        url = "/repositories/acme/web/activity/"

        for bar in client.get(url, query).context["chart"].bars:
            narrowed = parse_qs(bar.url.removeprefix("?"))
            assert listed(client, url, **narrowed) == charted(client, url, **narrowed) == bar.total
            assert narrowed["range"] == ["custom"]

    def test_counts_no_more_than_it_can_and_says_so(
        self, admin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(chart_counts.count_events, "__defaults__", (10,))

        response = admin.get("/activity/", {"tag": "v1"})

        assert response.context["chart"].total == 10
        assert "The chart only shows the newest 10 events" in response.content.decode()
        bars = response.context["chart"].bars
        assert sum(listed(admin, "/activity/", **parse_qs(bar.url[1:])) for bar in bars) == 10

    def test_of_a_moment_with_too_many_events_is_empty(self, web: Repository) -> None:
        now = timezone.now()
        for number in range(5):
            factories.record("update_tag", web, tag="now", source_id=f"now-{number}", occurred_at=now)

        buckets, ended = chart_counts.count_events(Event.objects.filter(tag="now"), None, None, limit=3)

        assert (buckets, ended is not None) == ([], True)


def test_number_of_queries_does_not_grow(log_in: Any, web: Repository) -> None:
    RegistrySettings.get_solo()
    person = factories.user_with("level_admin", web)
    join(person, web)
    client = log_in(person)

    def grow() -> list[int]:
        row = factories.repository(f"acme/app{Event.objects.count()}")
        factories.assign_perm("level_admin", person, row)
        organization = factories.OrganizationFactory()
        Membership.objects.create(organization=organization, user=person)
        for _ in range(4):
            factories.record("update_tag", row, tag="v1", actor_name=factories.UserFactory().username)
            factories.record("update_tag", row, tag="v1", actor_name=person.username)
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

    assert grow() == grow() == grow()
