"""Remarks on events: parts of pulls, wrong clocks, and deletions that may be of layers."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity.feed.remarks import CLOCK_AHEAD, MAY_BE_LAYER, PART_OF_PULL
from activity.models import Event
from repositories.models import Repository
from tests import factories

URL = "/repositories/acme/web/activity/?exclude_pull=false"


@pytest.fixture
def web(db: None) -> Repository:
    return factories.repository("acme/web")


@pytest.fixture
def admin(web: Repository) -> Client:
    client = Client()
    client.force_login(factories.msr_admin())
    return client


def remarks_on_page(admin: Client) -> set[str]:
    html = admin.get(URL).content.decode()
    return {str(remark) for remark in (CLOCK_AHEAD, MAY_BE_LAYER, PART_OF_PULL) if str(remark) in html}


def remarks_in_admin(admin: Client, event: Event) -> set[str]:
    html = admin.get(f"/admin/registry_activity/event/{event.pk}/change/").content.decode()
    return {str(remark) for remark in (CLOCK_AHEAD, MAY_BE_LAYER, PART_OF_PULL) if str(remark) in html}


@pytest.mark.parametrize(
    ("kind", "values", "remark"),
    [
        ("get_manifest", {"pull": UUID(int=1)}, PART_OF_PULL),
        ("create_manifest", {"occurred_at": timezone.now() + timedelta(days=365)}, CLOCK_AHEAD),
        ("delete_manifest", {}, MAY_BE_LAYER),
    ],
)
def test_remark_is_shown_on_the_page_and_in_the_admin(
    admin: Client, web: Repository, kind: str, values: dict[str, Any], remark: str
) -> None:
    event = factories.record(kind, web, digest=factories.DIGEST, **values)

    assert remarks_on_page(admin) == remarks_in_admin(admin, event) == {remark}


def test_other_events_have_no_remarks(admin: Client, web: Repository) -> None:
    factories.record("create_manifest", web, digest=factories.DIGEST)
    factories.record("get_manifest", web, digest=factories.DIGEST)
    event = factories.record("delete_manifest", web, digest=factories.DIGEST)

    assert remarks_on_page(admin) == remarks_in_admin(admin, event) == set()


def test_manifest_of_another_repository_may_be_a_layer_here(admin: Client, web: Repository) -> None:
    factories.record("create_manifest", "acme/api", digest=factories.DIGEST)
    factories.record("delete_manifest", web, digest=factories.DIGEST)

    assert remarks_on_page(admin) == {MAY_BE_LAYER}


def test_remarks_take_one_query(admin: Client, web: Repository) -> None:
    def count_queries() -> int:
        with CaptureQueriesContext(connection) as queries:
            admin.get(URL)
        return len(queries)

    factories.record("delete_manifest", web, digest=factories.DIGEST)
    count_queries()
    before = count_queries()
    for number in range(5):
        factories.record("delete_manifest", web, digest=f"sha256:{number:064}")

    assert count_queries() == before


def test_manual_promotion_links_to_the_promotions_tab(admin: Client, web: Repository) -> None:
    factories.record("promote", web, tag="v1", actor_type="manual_promotion", actor_name="MANUAL_P")

    html = admin.get(URL).content.decode()

    assert '<a href="/repositories/acme/web/promotions/" hx-boost="false">PROMOTION MANUAL_P</a>' in html


class TestFormerAccountsAndRepositories:
    def act(self, name: str, web: Repository) -> Any:
        user = factories.UserFactory(username=name)
        factories.record("update_tag", web, tag="v1", actor_name=name)
        return user

    def notes(self, admin: Client, url: str = URL) -> list[str]:
        html = admin.get(url).content.decode()
        return re.findall(r"(?:deleted account #\d+|deleted since|now [a-z]+)", html)

    def test_accounts_of_one_name_are_told_apart(self, admin: Client, web: Repository) -> None:
        former = self.act("mara", web)
        pk = former.pk
        former.delete()
        latter = self.act("mara", web)
        events = admin.get("/api/v0/events/", {"actor": "mara"}).json()["results"]
        assert [event["actor"]["account"] for event in events] == [latter.pk, pk]

        for url in (URL, "/activity/", "/admin/registry_activity/event/?q=actor:mara"):
            assert self.notes(admin, url) == [f"deleted account #{pk}"]
        (older, newer) = Event.objects.filter(actor_name="mara").order_by("pk")
        assert self.notes(admin, older.get_absolute_url()) == [f"deleted account #{pk}"]
        assert self.notes(admin, newer.get_absolute_url()) == []

    def test_renamed_account_is_shown_with_its_name(self, admin: Client, web: Repository) -> None:
        user = self.act("mara", web)
        user.username = "maria"
        user.save()

        assert self.notes(admin) == ["now maria"]

    def test_repository_that_was_pushed_again_is_another_one(self, admin: Client, web: Repository) -> None:
        self.act("mara", web)
        web.delete()
        again = factories.repository("acme/web")
        factories.record("update_tag", again, tag="v2")

        for url in ("/activity/", "/admin/registry_activity/event/"):
            assert self.notes(admin, url) == ["deleted since"]
        assert self.notes(admin) == []
