"""The page of an event on the site, and the subject of access and account events."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from activity.models import Event
from activity.recording.drafts import Delivery
from repositories.access import grants
from repositories.models import Repository
from tests import factories
from tests.event_tables import column, get_page
from tests.factories import DIGEST, NOON

URL = "/activity/"


def url_of(event: Event) -> str:
    return f"/events/{event.pk}/"


@pytest.fixture
def pushed(web: Repository) -> Event:
    """The third of five pushes of a tag, which the account `node` delivered for jane."""
    node = factories.producer(username="node")
    details = {"client_address": "10.0.0.7", "media_type": "image", "message": "{}"}
    events = [
        factories.record(
            "update_tag",
            web,
            tag="v1",
            digest=DIGEST,
            actor_name="jane",
            occurred_at=NOON + timedelta(hours=hour),
            delivery=Delivery(node.pk),
            details=details,
        )
        for hour in range(5)
    ]
    factories.record("get_tag", web, tag="v1", actor_name="jane", occurred_at=NOON + timedelta(hours=6))
    return events[2]


class TestPage:
    def test_page_shows_what_the_level_of_the_viewer_allows(
        self, log_in: Any, web: Repository, pushed: Event
    ) -> None:
        reader, repoadmin, auditor = (
            get_page(log_in(user), url_of(pushed))
            for user in (
                factories.user_with("level_read", web),
                factories.user_with("level_admin", web),
                factories.auditor(),
            )
        )

        for html in (reader, repoadmin, auditor):
            assert "<h1>Update Tag</h1>" in html
            assert "acme/web:v1" in html
            assert DIGEST in html
            assert "<dt>Media type</dt><dd>image</dd>" in html
        assert ["10.0.0.7" in html for html in (reader, repoadmin, auditor)] == [False, True, True]
        assert ["<dt>Message</dt>" in html for html in (reader, repoadmin, auditor)] == [False, False, True]
        assert ["Delivered by" in html for html in (reader, repoadmin, auditor)] == [False, False, True]

    def test_page_has_its_neighbors_on_the_tag_and_by_the_actor(
        self, log_in: Any, web: Repository, pushed: Event
    ) -> None:
        reader, repoadmin = (
            log_in(factories.user_with(level, web)) for level in ("level_read", "level_admin")
        )
        html = get_page(reader, url_of(pushed))

        for title in ("events on acme/web:v1", "events by jane"):
            assert f"<h2>Later {title}</h2>" in html
            assert f"<h2>Earlier {title}</h2>" in html
        assert html.count('">Update Tag</a>') == 8
        assert "Get Tag" not in html
        assert "Get Tag" in get_page(repoadmin, url_of(pushed))

    @pytest.mark.audited
    def test_page_has_its_neighbors_about_the_same_person(self, admin: Client, web: Repository) -> None:
        mara, ben = (factories.UserFactory(username=name) for name in ("mara", "ben"))
        for number in range(3):
            for person in (mara, ben):
                grants.grant("level_read" if number % 2 else "level_admin", person, web)
        team = factories.TeamFactory(organization=web.namespace.organization)
        team.group.user_set.add(mara)
        changes = Event.objects.filter(subject_user=mara).order_by("pk")
        assert "create_team_member" in [event.kind for event in changes]

        html = get_page(admin, url_of(changes.filter(kind="create_grant")[1]))

        assert "<h2>Later events about the same person</h2>" in html
        assert "<h2>Earlier events about the same person</h2>" in html
        about = html.partition("about the same person")[2].partition("events by")[0]
        assert "Create Grant: admin on acme/web to mara" in about
        assert "mara in " in about
        assert "ben" not in about

    def test_list_and_feed_link_to_the_page(self, log_in: Any, web: Repository, pushed: Event) -> None:
        reader = log_in(factories.user_with("level_read", web))

        assert f'href="{url_of(pushed)}"' in get_page(reader, URL)
        assert f"http://testserver{url_of(pushed)}" in reader.get(f"{URL}atom/").content.decode()
        assert f'value="http://testserver{url_of(pushed)}"' in get_page(reader, url_of(pushed))

    def test_hidden_and_missing_events_get_the_same_answer(
        self, log_in: Any, web: Repository, pushed: Event
    ) -> None:
        outsider = log_in(factories.UserFactory())
        hidden, missing = (outsider.get(url) for url in (url_of(pushed), f"/events/{UUID(int=1)}/"))

        assert hidden.status_code == missing.status_code == 404
        assert re.sub(r'value="\w{64}"', "", hidden.content.decode()) == re.sub(
            r'value="\w{64}"', "", missing.content.decode()
        )


@pytest.mark.audited
class TestSubject:
    @pytest.fixture
    def access_events(self, log_in: Any, web: Repository) -> Client:
        """Dana gives mara and li access to two repositories, and takes it from mara again."""
        dana = factories.UserFactory(username="dana")
        other = factories.repository("acme/api")
        for repository in (web, other):
            factories.assign_perm("level_admin", dana, repository)
        factories.UserFactory(username="mara")
        factories.UserFactory(username="li")
        client: Client = log_in(dana)
        for repository in (web, other):
            for name in ("mara", "li"):
                form = {"grant": "", "holder": name, "codename": "level_read_write"}
                response = client.post(f"/repositories/{repository.full_name}/permissions/", form)
                assert response.status_code == 302
        html = get_page(client, "/repositories/acme/web/permissions/", q="mara")
        (grant,) = re.findall(r'name="user_grant" value="(\d+)"', html)
        client.post("/repositories/acme/web/permissions/", {"revoke": "", "user_grant": grant})
        return client

    def test_one_search_tells_when_and_from_whom_somebody_got_and_lost_access(
        self, access_events: Client
    ) -> None:
        html = get_page(access_events, URL, q="subject:mara repo:acme/web")

        assert [label.partition(":")[0] for label in column(html, "Label")] == [
            "Delete Grant",
            "Create Grant",
        ]
        assert all("acme/web to mara" in label for label in column(html, "Label"))
        assert column(html, "Initiated by") == ["dana", "dana"]

    @pytest.mark.parametrize(("name", "number"), [("mara", 3), ("MARA", 3), ("li", 2), ("mar", 0), ("l", 0)])
    def test_subject_is_found_as_a_whole(self, access_events: Client, name: str, number: int) -> None:
        html = get_page(access_events, URL, q=f"subject:{name}")

        assert len(column(html, "Label")) == number

    def test_subject_can_be_excluded(self, access_events: Client) -> None:
        html = get_page(access_events, URL, q="-subject:mara kind:create_grant actor:dana")

        assert len(column(html, "Label")) == 2
        assert not any("mara" in label for label in column(html, "Label"))

    def test_exports_and_the_api_contain_the_subject(self, access_events: Client) -> None:
        file: Any = access_events.post(f"{URL}?q=subject:mara+kind:delete_grant", {"export": "csv"})
        (row,) = csv.DictReader(io.StringIO(file.getvalue().decode("utf-8-sig")))
        (event,) = access_events.get("/api/v0/events/?search=subject:mara+kind:delete_grant").json()[
            "results"
        ]

        assert row["subject"] == event["subject"]
        assert event["subject"].endswith("on acme/web to mara")

    def test_members_of_a_team_are_subjects(self, log_in: Any, web: Repository) -> None:
        team = factories.team_of(web.namespace.organization)
        mara = factories.UserFactory(username="mara")
        team.group.user_set.add(mara)

        html = get_page(log_in(factories.auditor()), URL, q="subject:mara kind:create_team_member")

        assert column(html, "Label") == [f"Create Team Member: mara in {team}"]
