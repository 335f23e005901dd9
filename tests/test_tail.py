"""The tail has every event that the caller can see exactly once, in the order of commits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY, get_user_model
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import remove_perm

from activity.feed import slots, tail
from activity.models import Event
from activity.storage.events import insert
from repositories.accounts import sessions
from repositories.models import AccessToken, Repository
from tests import factories
from tests.deletion import DECEMBER, JANUARY, add_events, execute_run, manage, on_postgresql, turn_on
from tests.factories import NOON
from tests.tail_events import delete, record, tags

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = pytest.mark.django_db

URL = "/api/v0/events/tail/"
SECONDS_OF_WRITING = 60


def get(client: Client, after: int = 0, **query: Any) -> dict[str, Any]:
    response = client.get(URL, {"after": after, **query})
    assert response.status_code == 200, response.content
    return response.json()


def read_all(client: Client, size: int) -> list[str]:
    """Return the tags of all events, page by page, following `next`."""
    page, found = get(client, page_size=size), []
    while page["position"] < page["newest"]:
        found += tags(page)
        page = client.get(page["next"]).json()
    return found + tags(page)


class TestOrder:
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
    def test_late_events_come_last_on_pages_of_any_size(self, admin: Client, size: int) -> None:
        for number, tag in enumerate("abc"):
            record(tag, occurred_at=NOON - timedelta(days=number))

        assert read_all(admin, size) == ["a", "b", "c"]

    def test_imported_events_come_last(self, admin: Client, archive_folder: Path) -> None:
        turn_on(archive=True, age=1)
        add_events(2, JANUARY, tag="old", repository_name="acme/web")
        execute_run()
        before = get(admin)

        (archive,) = archive_folder.rglob("*.jsonl.gz")
        manage("import_events", str(archive.relative_to(archive_folder)))

        assert tags(get(admin, before["position"])) == ["old", "old"]

    def test_same_position_gives_the_same_events(self, admin: Client) -> None:
        record("a", "b", "c")
        first = get(admin, page_size=2)
        record("d")

        again = get(admin, page_size=2)
        assert again == {**first, "newest": 4}

    def test_event_has_its_position_and_the_fields_of_the_list(self, admin: Client) -> None:
        factories.record("update_tag", tag="v1", actor_name="jane")

        *_, event = get(admin)["results"]

        assert event.pop("position") == Event.objects.get(tag="v1").position
        assert event in admin.get("/api/v0/events/").json()["results"]

    def test_caller_chooses_the_fields(self, admin: Client) -> None:
        record("a")

        assert get(admin, fields="position,tag")["results"] == [{"position": 1, "tag": "acme/web:a"}]


class TestPosition:
    def test_empty_table(self, admin: Client) -> None:
        assert get(admin) == {
            "position": 0,
            "newest": 0,
            "removed_up_to": 0,
            "next": f"http://testserver{URL}?after=0",
            "results": [],
        }

    def test_empty_page_advances_the_position(self, reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tail, "MAX_POSITIONS", 3)
        record(*"abcde")
        insert(
            [factories.event_row(tag="f", repository=Repository.objects.get(), repository_name="acme/web")]
        )

        first = get(reader, page_size=2)
        second = get(reader, first["position"], page_size=2)

        assert (tags(first), first["position"], first["newest"]) == ([], 3, 6)
        assert (tags(second), second["position"]) == (["f"], 6)

    def test_position_after_the_newest_stands_for_the_newest(self, admin: Client) -> None:
        record("a")

        page = get(admin, 2**63 - 1)
        record("b")

        assert (tags(page), page["position"]) == ([], 1)
        assert tags(get(admin, page["position"])) == ["b"]

    def test_reader_continues_after_the_newest_events_were_deleted(self, admin: Client) -> None:
        record("a", "b")
        position = get(admin)["position"]
        delete(tag="b")
        record("c")

        assert tags(get(admin, position)) == ["c"]

    def test_answer_says_up_to_which_position_events_were_removed(self, reader: Client) -> None:
        record("a", "b", "c")
        assert get(reader)["removed_up_to"] == 0
        delete(tag="b")
        delete(tag="a")

        assert get(reader)["removed_up_to"] == 2

    @pytest.mark.parametrize(
        "query",
        [
            "after=-1",
            "after=x",
            f"after={2**63}",
            "after=1&after=2",
            "page_size=0",
            "page_size=1001",
            "wait=26",
            "wait=-1",
            "cursor=x",
            "fields=colour",
        ],
    )
    def test_invalid_parameter_is_rejected_with_its_name(self, admin: Client, query: str) -> None:
        response = admin.get(f"{URL}?{query}")

        assert response.status_code == 400
        assert query.partition("=")[0] in response.content.decode()

    def test_anonymous_caller_is_rejected(self, client: Client) -> None:
        assert client.get(URL).status_code == 401


class TestWaiting:
    @pytest.fixture
    def meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
        """Return a function that sets what happens while a request waits, instead of the passing of time."""
        now = [0.0]
        monkeypatch.setattr(tail.time, "monotonic", lambda: now[0])

        def set_action(action: Callable[[], object]) -> None:
            def sleep(seconds: float) -> None:
                now[0] += seconds
                action()

            monkeypatch.setattr(tail.time, "sleep", sleep)

        return set_action

    def test_request_waits_for_an_event(self, admin: Client, meanwhile: Any) -> None:
        meanwhile(lambda: record("a"))

        assert tags(get(admin, wait=25)) == ["a"]

    def test_request_that_waits_in_vain_is_answered_at_its_deadline(
        self, admin: Client, meanwhile: Any
    ) -> None:
        pauses: list[None] = []
        meanwhile(lambda: pauses.append(None))

        page = get(admin, wait=2)

        assert (tags(page), len(pauses)) == ([], 2 / tail.POLL)

    def test_events_that_the_caller_cannot_see_only_advance_the_position(
        self, reader: Client, meanwhile: Any
    ) -> None:
        meanwhile(lambda: record("a"))

        page = get(reader, wait=1)

        assert (tags(page), page["position"]) == ([], 1 / tail.POLL)

    def test_request_does_not_wait_if_there_is_more_to_read(
        self, reader: Client, meanwhile: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tail, "MAX_POSITIONS", 1)
        meanwhile(lambda: pytest.fail("The request waits."))
        record("a", "b")

        page = get(reader, page_size=1, wait=25)

        assert (page["position"], page["newest"]) == (1, 2)

    def test_grant_that_is_revoked_meanwhile_has_no_effect(
        self, log_in: Any, web: Repository, meanwhile: Any
    ) -> None:
        user = factories.user_with("level_read", web)
        client = log_in(user)

        def revoke_and_record() -> None:
            remove_perm("level_read", user, web)
            record("a", repository=web)

        meanwhile(revoke_and_record)

        assert tags(get(client, wait=1)) == []

    def test_token_that_is_revoked_meanwhile_has_no_effect(self, client: Client, meanwhile: Any) -> None:
        headers = factories.bearer(factories.msr_admin())

        def revoke_and_record() -> None:
            AccessToken.objects.all().delete()
            record("a")

        meanwhile(revoke_and_record)

        assert client.get(URL, {"wait": 1}, headers=headers).status_code == 401

    @pytest.mark.parametrize("change", ["deactivated", "demoted", "logged out"])
    def test_session_that_loses_its_rights_meanwhile_has_no_effect(
        self, admin: Client, meanwhile: Any, change: str
    ) -> None:
        user = get_user_model().objects.get(pk=admin.session[SESSION_KEY])

        def change_and_record() -> None:
            if change == "deactivated":
                user.is_active = False
                user.save()
            elif change == "demoted":
                user.groups.clear()
            else:
                sessions.end_sessions(user)
            record("a")

        meanwhile(change_and_record)
        response = admin.get(URL, {"wait": 1})

        assert response.json().get("results", []) == []
        assert response.status_code == (200 if change == "demoted" else 401)

    @pytest.mark.parametrize(("others", "status"), [(1, 429), (3, 503)])
    def test_few_requests_wait_at_a_time(self, log_in: Any, others: int, status: int) -> None:
        user = factories.auditor()
        waiting = [user.pk, user.pk] if others == 1 else [factories.auditor().pk for _ in range(others)]
        with ExitStack() as stack:
            for account in waiting:
                stack.enter_context(slots.WAITING.take(account))
            response = log_in(user).get(URL, {"wait": 25})
            record("a")

            assert (response.status_code, response["Retry-After"]) == (status, "30")
            assert tags(get(log_in(user), wait=25)) == ["a"]


@on_postgresql
@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_batches")
def test_poller_gets_each_event_once_while_others_write_import_and_delete(
    admin: Client, archive_folder: Path
) -> None:
    turn_on(archive=True, age=1)
    add_events(40, JANUARY, tag="imported")
    execute_run()
    (archive, *_) = archive_folder.rglob("*.jsonl.gz")
    add_events(40, DECEMBER, tag="deleted")

    end = time.monotonic() + SECONDS_OF_WRITING
    written: list[str] = []

    def write() -> None:
        while time.monotonic() < end:
            with transaction.atomic():
                record("written", "written")
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(random() / 50)")  # delays the commit
            written.extend(["written", "written"])

    def import_archive() -> None:
        manage("import_events", str(archive.relative_to(archive_folder)))

    def in_thread(action: Callable[[], object]) -> None:
        action()
        connection.close()

    found: list[dict[str, Any]] = []
    position = 0
    with ThreadPoolExecutor(10) as pool:
        actions: list[Callable[[], object]] = [*[write] * 8, import_archive, execute_run]
        running = [pool.submit(in_thread, action) for action in actions]
        done = False
        while not done:
            done = all(each.done() for each in running)
            page = get(admin, position, page_size=50)
            while page["position"] < page["newest"]:
                found += page["results"]
                page = get(admin, page["position"], page_size=50)
            found += page["results"]
            position = page["position"]
        for each in running:
            each.result()

    positions = [event["position"] for event in found]
    assert positions == sorted(set(positions))
    remaining = {str(pk) for pk in Event.objects.values_list("pk", flat=True)}
    ids = [event["id"] for event in found]
    assert len(ids) == len(set(ids))
    assert remaining <= set(ids)
    assert not Event.objects.filter(tag="deleted").exists()
    assert tags({"results": found}).count("written") == len(written) > 400
    assert Event.objects.filter(tag="imported").count() > 0


class TestCost:
    def test_number_of_queries_does_not_depend_on_the_number_of_events(
        self, log_in: Any, web: Repository
    ) -> None:
        client = log_in(factories.user_with("level_admin", web))

        def count() -> int:
            with CaptureQueriesContext(connection) as queries:
                get(client)
            return len(queries)

        def add(number: int) -> None:
            policy = factories.PolicyFactory(repository=web)
            values = {"repository": web, "policy": policy, "delivered_by": factories.UserFactory()}
            insert([factories.event_row(actor_user=factories.UserFactory(), **values) for _ in range(number)])

        add(1)
        few = count()
        add(20)

        assert count() == few

    @on_postgresql
    @pytest.mark.long
    @pytest.mark.django_db(transaction=True)
    def test_page_reads_a_bounded_number_of_rows(self, log_in: Any, web: Repository) -> None:
        viewers = [factories.msr_admin(), factories.user_with("level_read", web), factories.UserFactory()]
        for _ in range(30):
            insert([factories.event_row(repository=web, repository_name="acme/web") for _ in range(2_000)])
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE registry_activity_event")

        for viewer in viewers:
            with CaptureQueriesContext(connection) as queries:
                get(log_in(viewer), 20_000)
            (statement,) = [query["sql"] for query in queries if " AS branch_0" in query["sql"]]
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
                (((plan,),),) = cursor.fetchall()
            # BRIN finds ranges of 128 pages.
            assert rows_read(plan["Plan"]) <= tail.MAX_POSITIONS + 2 * 128 * 60, viewer


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows the scans of tables in a plan read."""
    nested = sum(map(rows_read, plan.get("Plans", [])))
    if plan.get("Relation Name") is None:
        return nested
    removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return nested + (plan["Actual Rows"] + removed) * plan["Actual Loops"]
