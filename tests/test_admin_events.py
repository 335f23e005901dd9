"""Events can be searched, filtered, viewed and exported in the admin, but not changed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from activity.admin.event_filters import FilterForm
from activity.feed import reading
from activity.models import ActorType, Event
from activity.storage.events import insert
from repositories.models import Policy, Profile, Repository
from tests import factories
from tests.factories import DIGEST, NOON

EVENTS = "/admin/registry_activity/event/"
HOSTILE = '<script>alert("x")</script>'


def get_list(client: Client, **query: str) -> Any:
    response = client.get(EVENTS, query)
    assert response.status_code == (400 if response.context["cl"].problems else 200)
    return response


def listed_tags(client: Client, **query: str) -> list[str]:
    """Return the tags of the listed events."""
    return [event.tag for event in get_list(client, **query).context["cl"].result_list]


def detail_url(event: Event) -> str:
    return reverse("admin:registry_activity_event_change", args=[event.pk])


def count_queries(client: Client, url: str) -> int:
    client.get(url)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


@pytest.fixture
def four_events(web: Repository) -> None:
    """Two events in January 2026, one event before that month, and one event after it."""
    for name in ("acme/api", "alpine"):
        factories.repository(name)
    for kind, repository, tag, actor, moment in [
        ("update_tag", "acme/web", "a", "jane", (2025, 12, 31, 23)),
        ("get_tag", "acme/web", "b", "joe", (2026, 1, 1, 0)),
        ("delete_tag", "acme/api", "c", "jane", (2026, 1, 31, 12)),
        ("update_tag", "alpine", "d", "joe", (2026, 2, 1, 0)),
    ]:
        occurred_at = datetime(*moment, tzinfo=UTC)
        factories.record(kind, repository, tag=tag, actor_name=actor, digest=DIGEST, occurred_at=occurred_at)


@pytest.mark.usefixtures("four_events")
class TestList:
    @pytest.mark.parametrize(
        ("query", "tags"),
        [
            ({}, "dcba"),
            ({"category": "pull"}, "b"),
            ({"type": "UPDATE"}, "da"),
            ({"actor_type": "user"}, "dcba"),
            ({"actor_type": "pruning"}, ""),
            ({"kind": "delete_tag"}, "c"),
            ({"actor": "jane"}, "ca"),
            ({"after": "2026-01-01T00:00", "before": "2026-01-31T12:00"}, "b"),
            ({"occurred": "2025"}, "a"),
            ({"occurred": "2026"}, "dcb"),
            ({"occurred": "2026-01"}, "cb"),
            ({"occurred": "2026-01-31"}, "c"),
            ({"q": "acme/web"}, "ba"),
            ({"q": "acme/web:b"}, "b"),
            ({"q": "_/alpine"}, "d"),
            ({"q": "alpine:d"}, "d"),
            ({"q": "jane"}, "ca"),
            ({"q": "nobody"}, ""),
            ({"q": "jane", "type": "DELETE"}, "c"),
            ({"q": "-type:get", "occurred": "2026"}, "dc"),
            ({"q": "type:delete", "type": "UPDATE"}, "dca"),
        ],
        ids=str,
    )
    def test_list_is_searched_and_filtered(self, admin: Client, query: dict[str, str], tags: str) -> None:
        assert listed_tags(admin, **query) == list(tags)

    def test_list_is_filtered_by_repository_and_namespace(self, admin: Client, web: Repository) -> None:
        assert listed_tags(admin, repository=str(web.pk)) == ["b", "a"]
        assert listed_tags(admin, namespace=str(web.namespace_id)) == ["c", "b", "a"]
        assert listed_tags(admin, namespace=str(web.namespace_id), actor="joe") == ["b"]

    @pytest.mark.parametrize(
        ("model", "field", "expected"),
        [
            ("registry_activity.event", "repository", "acme/web"),
            ("registry_repositories.repository", "namespace", "acme"),
        ],
    )
    def test_repositories_and_namespaces_are_autocompleted(
        self, auditor: Client, model: str, field: str, expected: str
    ) -> None:
        app, name = model.split(".")
        query = {"app_label": app, "model_name": name, "field_name": field, "term": "acme"}

        results = auditor.get("/admin/autocomplete/", query).json()["results"]

        assert expected in [result["text"] for result in results]
        assert f'data-field-name="{field}"' in get_list(auditor).content.decode()

    def test_search_finds_an_event_by_id(self, admin: Client) -> None:
        event = Event.objects.get(tag="b")

        assert listed_tags(admin, q=str(event.pk)) == ["b"]

    def test_invalid_search_shows_an_error_and_no_events(self, admin: Client) -> None:
        html = get_list(admin, q="tpye:delete repo:acme/web").content.decode()

        assert "&#x27;tpye:&#x27; is not a search term. Did you mean &#x27;type:&#x27;?" in html
        assert listed_tags(admin, q="tpye:delete repo:acme/web") == []

    @pytest.mark.parametrize(
        "query",
        [
            *({"occurred": value} for value in ("x", "2026-13", "2026-1", "20260101", "2026-02-30", "9999")),
            {"type": "POLISH"},
            {"category": "\0"},
            {"repository": "x"},
            {"repository": "9" * 30},
            {"namespace": "-1"},
            {"kind": "polish"},
            {"after": "yesterday"},
            {"before": "0001-01-01T00:00"},
            {"actor": "\0"},
        ],
        ids=str,
    )
    def test_invalid_filter_value_is_a_problem(self, admin: Client, query: dict[str, str]) -> None:
        html = admin.get(EVENTS, query).content.decode()

        assert "Correct the search to see events." in html
        assert "errorlist" in html

    @pytest.mark.parametrize(
        "name", ["details__contains", "digest__startswith", "actor_name", "tpye", "repository__name"]
    )
    def test_unknown_filter_is_rejected(self, admin: Client, name: str) -> None:
        assert admin.get(EVENTS, {name: "x"}).status_code == 400

    @pytest.mark.parametrize("q", ["\0", '"', "x" * 5000, "after:9999-12-31", "ip:x", "-", "😀"])
    def test_list_accepts_any_search_text(self, admin: Client, q: str) -> None:
        get_list(admin, q=q)

    def test_list_uses_the_time_zone_of_the_viewer(self, log_in: Any) -> None:
        viewer = factories.auditor()
        Profile.objects.create(user=viewer, time_zone="Asia/Tokyo")
        client = log_in(viewer)

        assert listed_tags(client, q="on:2026-01-01") == ["b", "a"]
        html = get_list(client).content.decode()
        assert "Jan 1, 2026 8:00:00 AM" in html
        assert "Asia/Tokyo" in html

    def test_unknown_kind_is_shown_by_its_key(self, admin: Client, web: Repository) -> None:
        insert([factories.event_row(kind=factories.UNKNOWN_KIND, repository=web)])

        assert factories.UNKNOWN_KIND in get_list(admin).content.decode()

    def test_list_is_paged_by_cursor_links(self, admin: Client) -> None:
        insert(
            [
                factories.event_row(tag=f"t{number}", occurred_at=NOON + timedelta(minutes=number))
                for number in range(120)
            ]
        )
        first = get_list(admin, q="category:push").context["cl"]
        assert (len(first.result_list), first.newer_url) == (50, "")

        second = admin.get(EVENTS + first.older_url).context["cl"]
        again = admin.get(EVENTS + second.newer_url).context["cl"]
        third = admin.get(EVENTS + second.older_url).context["cl"]

        assert [event.tag for event in second.result_list] == [f"t{n}" for n in range(69, 19, -1)]
        assert [event.tag for event in again.result_list] == [event.tag for event in first.result_list]
        assert [event.tag for event in third.result_list][-2:] == ["d", "a"]
        assert third.older_url == ""
        assert third.newest_url == "?q=category%3Apush"

    @pytest.mark.parametrize("cursor", ["x", "\0", "9" * 5000, "WyJuIiwieCJd"])
    def test_invalid_cursor_shows_a_message(self, admin: Client, cursor: str) -> None:
        assert "That page is not available" in get_list(admin, p=cursor).content.decode()

    def test_search_without_an_index_continues_where_it_stopped(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 2)
        answer = get_list(admin, q="ip:10.0.0.7 -type:get")
        page = answer.context["cl"]
        assert "Searched back to Jan 31, 2026 12:00 PM" in answer.content.decode()

        rest = admin.get(EVENTS + page.continue_url).context["cl"]

        assert (page.result_list, rest.result_list) == ([], [])
        assert rest.search_page.searched_to is None
        assert page.search_page.searched_to == datetime(2026, 1, 31, 12, tzinfo=UTC)

    def test_search_and_filters_are_one_form_which_keeps_them(self, admin: Client) -> None:
        html = get_list(admin, q="jane", type="DELETE", occurred="2026", p="x").content.decode()

        (form,) = re.findall(r'<form id="changelist-search".*?</form>', html, re.DOTALL)
        assert 'name="q" value="jane"' in form
        assert '<option value="DELETE" selected>' in form
        assert 'name="occurred" value="2026"' in form
        names = set(re.findall(r' name="(\w+)"', form))
        assert names == {"q", *FilterForm.base_fields}
        assert "changelist-filter" not in html


@pytest.mark.usefixtures("four_events")
class TestQueries:
    URLS = [
        "",
        "?q=acme/web",
        "?q=acme/web:b",
        "?q=type:delete+-actor:joe",
        "?q=ip:10.0.0.7+namespace:acme",
        "?occurred=2026&category=push&actor=jane",
    ]

    @pytest.mark.parametrize("query", URLS)
    def test_query_count_of_list_does_not_grow(self, admin: Client, query: str) -> None:
        before = count_queries(admin, EVENTS + query)
        self.add_events()

        assert count_queries(admin, EVENTS + query) == before

    def test_query_count_of_event_page_does_not_grow(self, admin: Client) -> None:
        event = Event.objects.get(tag="b")
        self.add_events()  # so that there are later and earlier events
        before = count_queries(admin, detail_url(event))
        self.add_events()

        assert count_queries(admin, detail_url(event)) == before

    @pytest.mark.parametrize("query", URLS)
    def test_list_queries_have_no_count_distinct_or_offset(self, admin: Client, query: str) -> None:
        with CaptureQueriesContext(connection) as queries:
            admin.get(EVENTS + query)

        statements = [query["sql"].upper() for query in queries if "registry_activity_event" in query["sql"]]
        assert statements
        assert not any(
            "COUNT(" in sql or "DISTINCT" in sql or "OFFSET" in sql.split("FROM")[0] for sql in statements
        )

    def add_events(self) -> None:
        for number in range(30):
            factories.record("update_tag", f"org{number}x/web", tag="v1", actor_name=f"user{number}x")
        for tag in "bbbb":
            factories.record("delete_tag", "acme/web", tag=tag)


class TestDetail:
    def test_event_page_shows_all_fields(self, auditor: Client, web: Repository) -> None:
        event = factories.record(
            repository=web, digest=DIGEST, details={"user_agent": "docker", "node": "n1:5000"}
        )

        html = auditor.get(detail_url(event)).content.decode()

        for value in (str(event.pk), DIGEST, "Create Manifest", "acme/web", "jane", "docker", "n1:5000"):
            assert value in html

    def test_event_page_links_to_repository_actor_and_related_events(
        self, admin: Client, web: Repository
    ) -> None:
        jane = factories.UserFactory(username="jane")
        event = factories.record("delete_tag", web, tag="v1", details={"request_id": "r 1"})

        html = admin.get(detail_url(event)).content.decode()

        for url in (
            f"/admin/registry_repositories/repository/{web.pk}/change/",
            "/repositories/acme/web/activity/",
            f"/admin/auth/user/{jane.pk}/change/",
            "/users/jane/",
        ):
            assert f'href="{url}"' in html
        links = [part.split('"')[0].replace("&amp;", "&") for part in html.split('href="')[1:]]
        for label in (
            "Events by this actor in the same hour",
            "Events from the same request",
            "All events by this actor",
        ):
            (url,) = [link for link in links if f'{link.replace("&", "&amp;")}">{label}' in html]
            assert [found.pk for found in admin.get(url).context["cl"].result_list] == [event.pk]

    def test_event_page_links_to_the_policy(self, admin: Client, web: Repository) -> None:
        policy = factories.PolicyFactory(kind=Policy.Kind.PRUNING, repository=web)
        event = factories.record(
            "delete_tag", web, tag="v1", actor_type=ActorType.PRUNING, actor_name=policy.public_id
        )

        html = admin.get(detail_url(event)).content.decode()

        assert f'href="{policy.get_absolute_url()}"' in html
        assert f"PRUNING {policy.public_id}" in html

    def test_event_page_shows_previous_and_next_events_of_the_tag(
        self, admin: Client, web: Repository
    ) -> None:
        events = [factories.record("update_tag", web, tag=tag) for tag in "vwvvvvvvvw"]
        of_tag = [event for event in events if event.tag == "v"]

        nearby = admin.get(detail_url(of_tag[3])).context["nearby_events"]

        found = [nearby[f"{title} events on acme/web:v"] for title in ("Later", "Earlier")]
        assert [[event.pk for event in events] for events in found] == [
            [event.pk for event in reversed(of_tag[4:7])],
            [event.pk for event in reversed(of_tag[0:3])],
        ]

    @pytest.mark.parametrize("details", [{"request_id": ["x"]}, {"request_id": None}, ["x"], {}], ids=str)
    def test_event_page_accepts_any_details(self, admin: Client, web: Repository, details: Any) -> None:
        event = factories.event_row(repository=web, repository_name="acme/web", tag="v1", details=details)
        insert([event])

        assert admin.get(detail_url(event)).status_code == 200

    def test_event_page_works_after_repository_actor_and_policy_are_deleted(self, admin: Client) -> None:
        event = factories.event_row(
            repository_id=999_999, repository_name="gone/away", actor_user_id=999_999, policy_id=999_999
        )
        insert([event])

        assert "gone/away" in admin.get(detail_url(event)).content.decode()

    @pytest.mark.parametrize("key", ["x", "%00", "00000000-0000-0000-0000-000000000000", "9" * 99])
    def test_missing_event_redirects_or_is_not_found(self, admin: Client, key: str) -> None:
        assert admin.get(f"{EVENTS}{key}/change/").status_code in (302, 404)


@pytest.mark.usefixtures("four_events")
class TestExport:
    def export(self, client: Client, query: str = "", format: str = "jsonl") -> list[dict[str, Any]]:
        response: Any = client.post(f"{EVENTS}export/{query}", {"format": format})
        assert response.status_code == 200
        return [json.loads(line) for line in response.getvalue().decode().splitlines()]

    def test_export_has_the_matching_events_of_all_pages(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("activity.feed.export.CHUNK", 2)
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 2)

        assert [row["tag"] for row in self.export(admin)] == list("dcba")
        rows = self.export(admin, "?q=-ip:10.0.0.7+category:push&actor=jane&p=x")
        assert [row["tag"] for row in rows] == ["a"]

    @pytest.mark.audited
    def test_export_is_recorded_with_its_filters(self, auditor: Client) -> None:
        self.export(auditor, "?q=jane+after:2026-01-01&type=DELETE")

        _, event = Event.objects.filter(kind="export_events").order_by("pk")
        assert event.actor_name == "auditor"
        assert event.details["filters"] == "actor:jane type:DELETE after:2026-01-01T00:00:00+00:00"
        assert (event.details["exported"], event.details["state"]) == (1, "complete")

    @pytest.mark.parametrize(("action", "start"), [("export_csv", '"id"'), ("export_jsonl", "{")])
    def test_export_action_exports_the_selected_events(
        self, auditor: Client, action: str, start: str
    ) -> None:
        keys = [str(event.pk) for event in Event.objects.filter(tag__in="ac")]

        response: Any = auditor.post(EVENTS, {"action": action, "_selected_action": keys, "index": 0})

        text = response.getvalue().decode("utf-8-sig")
        assert text.startswith(start)
        assert [key in text for key in keys] == [True, True]
        assert str(Event.objects.get(tag="b").pk) not in text

    def test_export_action_on_all_events_applies_the_search(self, admin: Client) -> None:
        selected = [str(key) for key in Event.objects.values_list("pk", flat=True)]
        data = {"action": "export_jsonl", "_selected_action": selected, "index": 0, "select_across": 1}

        response: Any = admin.post(f"{EVENTS}?q=jane", data)

        tags = [json.loads(line)["tag"] for line in response.getvalue().decode().splitlines()]
        assert tags == ["c", "a"]

    @pytest.mark.parametrize(
        ("query", "data"),
        [("?q=tpye:x", {"format": "csv"}), ("", {"format": "xls"}), ("?type=x", {"format": "csv"}), ("", {})],
    )
    def test_invalid_export_redirects_and_is_not_recorded(
        self, admin: Client, query: str, data: dict[str, str]
    ) -> None:
        assert admin.post(f"{EVENTS}export/{query}", data).status_code == 302
        assert not Event.objects.filter(kind="export_events").exists()

    def test_export_requires_post_and_a_csrf_token(self, log_in: Any) -> None:
        user = factories.msr_admin()
        assert log_in(user).get(f"{EVENTS}export/").status_code == 405
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(user)
        assert strict.post(f"{EVENTS}export/", {"format": "csv"}).status_code == 403

    def test_export_is_forbidden_for_repository_admins(self, log_in: Any, web: Repository) -> None:
        user = factories.user_with("level_admin", web)
        assert log_in(user).post(f"{EVENTS}export/", {"format": "csv"}).status_code == 302
        user.is_staff = True
        user.save()
        assert log_in(user).post(f"{EVENTS}export/", {"format": "csv"}).status_code == 403


class TestHostileContent:
    @pytest.fixture
    def event(self, web: Repository) -> Event:
        event = factories.event_row(
            repository=web,
            repository_name=HOSTILE,
            tag=HOSTILE,
            digest=HOSTILE,
            details={HOSTILE: HOSTILE, "request_id": HOSTILE, "user_agent": HOSTILE},
        )
        event.actor_name = HOSTILE
        insert([event])
        return event

    def test_html_in_an_event_is_escaped_in_the_admin(self, admin: Client, event: Event) -> None:
        factories.event_row(repository_name=HOSTILE)
        for url in (EVENTS, detail_url(event), f"{EVENTS}?q={HOSTILE}", f"{EVENTS}?q=label:{HOSTILE}"):
            html = admin.get(url).content.decode()
            assert "<script>alert" not in html
            assert "&lt;script&gt;alert" in html

    def test_exports_are_attachments_that_browsers_do_not_render(self, admin: Client, event: Event) -> None:
        for format in ("csv", "jsonl"):
            response: Any = admin.post(f"{EVENTS}export/", {"format": format})
            response.getvalue()
            assert response["Content-Type"].split(";")[0] in ("text/csv", "application/jsonl")
            assert response["X-Content-Type-Options"] == "nosniff"
            assert response["Content-Disposition"].startswith("attachment")


@pytest.mark.usefixtures("four_events")
class TestForbidden:
    @pytest.mark.parametrize("path", ["add/", "{pk}/delete/", "{pk}/change/"])
    def test_nobody_can_add_change_or_delete_events(self, log_in: Any, path: str) -> None:
        event = Event.objects.first()
        assert event
        root = factories.UserFactory(is_staff=True, is_superuser=True)
        for user in (root, factories.msr_admin(), factories.auditor()):
            response = log_in(user).post(EVENTS + path.format(pk=event.pk), {"tag": "forged", "post": "yes"})
            assert response.status_code == 403
        assert set(Event.objects.values_list("tag", flat=True)) == set("abcd")

    def test_events_cannot_be_deleted_by_an_action(self, admin: Client) -> None:
        keys = [str(pk) for pk in Event.objects.values_list("pk", flat=True)]

        admin.post(EVENTS, {"action": "delete_selected", "_selected_action": keys, "post": "yes"})

        assert Event.objects.count() == 4

    @pytest.mark.parametrize(("staff", "status"), [(True, 403), (False, 302)])
    def test_events_are_hidden_from_repository_admins(
        self, log_in: Any, web: Repository, staff: bool, status: int
    ) -> None:
        user = factories.user_with("level_admin", web)
        user.is_staff = staff
        user.save()

        assert log_in(user).get(EVENTS).status_code == status
        event = Event.objects.first()
        assert event
        assert log_in(user).get(detail_url(event)).status_code == status
