"""The Activity tab: what each person is shown, and what they may choose."""

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
from tests.factories import DIGEST

URL = "/repositories/acme/web/activity/"
AGO = re.compile(r'<span class="ago">[^<]*</span>')
CELL = re.compile(r'<td data-label="([^"]+)"[^>]*>(.*?)</td>', re.DOTALL)


@pytest.fixture
def reader(log_in: Any, web: Repository) -> Client:
    return log_in(factories.person_with("level_read", web))


@pytest.fixture
def repoadmin(log_in: Any, web: Repository) -> Client:
    return log_in(factories.person_with("level_admin", web))


def page(client: Client, url: str = URL, **query: Any) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def column(html: str, name: str) -> list[str]:
    """Return the text of a column, row by row, but for how long ago it was."""
    cells = [AGO.sub("", cell) for label, cell in CELL.findall(html) if label == name]
    return [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in cells]


def link(html: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]*)"', html)
    return URL + found.group(1).replace("&amp;", "&") if found else None


class TestColumns:
    def test_say_what_happened(self, reader: Client, web: Repository) -> None:
        factories.UserFactory(username="jane")
        moment = factories.NOON + timedelta(hours=9, minutes=59)
        factories.record("update_tag", web, tag="latest", digest=DIGEST, occurred_at=moment)

        html = page(reader)

        assert {label: text for label in LABELS if (text := column(html, label)[0])} == {
            "Label": "Update Tag",
            "Repository": "acme/web",
            "Tag": "acme/web:latest",
            "SHA": f"sha256:bbf09ba3 {DIGEST}",  # the short one, and the whole one to unfold
            "Type": "UPDATE",
            "Initiated by": "jane",
            "Date and time": "Nov 22, 2026 9:59 PM",
        }
        assert '<a href="/users/jane/"' in html

    def test_show_times_in_the_zone_of_the_viewer(self, log_in: Any, web: Repository) -> None:
        person = factories.person_with("level_read", web)
        factories.record(repository=web, occurred_at=factories.NOON)
        client = log_in(person)

        client.post("/settings/", {"time_zone": "Asia/Tokyo"})

        assert Profile.objects.get(user=person).time_zone.key == "Asia/Tokyo"
        assert column(page(client), "Date and time") == ["Nov 22, 2026 9:00 PM"]
        assert "Times are in Asia/Tokyo" in page(client)

    def test_show_hostile_text_as_text(self, reader: Client, web: Repository) -> None:
        factories.record(repository=web, actor_name="<script>alert(1)</script>")

        html = page(reader)

        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html

    @pytest.mark.parametrize("name", ["alpine", "acme/team/web", "acme/web/activity"])
    def test_are_found_for_any_name(self, log_in: Any, name: str) -> None:
        row = factories.repository(name, public=True)
        factories.record(repository=row)
        place = f"/repositories/{row.namespace.name}/{row.name}/activity/"

        assert column(page(log_in(factories.UserFactory()), place), "Repository") == [name]


LABELS = ["Label", "Repository", "Tag", "SHA", "Type", "Initiated by", "Date and time"]


class TestPulls:
    @pytest.fixture(autouse=True)
    def events(self, web: Repository) -> None:
        factories.record("update_tag", web, tag="v1")
        factories.record("get_tag", web, tag="v1")

    def test_are_left_out_until_asked_for(self, repoadmin: Client) -> None:
        assert column(page(repoadmin), "Label") == ["Update Tag"]
        assert column(page(repoadmin, exclude_pull="true"), "Label") == ["Update Tag"]
        assert column(page(repoadmin, exclude_pull="false"), "Label") == ["Get Tag", "Update Tag"]

    def test_box_unchecked_says_so(self, repoadmin: Client) -> None:
        # A form sends the hidden "false", and after it, if the box is checked, its "true".
        assert len(column(page(repoadmin, exclude_pull=["false"]), "Label")) == 2
        assert len(column(page(repoadmin, exclude_pull=["false", "true"]), "Label")) == 1

    def test_are_offered_to_repository_admins_alone(self, repoadmin: Client, reader: Client) -> None:
        assert "Exclude pull" in page(repoadmin)
        assert "pull" not in page(reader).lower()
        asked = page(reader, exclude_pull="false")
        assert column(asked, "Label") == ["Update Tag"]
        assert "Exclude pull" not in asked
        assert "exclude_pull" not in asked
        assert "pull" not in page(reader, exclude_pull="nonsense").lower()

    def test_left_out_are_told_of_where_nothing_else_is_found(
        self, repoadmin: Client, reader: Client
    ) -> None:
        assert 'href="?tag=none&amp;exclude_pull=false">Show pulls' in page(repoadmin, tag="none")
        assert 'href="?type=GET&amp;exclude_pull=false">Show pulls' in page(repoadmin, type="GET")
        assert "Show pulls" not in page(repoadmin, tag="none", exclude_pull="false")
        assert "Show pulls" not in page(reader, tag="none")

    def test_granted_alone_are_all_that_is_shown(self, log_in: Any, web: Repository) -> None:
        auditor = log_in(factories.person_with("view_pull_events", web))

        assert column(page(auditor, exclude_pull="false"), "Label") == ["Get Tag"]
        assert column(page(auditor), "Label") == []
        Repository.objects.update(description="What it is for")
        assert "acme/web" in page(auditor, "/repositories/")
        assert "What it is for" not in page(auditor, "/repositories/")


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
    def test_narrows_the_list(self, reader: Client, range: str, shown: int) -> None:
        html = page(reader, range=range)

        assert len(column(html, "Label")) == shown
        assert f'<option value="{range}" selected>' in html

    def test_is_all_by_default(self, reader: Client) -> None:
        assert '<option value="all" selected>' in page(reader)

    def test_of_ones_own_is_in_ones_own_zone(self, log_in: Any, web: Repository) -> None:
        factories.record("update_tag", web, tag="noon", occurred_at=factories.NOON)
        person = factories.person_with("level_read", web)
        client = log_in(person)
        Profile.objects.create(user=person, time_zone="Asia/Tokyo")

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
            {"range": "custom", "before": "0001-01-01T00:00", "sort": "label"},
            {"range": "custom", "after": "2026-11-02T00:00", "before": "2026-11-01T00:00"},
            {"sort": "colour"},
            {"exclude_pull": "perhaps"},
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_told_of(self, repoadmin: Client, query: dict[str, str]) -> None:
        html = page(repoadmin, **query)

        assert "The default is shown." in html
        assert len(column(html, "Label")) >= 5


class TestOrder:
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
    def test_is_by_any_column_with_blanks_last(self, reader: Client, sort: str, tags: list[str]) -> None:
        html = page(reader, sort=sort)

        assert [tag.rpartition(":")[2] for tag in column(html, "Tag")] == tags
        assert html.count("aria-sort") == 1

    def test_by_another_column_holds_for_90_days_and_the_page_says_so(
        self, reader: Client, web: Repository
    ) -> None:
        old = timezone.now() - timedelta(days=100)
        factories.record("update_tag", web, tag="old", occurred_at=old)

        by_time, by_tag = page(reader), page(reader, sort="tag")

        assert "acme/web:old" in column(by_time, "Tag")
        assert "acme/web:old" not in column(by_tag, "Tag")
        assert "90 days" not in by_time.partition("<table")[0].partition('role="status"')[2]
        assert "the list shows the 90 days before" in by_tag
        assert '<option value="quarter" selected>' in by_tag

    def test_by_another_column_holds_for_the_last_90_days_of_ones_own_range(
        self, reader: Client, web: Repository
    ) -> None:
        for days in (100, 150, 250):
            moment = timezone.now() - timedelta(days=days)
            factories.record("update_tag", web, tag=f"d{days}", occurred_at=moment)
        before = (timezone.now() - timedelta(days=99)).strftime("%Y-%m-%dT%H:%M")

        html = page(reader, sort="tag", range="custom", before=before)

        assert [tag.rpartition(":")[2] for tag in column(html, "Tag")] == ["d100", "d150"]


class TestPages:
    @pytest.mark.parametrize("sort", ["-time", "time", "tag", "-actor", "label", "digest"])
    def test_lead_through_every_order_and_back(self, reader: Client, web: Repository, sort: str) -> None:
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
        cells = [[CELL.findall(AGO.sub("", part)) for part in parts] for parts in (forward, backward[::-1])]
        assert cells[0] == cells[1]

    def test_that_cannot_be_found_is_told_of(self, reader: Client, web: Repository) -> None:
        factories.record(repository=web)

        html = page(reader, cursor="nonsense")

        assert "That page can&#x27;t be found any more" in html or "That page can't be found" in html
        assert len(column(html, "Label")) == 1

    def test_show_ten(self, reader: Client, web: Repository) -> None:
        for _ in range(11):
            factories.record(repository=web)

        html = page(reader)

        assert len(column(html, "Label")) == 10
        assert (link(html, "prev"), bool(link(html, "next"))) == (None, True)

    def test_number_of_queries_does_not_grow(self, log_in: Any, web: Repository) -> None:
        RegistrySettings.get_solo()
        person = factories.person_with("level_admin", web)
        client = log_in(person)

        def grow(number: int) -> list[int]:
            row = factories.repository(f"org{number}x/web")
            factories.assign_perm(
                "level_admin", factories.team_of(row.namespace.organization, person).group, row
            )
            for _ in range(2):
                policy = factories.PolicyFactory(repository=web)
                factories.record(
                    "promote", web, tag="v1", actor_type="promotion", actor_name=policy.public_id
                )
                factories.record("update_tag", web, tag="v1", actor_name=factories.UserFactory().username)
            counts = []
            for url in (URL, "/repositories/", f"/users/{person.username}/", policy.get_absolute_url()):
                with CaptureQueriesContext(connection) as queries:
                    page(client, url)
                counts.append(len(queries))
            return counts

        assert grow(1) == grow(2) == grow(3)


class TestWhoMayEnter:
    @pytest.mark.parametrize(
        ("who", "status"),
        [("outsider", 404), ("reader", 200), ("repoadmin", 200), ("auditor", 200), ("admin", 200)],
    )
    def test_private_repository(self, log_in: Any, web: Repository, who: str, status: int) -> None:
        people = {
            "outsider": factories.UserFactory,
            "reader": lambda: factories.person_with("level_read", web),
            "repoadmin": lambda: factories.person_with("level_admin", web),
            "auditor": factories.auditor,
            "admin": factories.msr_admin,
        }
        client = log_in(people[who]())

        assert client.get(URL).status_code == status
        assert ("acme/web" in page(client, "/repositories/")) == (status == 200)

    def test_anonymous_is_led_to_the_log_in_whether_it_is_there_or_not(self, web: Repository) -> None:
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

    def test_log_in_leads_to_the_repositories(self, web: Repository) -> None:
        user = factories.UserFactory(username="jane")
        user.set_password("a-long-pass")
        user.save()

        response = Client().post(
            "/accounts/login/", {"username": "jane", "password": "a-long-pass"}, follow=True
        )

        assert response.redirect_chain[-1][0] == "/repositories/"

    def test_repository_that_was_deleted_is_gone_for_everybody(self, log_in: Any, web: Repository) -> None:
        web.delete()

        assert log_in(factories.msr_admin()).get(URL).status_code == 404

    def test_answer_is_the_same_for_what_is_hidden_and_what_is_not_there(
        self, log_in: Any, web: Repository
    ) -> None:
        outsider = log_in(factories.UserFactory())
        hidden, missing = (outsider.get(f"/repositories/acme/{name}/activity/") for name in ("web", "none"))

        def body(response: Any) -> str:
            return re.sub(r'value="\w{64}"', "", response.content.decode())

        assert (hidden.status_code, body(hidden)) == (missing.status_code, body(missing))

    def test_list_of_repositories_is_searched_by_a_part_of_the_name(
        self, log_in: Any, web: Repository
    ) -> None:
        factories.repository("acme/api", public=True)
        factories.repository("globex/web", public=True)
        client = log_in(factories.UserFactory())

        html = page(client, "/repositories/", q="we")

        assert ("globex/web" in html, "acme/api" in html, "acme/web" in html) == (True, False, False)
        assert "No repository that you can see" in page(client, "/repositories/", q="acme/web")
