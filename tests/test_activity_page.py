"""The Activity tab: who can open it, which events it lists, and how events are filtered, sorted and paged."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from repositories.models import Profile, RegistrySettings, Repository
from tests import factories
from tests.event_tables import cells, column, get_page, get_refusal
from tests.factories import DIGEST

URL = "/repositories/acme/web/activity/"


def page(client: Client, url: str = URL, **query: Any) -> str:
    return get_page(client, url, **query)


def link(html: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]*)"', html)
    return URL + found.group(1).replace("&amp;", "&") if found else None


class TestColumns:
    def test_columns_describe_the_event(self, reader: Client, web: Repository) -> None:
        factories.UserFactory(username="jane")
        moment = factories.NOON + timedelta(hours=9, minutes=59)
        factories.record("update_tag", web, tag="latest", digest=DIGEST, occurred_at=moment)

        html = page(reader)

        assert {label: text for label in LABELS if (text := column(html, label)[0])} == {
            "Label": "Update Tag",
            "Repository": "acme/web",
            "Tag": "acme/web:latest",
            "SHA": f"sha256:bbf09ba3 {DIGEST}",  # the abbreviated and the full digest
            "Type": "UPDATE",
            "Initiated by": "jane",
            "Date and time": "Nov 22, 2026 9:59 PM",
        }
        assert '<a href="/users/jane/"' in html

    def test_times_are_in_the_time_zone_of_the_viewer(self, log_in: Any, web: Repository) -> None:
        user = factories.user_with("level_read", web)
        factories.record(repository=web, occurred_at=factories.NOON)
        client = log_in(user)

        client.post("/settings/", {"time_zone": "Asia/Tokyo"})

        assert Profile.objects.get(user=user).time_zone.key == "Asia/Tokyo"
        assert column(page(client), "Date and time") == ["Nov 22, 2026 9:00 PM"]
        assert "Times are in Asia/Tokyo" in page(client)

    def test_html_in_an_event_is_escaped(self, reader: Client, web: Repository) -> None:
        factories.record(repository=web, actor_name="<script>alert(1)</script>")

        html = page(reader)

        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html

    @pytest.mark.parametrize("name", ["alpine", "acme/team/web", "acme/web/activity"])
    def test_activity_tab_exists_for_any_repository_name(self, log_in: Any, name: str) -> None:
        row = factories.repository(name, public=True)
        factories.record(repository=row)
        url = f"/repositories/{row.namespace.name}/{row.name}/activity/"

        assert column(page(log_in(factories.UserFactory()), url), "Repository") == [name]


LABELS = ["Label", "Repository", "Tag", "SHA", "Type", "Initiated by", "Date and time"]


class TestPulls:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1")
        factories.record("get_tag", web, tag="v1")

    def test_pulls_are_excluded_by_default(self, repoadmin: Client) -> None:
        assert column(page(repoadmin), "Label") == ["Update Tag"]
        assert column(page(repoadmin, exclude_pull="true"), "Label") == ["Update Tag"]
        assert column(page(repoadmin, exclude_pull="false"), "Label") == ["Get Tag", "Update Tag"]

    def test_unchecked_exclude_pull_box_includes_pulls(self, repoadmin: Client) -> None:
        # The form always sends a hidden "false". If the box is checked, the form sends "true" after it.
        assert len(column(page(repoadmin, exclude_pull=["false"]), "Label")) == 2
        assert len(column(page(repoadmin, exclude_pull=["false", "true"]), "Label")) == 1

    def test_pulls_are_offered_only_to_repository_admins(self, repoadmin: Client, reader: Client) -> None:
        assert "Exclude pull" in page(repoadmin)
        assert "pull" not in page(reader).lower()
        html = page(reader, exclude_pull="false")
        assert column(html, "Label") == ["Update Tag"]
        assert "Exclude pull" not in html
        assert "exclude_pull" not in html
        assert "pull" not in page(reader, exclude_pull="nonsense").lower()

    def test_empty_list_offers_to_show_excluded_pulls(self, repoadmin: Client, reader: Client) -> None:
        assert 'href="?tag=none&amp;exclude_pull=false">Show pulls' in page(repoadmin, tag="none")
        assert "Show pulls" not in page(repoadmin, type="GET", tag="none")
        assert "Show pulls" not in page(repoadmin, tag="none", exclude_pull="false")
        assert "Show pulls" not in page(reader, tag="none")

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ({"q": "actor:nobody"}, "No events match this search."),
            ({"q": "actor:nobody", "tag": "none"}, "No events match this search and these filters."),
            ({"tag": "none"}, "No events match these filters."),
            ({"range": "hour"}, "There are no events in this time range."),
        ],
    )
    def test_empty_list_says_why(self, repoadmin: Client, query: Any, message: str) -> None:
        html = page(repoadmin, **query)

        assert message in html
        assert ("Clear search" in html) == ("q" in query)
        assert ("Clear filters" in html) == ("tag" in query)
        assert "docker push" not in html or query.get("range")

    def test_user_with_only_the_pull_permission_sees_only_pulls(self, log_in: Any, web: Repository) -> None:
        client = log_in(factories.user_with("view_pull_events", web))

        assert column(page(client, exclude_pull="false"), "Label") == ["Get Tag"]
        assert column(page(client), "Label") == ["Get Tag"]
        assert column(page(client, exclude_pull="true"), "Label") == []
        Repository.objects.update(description="What it is for")
        assert "acme/web" in page(client, "/repositories/")
        assert "What it is for" not in page(client, "/repositories/")


class TestTimeRange:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        for days in (0, 0.5, 3, 20, 60, 200):
            moment = timezone.now() - timedelta(days=days, minutes=1)
            factories.record("update_tag", web, tag=f"d{days}", occurred_at=moment)

    @pytest.mark.parametrize(
        ("range", "shown"),
        [("all", 6), ("quarter", 5), ("month", 4), ("week", 3), ("day", 2), ("hour", 1)],
    )
    def test_time_range_filters_the_list(self, reader: Client, range: str, shown: int) -> None:
        html = page(reader, range=range)

        assert len(column(html, "Label")) == shown
        assert f'<option value="{range}" selected>' in html

    def test_default_time_range_is_all(self, reader: Client) -> None:
        assert '<option value="all" selected>' in page(reader)

    def test_custom_range_is_in_the_time_zone_of_the_viewer(self, log_in: Any, web: Repository) -> None:
        factories.record("update_tag", web, tag="noon", occurred_at=factories.NOON)
        user = factories.user_with("level_read", web)
        client = log_in(user)
        Profile.objects.create(user=user, time_zone="Asia/Tokyo")

        def shown(after: str, before: str) -> bool:
            html = page(client, range="custom", after=after, before=before)
            assert f'value="{after}"' in html
            return "acme/web:noon" in column(html, "Tag")

        assert shown("2026-11-22T21:00", "2026-11-22T21:01")
        assert not shown("2026-11-22T20:00", "2026-11-22T21:00")

    @pytest.mark.parametrize(
        "query",
        [
            {"range": "century"},
            {"range": "custom", "after": "soon"},
            {"range": "custom", "sort": "label", "before": "0001-01-01T00:00"},
            {"range": "custom", "after": "2026-11-02T00:00", "before": "2026-11-01T00:00"},
            {"sort": "colour"},
            {"exclude_pull": "perhaps"},
        ],
        ids=str,
    )
    def test_invalid_query_shows_nothing_and_names_the_value(
        self, repoadmin: Client, query: dict[str, str]
    ) -> None:
        html = get_refusal(repoadmin, URL, **query)

        assert "Nothing is shown" in html
        assert list(query.values())[-1] in html.partition('id="problems"')[2].partition("</div>")[0]
        assert column(html, "Label") == []


class TestSorting:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        for days, (kind, tag) in enumerate(
            [("update_tag", "b"), ("create_manifest", ""), ("delete_tag", "a"), ("update_tag", "c")]
        ):
            moment = timezone.now() - timedelta(days=days, minutes=1)
            factories.record(kind, web, tag=tag, actor_name=f"u{days}", occurred_at=moment)

    @pytest.mark.parametrize(
        ("sort", "tags"),
        [
            ("-time", ["b", "", "a", "c"]),
            ("time", ["c", "a", "", "b"]),
            ("tag", ["a", "b", "c", ""]),
            ("-tag", ["c", "b", "a", ""]),
            ("label", ["", "a", "b", "c"]),
            ("-type", ["b", "c", "a", ""]),
            ("actor", ["b", "", "a", "c"]),
            ("-actor", ["c", "a", "", "b"]),
            ("digest", ["b", "", "a", "c"]),
            ("repository", ["b", "", "a", "c"]),
        ],
    )
    def test_list_is_sorted_by_any_column_with_blanks_last(
        self, reader: Client, sort: str, tags: list[str]
    ) -> None:
        html = page(reader, sort=sort)

        assert [tag.rpartition(":")[2] for tag in column(html, "Tag")] == tags
        assert html.count("aria-sort") == 1

    def test_sorting_by_another_column_limits_the_list_to_90_days(
        self, reader: Client, web: Repository
    ) -> None:
        old = timezone.now() - timedelta(days=100)
        factories.record("update_tag", web, tag="old", occurred_at=old)

        by_time, by_tag = page(reader), page(reader, sort="tag")

        assert "acme/web:old" in column(by_time, "Tag")
        assert "acme/web:old" not in column(by_tag, "Tag")
        assert "90 days" not in by_time.partition("<table")[0].partition('role="status"')[2]
        assert "the list shows only the 90 days before" in by_tag
        assert '<option value="quarter" selected>' in by_tag

    def test_sorting_by_another_column_limits_a_custom_range_to_its_last_90_days(
        self, reader: Client, web: Repository
    ) -> None:
        for days in (100, 150, 250):
            moment = timezone.now() - timedelta(days=days)
            factories.record("update_tag", web, tag=f"d{days}", occurred_at=moment)
        before = (timezone.now() - timedelta(days=99)).strftime("%Y-%m-%dT%H:%M")

        html = page(reader, sort="tag", range="custom", before=before)

        assert [tag.rpartition(":")[2] for tag in column(html, "Tag")] == ["d100", "d150"]


class TestPaging:
    @pytest.mark.parametrize("sort", ["-time", "time", "tag", "-actor", "label", "digest"])
    def test_paging_forward_and_back_shows_the_same_pages_in_every_order(
        self, reader: Client, web: Repository, sort: str
    ) -> None:
        now = timezone.now()
        for number in range(25):
            kind, tag = ("update_tag", f"t{number % 4}") if number % 3 else ("create_manifest", "")
            moment = now - timedelta(minutes=number % 7)
            factories.record(kind, web, tag=tag, actor_name=f"u{number % 5}", occurred_at=moment)

        html = page(reader, sort=sort)
        forward = [html]
        while url := link(forward[-1], "next"):
            forward.append(reader.get(url).content.decode())
        backward = [forward[-1]]
        while url := link(backward[-1], "prev"):
            backward.append(reader.get(url).content.decode())

        rows = [list(zip(*(column(part, label) for label in LABELS), strict=True)) for part in forward]
        assert [len(part) for part in rows] == [10, 10, 5]
        assert [cells(part) for part in forward] == [cells(part) for part in reversed(backward)]

    def test_invalid_cursor_shows_the_first_page_with_a_message(
        self, reader: Client, web: Repository
    ) -> None:
        factories.record(repository=web)

        html = page(reader, cursor="nonsense")

        assert "That page is not available, so the first page is shown instead." in html
        assert len(column(html, "Label")) == 1

    def test_page_shows_ten_events(self, reader: Client, web: Repository) -> None:
        for _ in range(11):
            factories.record(repository=web)

        html = page(reader)

        assert len(column(html, "Label")) == 10
        assert (link(html, "prev"), bool(link(html, "next"))) == (None, True)

    def test_query_count_of_event_pages_does_not_grow(self, log_in: Any, web: Repository) -> None:
        RegistrySettings.get_solo()
        user = factories.user_with("level_admin", web)
        client = log_in(user)

        def add_rows_and_count_queries(number: int) -> list[int]:
            row = factories.repository(f"org{number}x/web")
            factories.assign_perm(
                "level_admin", factories.team_of(row.namespace.organization, user).group, row
            )
            for _ in range(6):  # the events fill the page
                policy = factories.PolicyFactory(repository=web)
                factories.record(
                    "promote", web, tag="v1", actor_type="promotion", actor_name=policy.public_id
                )
                factories.record("update_tag", web, tag="v1", actor_name=factories.UserFactory().username)
            counts = []
            for url in (URL, "/repositories/", f"/users/{user.username}/", policy.get_absolute_url()):
                with CaptureQueriesContext(connection) as queries:
                    page(client, url)
                counts.append(len(queries))
            return counts

        first, second, third = (add_rows_and_count_queries(number) for number in (1, 2, 3))
        assert first == second == third


class TestAccess:
    @pytest.mark.parametrize(
        ("role", "status"),
        [("outsider", 404), ("reader", 200), ("repoadmin", 200), ("auditor", 200), ("admin", 200)],
    )
    def test_private_repository_access_by_role(
        self, log_in: Any, web: Repository, role: str, status: int
    ) -> None:
        create = {
            "outsider": factories.UserFactory,
            "reader": lambda: factories.user_with("level_read", web),
            "repoadmin": lambda: factories.user_with("level_admin", web),
            "auditor": factories.auditor,
            "admin": factories.msr_admin,
        }
        client = log_in(create[role]())

        assert client.get(URL).status_code == status
        assert ("acme/web" in page(client, "/repositories/")) == (status == 200)

    def test_anonymous_user_is_redirected_to_the_login_page_even_from_missing_pages(
        self, web: Repository
    ) -> None:
        for url in (
            "/",
            "/repositories/",
            URL,
            "/repositories/acme/none/activity/",
            "/users/x/",
            "/policies/X/",
        ):
            response = Client().get(url)
            assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next={url}")

    def test_login_redirects_to_the_repositories(self, web: Repository) -> None:
        user = factories.UserFactory(username="jane")
        user.set_password("a-long-pass")
        user.save()

        response = Client().post(
            "/accounts/login/", {"username": "jane", "password": "a-long-pass"}, follow=True
        )

        assert response.redirect_chain[-1][0] == "/repositories/"

    def test_deleted_repository_is_not_found_even_by_msr_admins(self, log_in: Any, web: Repository) -> None:
        web.delete()

        assert log_in(factories.msr_admin()).get(URL).status_code == 404

    def test_hidden_and_missing_repositories_get_the_same_response(
        self, log_in: Any, web: Repository
    ) -> None:
        outsider = log_in(factories.UserFactory())
        hidden, missing = (outsider.get(f"/repositories/acme/{name}/activity/") for name in ("web", "none"))

        def body(response: Any) -> str:
            return re.sub(r'value="\w{64}"', "", response.content.decode())

        assert (hidden.status_code, body(hidden)) == (missing.status_code, body(missing))

    def test_repositories_are_searched_by_part_of_the_name(self, log_in: Any, web: Repository) -> None:
        factories.repository("acme/api", public=True)
        factories.repository("globex/web", public=True)
        client = log_in(factories.UserFactory())

        html = page(client, "/repositories/", q="we")

        assert ("globex/web" in html, "acme/api" in html, "acme/web" in html) == (True, False, False)
        assert "No repositories match" in page(client, "/repositories/", q="acme/web")
