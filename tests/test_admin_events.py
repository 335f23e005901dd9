"""Events in the admin: searched, filtered, shown, exported, and changed by nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from activity.feed import search
from activity.models import ActorType, Event
from repositories.models import Policy, Profile, Repository
from tests import factories
from tests.factories import DIGEST, NOON

EVENTS = "/admin/registry_activity/event/"
HOSTILE = '<script>alert("x")</script>'


def page_of(client: Client, **query: str) -> Any:
    response = client.get(EVENTS, query)
    assert response.status_code == 200
    return response


def listed(client: Client, **query: str) -> list[str]:
    """Return the tags of the events that the list shows."""
    return [event.tag for event in page_of(client, **query).context["cl"].result_list]


def detail(event: Event) -> str:
    return reverse("admin:registry_activity_event_change", args=[event.pk])


def queries_of(client: Client, url: str) -> int:
    client.get(url)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


@pytest.fixture
def story(web: Repository) -> None:
    """Four events: two of January, and one before and after it."""
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


@pytest.mark.usefixtures("story")
class TestList:
    @pytest.mark.parametrize(
        ("query", "tags"),
        [
            ({}, "dcba"),
            ({"category": "pull"}, "b"),
            ({"type": "UPDATE"}, "da"),
            ({"actor-type": "user"}, "dcba"),
            ({"actor-type": "pruning"}, ""),
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
    def test_is_searched_and_filtered(self, admin: Client, query: dict[str, str], tags: str) -> None:
        assert listed(admin, **query) == list(tags)

    def test_is_narrowed_to_a_repository_and_a_namespace(self, admin: Client, web: Repository) -> None:
        assert listed(admin, repository=str(web.pk)) == ["b", "a"]
        assert listed(admin, namespace=str(web.namespace_id)) == ["c", "b", "a"]
        assert listed(admin, namespace=str(web.namespace_id), actor="joe") == ["b"]

    @pytest.mark.parametrize(
        ("model", "field", "found"),
        [
            ("registry_activity.event", "repository", "acme/web"),
            ("registry_repositories.repository", "namespace", "acme"),
        ],
    )
    def test_repositories_and_namespaces_are_looked_up_while_typing(
        self, auditor: Client, model: str, field: str, found: str
    ) -> None:
        app, name = model.split(".")
        query = {"app_label": app, "model_name": name, "field_name": field, "term": "acme"}

        results = auditor.get("/admin/autocomplete/", query).json()["results"]

        assert found in [result["text"] for result in results]
        assert f'data-field-name="{field}"' in page_of(auditor).content.decode()

    def test_finds_by_id(self, admin: Client) -> None:
        event = Event.objects.get(tag="b")

        assert listed(admin, q=str(event.pk)) == ["b"]

    def test_shows_nothing_where_it_does_not_understand(self, admin: Client) -> None:
        html = page_of(admin, q="tpye:delete repo:acme/web").content.decode()

        assert "&#x27;tpye:&#x27; is not known; did you mean &#x27;type:&#x27;?" in html
        assert listed(admin, q="tpye:delete repo:acme/web") == []

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
    def test_filter_that_makes_no_sense_is_told_of(self, admin: Client, query: dict[str, str]) -> None:
        assert admin.get(EVENTS, query)["Location"].endswith("?e=1")

    @pytest.mark.parametrize(
        "name", ["details__contains", "digest__startswith", "actor_name", "tpye", "repository__name"]
    )
    def test_cannot_be_asked_for_anything_else(self, admin: Client, name: str) -> None:
        assert admin.get(EVENTS, {name: "x"}).status_code == 400

    @pytest.mark.parametrize("q", ["\0", '"', "x" * 5000, "after:9999-12-31", "ip:x", "-", "😀"])
    def test_takes_any_search(self, admin: Client, q: str) -> None:
        page_of(admin, q=q)

    def test_date_is_drilled_down_to(self, admin: Client) -> None:
        def choices(**query: str) -> list[str]:
            (spec,) = [s for s in page_of(admin, **query).context["cl"].filter_specs if s.title == "date"]
            return [str(value) for value, _ in spec.lookup_choices]

        assert choices() == ["2025", "2026"]
        assert choices(occurred="2026")[:2] == ["2026", "2026-01"]
        assert choices(occurred="2026-02")[-1] == "2026-02-28"

    def test_times_and_days_are_those_of_the_viewer(self, log_in: Any) -> None:
        person = factories.auditor()
        Profile.objects.create(user=person, time_zone="Asia/Tokyo")
        client = log_in(person)

        assert listed(client, q="on:2026-01-01") == ["b", "a"]
        html = page_of(client).content.decode()
        assert "Jan 1, 2026 8:00:00 AM" in html
        assert "Asia/Tokyo" in html

    def test_shows_unknown_kinds_by_their_key(self, admin: Client, web: Repository) -> None:
        Event.objects.bulk_create([factories.event_row(kind="polish_tag", category="polish", repository=web)])

        assert "polish_tag" in page_of(admin).content.decode()

    def test_is_paged_by_links_that_can_be_bookmarked(self, admin: Client) -> None:
        Event.objects.bulk_create(
            factories.event_row(tag=f"t{number}", occurred_at=NOON + timedelta(minutes=number))
            for number in range(120)
        )
        first = page_of(admin, q="category:push").context["cl"]
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
    def test_page_that_is_none_is_told_of(self, admin: Client, cursor: str) -> None:
        assert "can&#x27;t be found any more" in page_of(admin, p=cursor).content.decode()

    def test_search_that_no_index_serves_goes_on(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "STRETCH", 2)
        page = page_of(admin, q="ip:10.0.0.7").context["cl"]
        assert "Searched as far as Jan 31, 2026 12:00 PM" in page_of(admin, q="ip:10.0.0.7").content.decode()

        rest = admin.get(EVENTS + page.onward_url).context["cl"]

        assert (page.result_list, rest.result_list) == ([], [])
        assert [rest.found.searched_to, page.found.searched_to] == [
            datetime(2025, 12, 31, 23, tzinfo=UTC),
            datetime(2026, 1, 31, 12, tzinfo=UTC),
        ]

    def test_keeps_the_search_beside_the_filters(self, admin: Client) -> None:
        html = page_of(admin, q="jane", type="DELETE", p="x").content.decode()

        assert html.count('<input type="hidden" name="type" value="DELETE">') == 2
        assert '<input type="hidden" name="q" value="jane">' in html
        assert 'name="p"' not in html


@pytest.mark.usefixtures("story")
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
    def test_of_the_list_do_not_grow(self, admin: Client, query: str) -> None:
        before = queries_of(admin, EVENTS + query)
        self.more()

        assert queries_of(admin, EVENTS + query) == before

    def test_of_an_event_do_not_grow(self, admin: Client) -> None:
        event = Event.objects.get(tag="b")
        before = queries_of(admin, detail(event))
        self.more()

        # One less: there is enough on the tag now that it isn't asked how far was searched.
        assert queries_of(admin, detail(event)) in (before, before - 1)

    @pytest.mark.parametrize("query", URLS)
    def test_count_and_deduplicate_nothing(self, admin: Client, query: str) -> None:
        with CaptureQueriesContext(connection) as queries:
            admin.get(EVENTS + query)

        asked = [query["sql"].upper() for query in queries if "registry_activity_event" in query["sql"]]
        assert asked
        assert not any(
            "COUNT(" in sql or "DISTINCT" in sql or "OFFSET" in sql.split("FROM")[0] for sql in asked
        )

    def more(self) -> None:
        for number in range(30):
            factories.record("update_tag", f"org{number}x/web", tag="v1", actor_name=f"user{number}x")
        for tag in "bbbb":
            factories.record("delete_tag", "acme/web", tag=tag)


class TestDetail:
    def test_shows_everything_that_is_known(self, auditor: Client, web: Repository) -> None:
        event = factories.record(
            repository=web, digest=DIGEST, details={"user_agent": "docker", "node": "n1:5000"}
        )

        html = auditor.get(detail(event)).content.decode()

        for known in (str(event.pk), DIGEST, "Create Manifest", "acme/web", "jane", "docker", "n1:5000"):
            assert known in html

    def test_leads_to_what_it_speaks_of(self, admin: Client, web: Repository) -> None:
        jane = factories.UserFactory(username="jane")
        event = factories.record("delete_tag", web, tag="v1", details={"request_id": "r 1"})

        html = admin.get(detail(event)).content.decode()

        for url in (
            f"/admin/registry_repositories/repository/{web.pk}/change/",
            "/repositories/acme/web/activity/",
            f"/admin/auth/user/{jane.pk}/change/",
            "/users/jane/",
        ):
            assert f'href="{url}"' in html
        links = [part.split('"')[0].replace("&amp;", "&") for part in html.split('href="')[1:]]
        for label in ("Same actor, same hour", "Events of the same request", "All they did"):
            (url,) = [link for link in links if f'{link.replace("&", "&amp;")}">{label}' in html]
            assert [found.pk for found in admin.get(url).context["cl"].result_list] == [event.pk]

    def test_leads_to_the_policy(self, admin: Client, web: Repository) -> None:
        policy = factories.PolicyFactory(kind=Policy.Kind.PRUNING, repository=web)
        event = factories.record(
            "delete_tag", web, tag="v1", actor_type=ActorType.PRUNING, actor_name=policy.public_id
        )

        html = admin.get(detail(event)).content.decode()

        assert f'href="{policy.get_absolute_url()}"' in html
        assert f"PRUNING {policy.public_id}" in html

    def test_shows_what_came_before_and_after_on_the_tag(self, admin: Client, web: Repository) -> None:
        events = [factories.record("update_tag", web, tag=tag) for tag in "vwvvvvvvvw"]
        here = [event for event in events if event.tag == "v"]

        around = admin.get(detail(here[3])).context["around"]

        assert [[event.pk for event in found] for _, _, found in around] == [
            [event.pk for event in reversed(here[4:7])],
            [event.pk for event in reversed(here[0:3])],
        ]

    @pytest.mark.parametrize("details", [{"request_id": ["x"]}, {"request_id": None}, ["x"], {}], ids=str)
    def test_takes_any_details(self, admin: Client, web: Repository, details: Any) -> None:
        event = factories.event_row(repository=web, repository_name="acme/web", tag="v1", details=details)
        Event.objects.bulk_create([event])

        assert admin.get(detail(event)).status_code == 200

    def test_outlives_what_it_speaks_of(self, admin: Client) -> None:
        event = factories.event_row(
            repository_id=999_999, repository_name="gone/away", actor_user_id=999_999, policy_id=999_999
        )
        Event.objects.bulk_create([event])

        assert "gone/away" in admin.get(detail(event)).content.decode()

    @pytest.mark.parametrize("key", ["x", "%00", "00000000-0000-0000-0000-000000000000", "9" * 99])
    def test_that_is_not_there_is_told_of(self, admin: Client, key: str) -> None:
        assert admin.get(f"{EVENTS}{key}/change/").status_code in (302, 404)


@pytest.mark.usefixtures("story")
class TestExport:
    def export(self, client: Client, query: str = "", format: str = "jsonl") -> list[dict[str, Any]]:
        response: Any = client.post(f"{EVENTS}export/{query}", {"format": format})
        assert response.status_code == 200
        return [json.loads(line) for line in response.getvalue().decode().splitlines()]

    def test_has_all_that_is_listed_on_all_pages(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("activity.feed.export.CHUNK", 2)
        monkeypatch.setattr(search, "STRETCH", 2)

        assert [row["tag"] for row in self.export(admin)] == list("dcba")
        rows = self.export(admin, "?q=-ip:10.0.0.7+category:push&actor=jane&p=x")
        assert [row["tag"] for row in rows] == ["a"]

    @pytest.mark.audited
    def test_says_which_filter(self, auditor: Client) -> None:
        self.export(auditor, "?q=jane+after:2026-01-01&type=DELETE")

        _, event = Event.objects.filter(kind="export_events").order_by("pk")
        assert event.actor_name == "auditor"
        assert event.details["filters"] == "actor:jane type:DELETE after:2026-01-01T00:00:00+00:00"
        assert (event.details["exported"], event.details["state"]) == (1, "complete")

    @pytest.mark.parametrize(("action", "start"), [("export_csv", '"id"'), ("export_jsonl", "{")])
    def test_of_what_was_chosen(self, auditor: Client, action: str, start: str) -> None:
        keys = [str(event.pk) for event in Event.objects.filter(tag__in="ac")]

        response: Any = auditor.post(EVENTS, {"action": action, "_selected_action": keys, "index": 0})

        text = response.getvalue().decode()
        assert text.startswith(start)
        assert [key in text for key in keys] == [True, True]
        assert str(Event.objects.get(tag="b").pk) not in text

    def test_of_all_that_is_listed_by_the_action_keeps_to_the_search(self, admin: Client) -> None:
        data = {"action": "export_jsonl", "_selected_action": "x", "index": 0, "select_across": 1}

        response: Any = admin.post(f"{EVENTS}?q=jane", data)

        tags = [json.loads(line)["tag"] for line in response.getvalue().decode().splitlines()]
        assert tags == ["c", "a"]

    @pytest.mark.parametrize(
        ("query", "data"),
        [("?q=tpye:x", {"format": "csv"}), ("", {"format": "xls"}), ("?type=x", {"format": "csv"}), ("", {})],
    )
    def test_of_what_makes_no_sense_is_none(self, admin: Client, query: str, data: dict[str, str]) -> None:
        assert admin.post(f"{EVENTS}export/{query}", data).status_code == 302
        assert not Event.objects.filter(kind="export_events").exists()

    def test_is_asked_for_by_post_with_a_token(self, log_in: Any) -> None:
        person = factories.msr_admin()
        assert log_in(person).get(f"{EVENTS}export/").status_code == 405
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(person)
        assert strict.post(f"{EVENTS}export/", {"format": "csv"}).status_code == 403

    def test_is_for_those_who_oversee_the_registry(self, log_in: Any, web: Repository) -> None:
        person = factories.person_with("level_admin", web)
        assert log_in(person).post(f"{EVENTS}export/", {"format": "csv"}).status_code == 302
        person.is_staff = True
        person.save()
        assert log_in(person).post(f"{EVENTS}export/", {"format": "csv"}).status_code == 403


class TestHostileContent:
    @pytest.fixture
    def event(self, web: Repository) -> Event:
        event = factories.event_row(
            repository=web,
            repository_name=HOSTILE,
            tag=HOSTILE,
            digest=HOSTILE,
            kind=HOSTILE[:40],
            category="push",
            details={HOSTILE: HOSTILE, "request_id": HOSTILE, "user_agent": HOSTILE},
        )
        event.actor_name = HOSTILE
        Event.objects.bulk_create([event])
        return event

    def test_is_text_in_the_admin(self, admin: Client, event: Event) -> None:
        factories.event_row(repository_name=HOSTILE)
        for url in (EVENTS, detail(event), f"{EVENTS}?q={HOSTILE}", f"{EVENTS}?q=label:{HOSTILE}"):
            html = admin.get(url).content.decode()
            assert "<script>alert" not in html
            assert "&lt;script&gt;alert" in html

    def test_is_text_in_exports(self, admin: Client, event: Event) -> None:
        for format in ("csv", "jsonl"):
            response: Any = admin.post(f"{EVENTS}export/", {"format": format})
            response.getvalue()
            assert response["Content-Type"].split(";")[0] in ("text/csv", "application/jsonl")
            assert response["X-Content-Type-Options"] == "nosniff"
            assert response["Content-Disposition"].startswith("attachment")


@pytest.mark.usefixtures("story")
class TestNobody:
    @pytest.mark.parametrize("path", ["add/", "{pk}/delete/", "{pk}/change/"])
    def test_changes_events(self, log_in: Any, path: str) -> None:
        event = Event.objects.first()
        assert event
        root = factories.UserFactory(is_staff=True, is_superuser=True)
        for user in (root, factories.msr_admin(), factories.auditor()):
            response = log_in(user).post(EVENTS + path.format(pk=event.pk), {"tag": "forged", "post": "yes"})
            assert response.status_code == 403
        assert set(Event.objects.values_list("tag", flat=True)) == set("abcd")

    def test_deletes_events_by_an_action(self, admin: Client) -> None:
        keys = [str(pk) for pk in Event.objects.values_list("pk", flat=True)]

        admin.post(EVENTS, {"action": "delete_selected", "_selected_action": keys, "post": "yes"})

        assert Event.objects.count() == 4

    @pytest.mark.parametrize(("staff", "status"), [(True, 403), (False, 302)])
    def test_else_sees_events(self, log_in: Any, web: Repository, staff: bool, status: int) -> None:
        person = factories.person_with("level_admin", web)
        person.is_staff = staff
        person.save()

        assert log_in(person).get(EVENTS).status_code == status
        event = Event.objects.first()
        assert event
        assert log_in(person).get(detail(event)).status_code == status
