"""The front page of the admin shows recent activity and everything that needs attention."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin import AdminSite
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity.admin import overview
from activity.api import senders
from activity.feed import plans, reading, search, search_language
from activity.models import DeadLetter, Event, Registry, Run
from activity.storage import tallies
from repositories.models import Repository
from tests import factories
from tests.factories import SEES_EVERYTHING, notification

INDEX = "/admin/"


def page(client: Client) -> str:
    response = client.get(INDEX)
    assert response.status_code == 200
    return response.content.decode()


def card(client: Client, name: str) -> str:
    """Return the text of one section of the overview."""
    (part,) = re.findall(rf'aria-labelledby="overview-{name}">(.*?)</section>', page(client), re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", part).split())


def events_at(url: str) -> list[Event]:
    """Return the events that match the search query in a URL of the event list."""
    (text,) = parse_qs(urlsplit(url).query)["q"]
    return reading.find(
        search.plan(plans.Plan(Event.objects.all(), SEES_EVERYTHING), search_language.parse(text, UTC)), 50
    ).rows


def record(kind: str, repository: Any, *, ago: timedelta = timedelta(), **values: Any) -> Event:
    return factories.record(kind, repository, occurred_at=timezone.now() - ago, **values)


class TestViewers:
    def test_auditor_sees_the_front_page_above_the_list_of_apps(
        self, auditor: Client, web: Repository
    ) -> None:
        html = page(auditor)

        assert html.index("Needs attention") < html.index('<div class="app-')

    def test_other_staff_see_only_the_list_of_apps(self, log_in: Any, web: Repository) -> None:
        record("update_tag", web, tag="v1")
        staff = factories.UserFactory(is_staff=True)
        factories.permit(staff, "auth.view_user")

        html = page(log_in(staff))

        assert "Needs attention" not in html
        assert "acme/web" not in html
        assert ">Users</a>" in html

    def test_overview_is_also_a_separate_page_linked_from_the_events(self, auditor: Client) -> None:
        url = "/admin/registry_activity/event/overview/"

        assert f'href="{url}"' in auditor.get("/admin/registry_activity/event/").content.decode()
        assert "Needs attention" in auditor.get(url).content.decode()

    def test_other_admin_sites_keep_the_default_index_page(self, admin: Client, rf: RequestFactory) -> None:
        request = rf.get(INDEX)
        request.user = admin.get(INDEX).context["user"]

        html = AdminSite().index(request).render().content.decode()

        assert "Site administration" in html
        assert "Needs attention" not in html

    def test_overview_is_not_shown_on_app_pages(self, admin: Client) -> None:
        assert "Needs attention" not in admin.get("/admin/registry_activity/").content.decode()


class TestChart:
    def test_chart_counts_events_by_day_and_category(self, admin: Client, web: Repository) -> None:
        record("update_tag", web, tag="v1")
        record("update_tag", web, tag="v1", ago=timedelta(days=2))
        record("get_tag", web, tag="v1", ago=timedelta(days=2))
        record("delete_tag", web, tag="v1", ago=timedelta(days=40))

        chart = admin.get(INDEX).context["chart"]

        assert {series.label: series.total for series in chart.series} == {"Push": 2, "Pull": 1}
        assert [bar.total for bar in chart.bars if bar.total] == [2, 1]
        assert len(chart.bars) == overview.DAYS

    def test_bars_of_the_chart_link_to_their_events(self, admin: Client, web: Repository) -> None:
        event = record("update_tag", web, tag="v1", ago=timedelta(days=2))
        record("update_tag", web, tag="v2")

        (bar, _) = [bar for bar in admin.get(INDEX).context["chart"].bars if bar.total]

        assert events_at(bar.url) == [event]


class TestNeedsAttention:
    def test_waiting_dead_letters_are_counted(self, admin: Client, registry: Any) -> None:
        assert "None waiting" in card(admin, "attention")
        registry({"action": "polish"})
        registry({"action": "polish", "id": "2"})
        assert "2 waiting" in card(admin, "attention")

        DeadLetter.objects.update(replayed_at=timezone.now())

        assert "None waiting" in card(admin, "attention")

    def test_count_of_dead_letters_is_limited(
        self, admin: Client, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(overview, "MAX_DEAD_LETTERS", 2)
        for number in range(4):
            registry({"action": "polish", "id": str(number)})

        assert "more than 2 waiting" in card(admin, "attention")

    def test_last_run_of_auto_deletion_is_shown(self, admin: Client) -> None:
        assert "No run yet" in card(admin, "attention")
        values: dict[str, Any] = {"cutoff": timezone.now(), "lease_until": timezone.now(), "settings": {}}
        run = Run.objects.create(state="failed", deleted=7, **values)
        Run.objects.create(state="finished", preview=True, **values)

        assert f"Run {run.pk}: Failed" in card(admin, "attention")
        assert "7 events deleted" in card(admin, "attention")

    def test_quiet_registry_is_shown(self, admin: Client, registry: Any) -> None:
        assert "No registry has sent a message yet" in card(admin, "attention")
        registry(notification())
        assert "quiet" not in card(admin, "attention")

        Registry.objects.update(last_contact_at=timezone.now() - timedelta(hours=25))

        assert "registry : quiet , last contact" in card(admin, "attention")

    def test_hours_until_a_registry_is_quiet_can_be_set(self, admin: Client, registry: Any) -> None:
        registry(notification())
        Registry.objects.update(last_contact_at=timezone.now() - timedelta(hours=25))
        row = Registry.objects.get()

        admin.post(f"/admin/registry_activity/registry/{row.pk}/change/", {"quiet_after": "48"})

        assert "quiet" not in card(admin, "attention")


class TestRegistries:
    def test_invalid_message_counts_as_contact_of_the_registry(self, registry: Any) -> None:
        registry(body=b"nonsense")

        assert str(Registry.objects.get()) == "registry"

    def test_last_contact_of_a_registry_is_updated_at_most_once_a_minute(self, registry: Any) -> None:
        registry(notification())
        first = Registry.objects.get().last_contact_at
        registry(notification())
        assert Registry.objects.get().last_contact_at == first

        Registry.objects.update(last_contact_at=first - timedelta(minutes=2))
        senders.forget()
        registry(notification())

        assert Registry.objects.get().last_contact_at >= first

    def test_producer_of_other_events_is_not_a_registry(self, web: Repository) -> None:
        event = {"id": "1", "kind": "scan", "repository": "acme/web", "occurred_at": "2026-11-22T12:00:00Z"}
        headers = factories.bearer(factories.producer())

        Client().post("/api/v0/events/", event, "application/json", headers=headers)

        assert not Registry.objects.exists()


class TestBusiest:
    def test_busiest_repositories_of_the_last_day_are_shown(self, admin: Client, web: Repository) -> None:
        api = factories.repository("acme/api")
        for repository, number in ((web, 3), (api, 2)):
            for _ in range(number):
                record("update_tag", repository, tag="v1")
        record("get_tag", api, tag="v1")
        record("get_tag", api, tag="v1")
        record("update_tag", "acme/old", tag="v1", ago=timedelta(days=3))
        tallies.fold()

        rows = admin.get(INDEX).context["busiest"]["rows"]

        assert [(str(repository), number) for repository, number, _ in rows] == [
            ("acme/api", 4),
            ("acme/web", 3),
        ]
        assert [event.repository_name for event in events_at(rows[0][2])] == ["acme/api"] * 4

    def test_busiest_users_of_the_newest_events_are_shown(
        self, admin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(overview, "SAMPLED_EVENTS", 3)
        for actor in ("long ago", "long ago", "<b>joe", "jane", "jane"):
            record("update_tag", web, tag="v1", actor_name=actor)

        rows = admin.get(INDEX).context["actors"]["rows"]

        assert [(name, number) for name, number, _ in rows] == [("jane", 2), ("<b>joe", 1)]
        assert parse_qs(urlsplit(rows[0][2]).query) == {"q": ["actor:jane"]}
        assert "&lt;b&gt;joe" in page(admin)
        assert "Among the newest 3 events" in card(admin, "actors")


def test_failures_are_listed_newest_first(admin: Client, web: Repository) -> None:
    record("scan_failed", web, ago=timedelta(days=3))
    record("push_mirror_failed", web, actor_name="<i>robot")
    record("push_mirror", web)

    text = card(admin, "failures")

    assert text.index("Push Mirror Failed") < text.index("Scan Failed")
    assert "&lt;i&gt;robot" in text
    assert len(events_at(admin.get(INDEX).context["failures_url"])) == 2


def test_query_count_of_front_page_does_not_grow(admin: Client, registry: Any) -> None:
    def fill(number: int) -> None:
        for _ in range(number):
            name = f"{factories.OrganizationFactory().name}/web"
            for kind in ("update_tag", "scan_failed", "get_tag"):
                record(kind, factories.repository(f"{name}-{kind[:3]}"), tag="v1", actor_name=name)
            registry({"action": "polish", "id": name})
            Registry.objects.create(account=factories.UserFactory())
        tallies.fold()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(admin)
        return len(captured)

    fill(1)
    queries()
    before = queries()
    fill(6)

    assert queries() <= before
