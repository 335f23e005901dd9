"""The search of the lists on the site, in their exports, feeds and in the API, and what it tells to whom."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity.feed import reading
from repositories.models import Repository
from tests import factories
from tests.event_tables import column, get_page, get_refusal

URL = "/activity/"


@pytest.fixture
def events(web: Repository) -> Repository:
    """Six events in a private repository, and one in a repository that only MSR admins can see."""
    factories.UserFactory(username="jane")
    now = timezone.now()
    for number, kind in enumerate(["update_tag", "get_tag", "delete_tag"] * 2):
        factories.record(
            kind,
            web,
            occurred_at=now - timedelta(minutes=60 - number),
            tag=f"t{number}",
            actor_name="jane",
            details={"client_address": "10.0.0.7"},
        )
    secret = factories.repository("secret/app")
    factories.record("update_tag", secret, occurred_at=now, tag="s", actor_name="mallory")
    return web


@pytest.fixture
def reader(log_in: Any, events: Repository) -> Client:
    return log_in(factories.user_with("level_read", events))


@pytest.fixture
def auditor(log_in: Any, events: Repository) -> Client:
    return log_in(factories.auditor())


def found(client: Client, q: str, url: str = URL, **query: str) -> list[str]:
    html = get_page(client, url, q=q, exclude_pull="false", **query)
    assert 'id="problems"' not in html
    return [tag.rpartition(":")[2] for tag in column(html, "Tag")]


class TestLists:
    @pytest.mark.parametrize(
        ("q", "tags"),
        [
            ("type:delete", ["t5", "t2"]),
            ("actor:JANE -type:get", ["t5", "t3", "t2", "t0"]),
            ("repo:acme/web:t0", ["t0"]),
            ("organization:acme kind:get_tag", ["t4", "t1"]),
            ("tag:s", ["s"]),
            ("ip:10.0.0.7 type:update", ["t3", "t0"]),
        ],
    )
    def test_search_lists_the_matching_events(self, auditor: Client, q: str, tags: list[str]) -> None:
        assert found(auditor, q) == tags
        assert found(auditor, q, sort="time") == tags[::-1]
        assert found(auditor, q, sort="-tag") == sorted(tags, reverse=True)
        lines = auditor.post(f"{URL}?exclude_pull=false&q={q.replace(':', '%3A')}", {"export": "csv"})
        assert lines.getvalue().count(b"\n") == len(tags) + 1
        feed = auditor.get(f"{URL}atom/", {"q": q, "exclude_pull": "false"}).content.decode()
        assert feed.count("<entry>") == len(tags)
        results = auditor.get("/api/v0/events/", {"search": q}).json()["results"]
        assert [event["tag"].rpartition(":")[2] for event in results] == tags
        results = auditor.get("/api/v0/events/", {"search": q, "sort": "time"}).json()["results"]
        assert [event["tag"].rpartition(":")[2] for event in results] == tags[::-1]

    def test_search_finds_only_what_the_viewer_may_see(self, reader: Client) -> None:
        assert found(reader, "type:update") == ["t3", "t0"]
        assert found(reader, "tag:s") == []
        assert found(reader, "type:get") == []
        assert found(reader, "ip:10.0.0.7") == []

    def test_search_works_on_the_pages_of_repositories_organizations_and_users(self, auditor: Client) -> None:
        for url in ("/repositories/acme/web/activity/", "/organizations/acme/activity/", "/users/jane/"):
            assert found(auditor, "type:delete", url) == ["t5", "t2"]

    def test_terms_and_filters_must_all_match(self, auditor: Client) -> None:
        assert found(auditor, "type:delete type:update", tag="t3") == ["t3"]
        assert found(auditor, "actor:jane", type="DELETE") == ["t5", "t2"]

    def test_api_call_of_the_page_returns_the_same_list(self, auditor: Client) -> None:
        html = get_page(
            auditor, URL, q="delete_tag -tag:t2 after:9999d".replace("delete_tag", "kind:delete_tag")
        )
        address = re.search(r'id="call-url" readonly value="http://testserver([^"]*)"', html)

        assert address
        results = auditor.get(address[1].replace("&amp;", "&")).json()["results"]
        assert [event["tag"] for event in results] == column(html, "Tag") == ["acme/web:t5"]

    @pytest.mark.parametrize("sort", ["-time", "time"])
    def test_search_without_an_index_reads_a_bounded_number_and_continues(
        self, auditor: Client, monkeypatch: pytest.MonkeyPatch, sort: str
    ) -> None:
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 2)
        query: dict[str, str] = {"q": "tag:t2", "exclude_pull": "false", "sort": sort}
        pages = []
        while True:
            html = get_page(auditor, URL, **query)
            pages.append(column(html, "Tag"))
            link = re.search(r'id="continue" href="[^"]*cursor=([^"&]*)', html)
            if not link:
                break
            query["cursor"] = link[1]

        assert [tag for tags in pages for tag in tags] == ["acme/web:t2"]
        assert len(pages) > 2

    @pytest.mark.parametrize("sort", ["-time", "time"])
    def test_api_continues_a_search_without_an_index(
        self, auditor: Client, monkeypatch: pytest.MonkeyPatch, sort: str
    ) -> None:
        monkeypatch.setattr(reading, "MAX_EVENTS_READ", 2)
        tags, url, pages = [], f"/api/v0/events/?search=tag:t2&sort={sort}", 0
        while url:
            page = auditor.get(url).json()
            tags += [event["tag"] for event in page["results"]]
            url, pages = page["next"], pages + 1

        assert (tags, pages > 2) == (["acme/web:t2"], True)

    def test_help_lists_the_qualifiers(self, auditor: Client, reader: Client) -> None:
        assert "<code>via:acme-registry</code>" in get_page(auditor, URL)
        assert "<code>repo:acme/web</code>" in get_page(reader, URL)
        assert "<code>via:acme-registry</code>" not in get_page(reader, URL)


class TestPulls:
    """Pulls are excluded by default, but who asks for nothing else gets them."""

    QUERIES: ClassVar = [
        {"q": "type:get"},
        {"q": "category:pull tag:t4"},
        {"q": 'label:"get tag"'},
        {"category": "pull"},
        {"type": "GET", "q": "kind:get_tag"},
    ]

    @pytest.mark.parametrize("query", QUERIES, ids=str)
    def test_search_for_pulls_alone_lists_and_exports_them(
        self, auditor: Client, query: dict[str, str]
    ) -> None:
        for excluded in ({}, {"exclude_pull": "true"}):
            html = get_page(auditor, URL, **query, **excluded)
            assert set(column(html, "Label")) == {"Get Tag"}
            assert ("Pulls are shown although they are excluded" in html) == bool(excluded)
            exported = auditor.post(f"{URL}?{urlencode({**query, **excluded})}", {"export": "csv"})
            assert b"Get Tag" in b"".join(exported)

    @pytest.mark.parametrize("q", ["type:get type:delete", "label:tag", "actor:jane", "-type:delete"])
    def test_other_searches_exclude_pulls(self, auditor: Client, q: str) -> None:
        assert "Get Tag" not in column(get_page(auditor, URL, q=q), "Label")

    def test_viewer_without_pulls_is_told(self, reader: Client) -> None:
        assert "Pulls are shown to repository admins." in get_page(reader, URL, q="type:get")
        assert "Pulls are shown" not in get_page(reader, URL, q="type:delete")


class TestNames:
    @pytest.mark.parametrize(
        ("hidden", "absent"),
        [
            ("repo:secret/app", "repo:secret/zzz"),
            ("repo:secret/app:s", "repo:secret/zzz:s"),
            ("namespace:secret", "namespace:zzzzzz"),
            ("organization:secret", "organization:zzzzzz"),
            ("-repo:secret/app", "-repo:secret/zzz"),
            ("actor:mallory", "actor:zzzzzzz"),
            ("via:mallory", "via:zzzzzzz"),
        ],
    )
    def test_answer_does_not_tell_whether_a_name_exists(
        self, reader: Client, hidden: str, absent: str
    ) -> None:
        factories.UserFactory(username="mallory")

        def answer(q: str) -> tuple[int, str, int]:
            with CaptureQueriesContext(connection) as queries:
                page = reader.get(URL, {"q": q})
            html = page.content.decode()
            html = re.sub(r'value="\w{64}"|<span class="ago">.*?</span>|since=[^"]*|cursor=[^"]*', "", html)
            text = re.sub("secret(%2F|/)?(app|zzz)?|z{6,7}|mallory", "", html)
            return page.status_code, text, len(queries)

        answer(hidden)
        assert answer(hidden) == answer(absent)

    def test_nearest_name_is_one_that_the_viewer_may_know(self, reader: Client, auditor: Client) -> None:
        assert "The nearest is acme/web." in get_refusal(reader, URL, q="repo:acme/wbe")
        assert "nearest" not in get_refusal(reader, URL, q="repo:secret/ap")
        assert "The nearest is secret/app." in get_refusal(auditor, URL, q="repo:secret/ap")

    def test_empty_list_explains_an_unknown_actor(self, auditor: Client) -> None:
        html = get_page(auditor, URL, q="actor:jnae")

        assert "This list has no event by an actor called jnae. The nearest is jane." in html

    def test_empty_list_does_not_deny_events_of_a_known_actor(self, auditor: Client) -> None:
        for q in ("jane type:scan", "actor:JANE type:scan"):
            assert "by an actor called" not in get_page(auditor, URL, q=q)

    def test_invisible_characters_in_a_wrong_name_are_shown(self, auditor: Client) -> None:
        assert r"an actor called ja\u200bne." in get_page(auditor, URL, q="ja\u200bne")

    @pytest.mark.parametrize(("word", "explained"), [("t0", True), ("actor:t0", False)])
    def test_empty_list_says_that_a_word_is_an_actor(
        self, auditor: Client, word: str, explained: bool
    ) -> None:
        html = get_page(auditor, URL, q=word)

        assert ("For a tag or namespace, write tag:t0 or namespace:t0." in html) == explained

    def test_name_that_is_no_term_and_no_repository_is_refused_as_both(self, auditor: Client) -> None:
        answer = get_refusal(auditor, URL, q="limit:10")

        assert "There is no repository called limit that you can see." in answer
        assert "&#x27;limit:&#x27; is not a search term either." in answer

    @pytest.mark.parametrize("query", [{"q": "after:2999"}, {"after": "2999-01-01T00:00"}], ids=str)
    def test_empty_list_says_that_it_begins_in_the_future(
        self, auditor: Client, query: dict[str, str]
    ) -> None:
        assert "Jan 1, 2999 12:00 AM is in the future." in get_page(auditor, URL, **query)
        assert "in the future" not in get_page(auditor, URL, q="before:2999 actor:nobody")

    def test_page_says_of_which_events_details_can_be_searched(self, reader: Client, auditor: Client) -> None:
        for name in ("ip:10.0.0.7", "request:r1", "via:jane"):
            assert f"For you, {name.partition(':')[0]}: finds " in get_page(reader, URL, q=name)
            assert "For you," not in get_page(auditor, URL, q=name)
