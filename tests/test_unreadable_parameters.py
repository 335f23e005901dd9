"""No list drops a parameter without a word: what it can't read, it names, and then it shows nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from activity.models import Event
from repositories.models import Profile, Repository
from tests import factories
from tests.event_tables import column, get_page, get_refusal

PAGES = [
    "/activity/",
    "/repositories/acme/web/activity/",
    "/organizations/acme/activity/",
    "/users/jane/",
    "/policies/CA5E7822/",
]
UNREADABLE = {
    "after=soon": "soon",
    "before=2026-02-30T00:00": "2026-02-30",
    "after=2026-11-20&before=2026-11-19": "2026-11-19",
    "range=week&before=2001-01-01": "2001-01-01",
    "range=century": "century",
    "type=TELEPORT": "TELEPORT",
    "type=CREATE&type=DELETE": "“CREATE”, “DELETE”",
    "tag=a%20b": "a b",
    "tag=acme/api:v1&repository=acme/web": "acme/api:v1",
    "typ=DELETE": "typ",
    "acter=jane": "acter",
    "type=%20": "blank",
    "sort=colour": "colour",
    "exclude_pull=perhaps": "perhaps",
    "q=after:soon": "soon",
    "q=delete+tag": "delete tag",
    "q=repo:acme/wbe": "acme/wbe",
    "q=after:2026-11-20&before=2026-11-19": "2026-11-19",
}


@pytest.fixture
def web(web: Repository) -> Repository:
    """A repository with an event on each of the pages."""
    factories.PolicyFactory(repository=web, public_id="CA5E7822")
    factories.UserFactory(username="jane")
    factories.record("update_tag", web, tag="v1", actor_name="jane")
    factories.record("promote", web, tag="v1", actor_type="promotion", actor_name="CA5E7822")
    return web


@pytest.fixture
def admin(log_in: Any, web: Repository) -> Client:
    return log_in(factories.msr_admin())


def named(html: str) -> str:
    """Return what a page says about the parameters that it can't read."""
    return html.partition('id="problems"')[2].partition("</div>")[0]


class TestEventPages:
    def test_empty_range_is_named_once(self, admin: Client) -> None:
        html = get_refusal(admin, "/activity/?after=2026-11-20&before=2026-11-19")

        (problems,) = re.findall(r'<ul class="plain">(.*?)</ul>', html, re.DOTALL)
        assert re.findall(r"<li>(.*?)</li>", problems) == [
            "To: “2026-11-19”: The end of the range must be after its start."
        ]

    @pytest.mark.parametrize("query", UNREADABLE)
    def test_unreadable_parameter_is_named_and_nothing_is_shown(self, admin: Client, query: str) -> None:
        for url in PAGES:
            html = get_refusal(admin, f"{url}?{query}")
            assert UNREADABLE[query] in named(html), url
            assert column(html, "Label") == [], url
            assert 'id="live"' not in html

    @pytest.mark.parametrize("query", UNREADABLE)
    def test_unreadable_parameter_exports_nothing(self, admin: Client, query: str) -> None:
        for url in PAGES:
            for format in ("csv", "jsonl"):
                response = admin.post(f"{url}?{query}", {"export": format})
                assert response.status_code == 400
                assert UNREADABLE[query] in named(response.content.decode())
        assert not Event.objects.filter(kind="export_events").exists()

    def test_filter_in_the_body_of_an_export_is_not_dropped(self, admin: Client) -> None:
        response = admin.post("/activity/", {"export": "csv", "type": "DELETE"})

        assert response.status_code == 400

    @pytest.mark.parametrize("query", UNREADABLE)
    def test_feeds_and_live_updates_name_what_they_cannot_read(self, admin: Client, query: str) -> None:
        for url in ("/activity/atom/?", f"/activity/?since={Event.objects.first().pk}&"):  # type: ignore[union-attr]
            response = admin.get(f"{url}{query}")
            assert response.status_code == 400
            assert UNREADABLE[query] in response.content.decode()

    @pytest.mark.parametrize("tag", ["acme/web:v1", "/"])
    def test_pulls_of_what_is_no_tag_are_refused(self, admin: Client, tag: str) -> None:
        html = get_refusal(admin, "/repositories/acme/web/pulls/", tag=tag)

        assert f"Tag: “{tag}”: Enter a tag like v1, without the repository." in html

    @pytest.mark.parametrize(
        "path",
        [
            "registry_repositories/repository/?visibility__exact=secret",
            "registry_repositories/repository/?not_pulled_for=60",
            "registry_repositories/namespace/?owner=nobody",
            "registry_activity/deadletter/?state=lost",
            "registry_repositories/policy/?enabled__exact=perhaps",
            "registry_activity/run/?state__exact=done&preview__exact=0",
            "registry_activity/hold/?q=acme",
        ],
    )
    def test_list_of_the_admin_names_what_it_cannot_filter_by(self, admin: Client, path: str) -> None:
        html = get_refusal(admin, f"/admin/{path}")

        assert "Nothing is shown, because the list can&#x27;t be filtered by" in html

    @pytest.mark.parametrize(
        "path",
        [
            "registry_activity/run/?state__exact=failed&preview__exact=0",
            "registry_activity/deadletter/?state=all",
            "registry_repositories/repository/?not_pulled_for=90&q=acme/web",
        ],
    )
    def test_list_of_the_admin_is_filtered_by_what_it_can_read(self, admin: Client, path: str) -> None:
        assert admin.get(f"/admin/{path}").status_code == 200

    def test_list_is_replaced_by_what_cannot_be_read(self, admin: Client) -> None:
        response = admin.get("/activity/?typ=DELETE", headers={"HX-Request": "true"})

        assert response.status_code == 200  # htmx ignores answers with an error status
        assert "typ" in named(response.content.decode())

    def test_readable_query_is_answered_on_every_page(self, admin: Client) -> None:
        for url in PAGES:
            assert column(get_page(admin, f"{url}?q=tag:v1"), "Label"), url

    def test_repository_page_has_no_parameter_for_another_repository(self, admin: Client) -> None:
        html = get_refusal(admin, "/repositories/acme/web/activity/", repository="acme/api")

        assert "repository" in named(html)
        assert column(html, "Label") == []

    @pytest.mark.parametrize(
        ("query", "days"),
        [
            ("after=2026-11-21T00:00", [21, 22]),
            ("before=2026-11-21T00:00", [20]),
            ("range=all&after=2026-11-22", [22]),
            ("range=custom&after=2026-11-20T12:00:00.001&before=2026-11-22T12:00Z", [21]),
        ],
    )
    def test_start_and_end_apply_whatever_the_range_is(
        self, admin: Client, web: Repository, query: str, days: list[int]
    ) -> None:
        for day in (20, 21, 22):
            moment = datetime(2026, 11, day, 12, tzinfo=UTC)
            factories.record("update_tag", web, tag=f"d{day}", actor_name="joe", occurred_at=moment)

        html = get_page(admin, f"/activity/?actor=joe&sort=time&{query}")

        assert column(html, "Tag") == [f"acme/web:d{day}" for day in days]
        assert '<option value="custom" selected>' in html


class TestClockChanges:
    @pytest.fixture
    def berliner(self, log_in: Any, web: Repository) -> Client:
        user = factories.msr_admin()
        Profile.objects.create(user=user, time_zone="Europe/Berlin")
        for minutes in range(0, 180, 30):
            moment = datetime(2026, 10, 25, 0, tzinfo=UTC) + timedelta(minutes=minutes)
            factories.record("update_tag", web, tag=f"m{minutes}", actor_name="joe", occurred_at=moment)
        return log_in(user)

    def test_earlier_of_two_equal_times_is_used_and_the_page_says_so(self, berliner: Client) -> None:
        html = get_page(berliner, "/activity/", actor="joe", sort="time", after="2026-10-25T02:30")

        assert column(html, "Tag")[0] == "acme/web:m30"
        assert "2026-10-25 02:30 occurred twice in Europe/Berlin" in html

    def test_time_that_never_occurred_is_moved_and_the_page_says_so(self, berliner: Client) -> None:
        html = get_page(berliner, "/activity/", before="2026-03-29T02:30")

        assert "2026-03-29 02:30 did not occur in Europe/Berlin" in html
        assert "03:30 CEST is used instead" in html

    def test_form_keeps_the_range_of_a_bar(self, berliner: Client) -> None:
        bars = re.findall(r'href="\?([^"]*range=custom[^"]*)"', get_page(berliner, "/activity/", actor="joe"))
        assert bars
        for bar in bars:
            html = get_page(berliner, f"/activity/?{bar.replace('&amp;', '&')}")
            fields = dict(re.findall(r'name="(after|before|range|actor)" value="([^"]*)"', html))
            again = get_page(berliner, f"/activity/?{urlencode({**fields, 'range': 'custom'})}")
            assert column(again, "Tag") == column(html, "Tag") != []

    def test_form_keeps_the_second_of_two_equal_hours(self, berliner: Client) -> None:
        html = get_page(
            berliner, "/activity/", after="2026-10-25T01:00:00.000Z", before="2026-10-25T02:00:00.000Z"
        )

        assert re.search(r'type="text" name="after" value="2026-10-25T02:00\+01:00"', html)
        assert re.search(r'type="datetime-local" name="before" value="2026-10-25T03:00"', html)
        assert column(html, "Tag") == ["acme/web:m90", "acme/web:m60"]


class TestOtherLists:
    @pytest.mark.parametrize(
        "url",
        [
            "/repositories/",
            "/organizations/",
            "/repositories/acme/web/tags/",
            "/repositories/acme/web/promotions/",
            "/repositories/acme/web/permissions/",
            "/organizations/acme/members/",
        ],
    )
    @pytest.mark.parametrize("query", ["serach=acme", "q=%00", "cursor=x&cursor=y"])
    def test_list_names_what_it_cannot_read(self, admin: Client, url: str, query: str) -> None:
        html = get_refusal(admin, f"{url}?{query}")

        assert "<h1>Nothing is shown</h1>" in html
        names = {"serach": ["“serach”"], "q": ["Search:", "“q”"], "cursor": ["“x”, “y”"]}
        assert any(name in html for name in names[query.partition("=")[0]])

    def test_page_that_is_not_available_is_mentioned(self, admin: Client) -> None:
        for url in ("/repositories/", "/organizations/", "/repositories/acme/web/tags/"):
            assert "the first page is shown instead" in get_page(admin, url, cursor="nonsense")

    @pytest.mark.parametrize("value", ["sort=colour", "q=" + "x" * 300])
    def test_tags_are_not_listed_for_an_invalid_value(self, admin: Client, value: str) -> None:
        html = get_refusal(admin, f"/repositories/acme/web/tags/?{value}")
        assert "<h1>Nothing is shown</h1>" in html


class TestAdmin:
    @pytest.mark.parametrize(
        "query",
        [
            "category=x",
            "type=x",
            "occurred=x",
            "after=soon",
            "kind=x",
            "q=tpye:x",
            "q=%00",
            "type=GET&type=FAIL",
        ],
    )
    def test_list_of_events_names_what_it_cannot_read(self, admin: Client, query: str) -> None:
        url = "/admin/registry_activity/event/"
        html = get_refusal(admin, f"{url}?{query}")
        exported = admin.post(f"{url}export/?{query}", {"format": "csv"})

        assert "Correct the search to see events." in html
        assert "errorlist" in html
        assert exported.status_code == 302
        assert not Event.objects.filter(kind="export_events").exists()

    @pytest.mark.parametrize("query", ["q=%00", "is_active__exact=perhaps", "q=a+a+a+a+a+a+a+a+a+a+a"])
    def test_other_lists_show_nothing(self, admin: Client, query: str) -> None:
        admin_user = factories.UserFactory(is_staff=True, is_superuser=True)
        admin.force_login(admin_user)

        html = get_refusal(admin, f"/admin/auth/user/?{query}")

        assert "Nothing is shown" in html
        assert "0 users" in html


class TestApi:
    @pytest.mark.parametrize(
        "query",
        [
            "after=soon",
            "type=TELEPORT",
            "typ=DELETE",
            "actor=a&actor=b",
            "search=delete+tag",
            "search=repo:no/such",
            "search=after:2026-11-02+before:2026-11-01",
            "q=type:delete",
            "sort=colour",
            "fields=id,colour",
            "fields=",
            "fields=id&fields=type",
            "format=json",
            "format=xml",
            "tag=",
            "type=",
        ],
    )
    def test_request_is_rejected(self, admin: Client, query: str) -> None:
        for url in ("/api/v0/events/", "/api/v0/repositories/acme/web/events/"):
            response = admin.get(f"{url}?{query}")
            assert response.status_code == 400
            assert query.partition("=")[0] in {error["parameter"] for error in response.json()["errors"]}

    def test_list_of_repositories_rejects_unknown_parameters(self, admin: Client) -> None:
        assert admin.get("/api/v0/repositories/?name=acme").status_code == 400
        assert admin.get("/api/v0/repositories/?page_size=5").status_code == 200
