"""Messages are stored apart from the events that they led to, compressed, and for a time of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as site
from django.db import IntegrityError, connection, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity import tasks
from activity.models import Event, MessageBatch
from activity.storage import messages
from activity.storage.events import delete_events, insert
from repositories.models import Repository
from tests import factories
from tests.deletion import JANUARY, execute_run, manage, read_archive, turn_on

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = pytest.mark.django_db

LIST = "/api/v0/repositories/acme/web/events/?page_size=100"


@pytest.fixture
def auditor(log_in: Callable[[Any], Client]) -> Client:
    return log_in(factories.auditor())


@contextmanager
def retention(days: float) -> Iterator[None]:
    with override_settings(
        REGISTRY_ACTIVITY={**site.REGISTRY_ACTIVITY, "MESSAGE_RETENTION": timedelta(days=days)}
    ):
        yield


def add(number: int, web: Repository, **values: Any) -> list[Event]:
    """Store events with a message each."""
    return insert(
        [
            factories.event_row(
                repository=web,
                repository_name="acme/web",
                occurred_at=JANUARY + timedelta(seconds=second),
                details={"message": factories.notification(id=f"message-{second}")},
                **values,
            )
            for second in range(number)
        ]
    )


def listed(client: Client) -> list[str | None]:
    """Return the ids of the messages that the API shows, in the order of events."""
    results = client.get(LIST).json()["results"]
    return [result["details"].get("message", {}).get("id") for result in reversed(results)]


def test_messages_of_many_events_are_stored_in_few_bytes(web: Repository) -> None:
    add(250, web)

    sizes = [len(bytes(batch.content)) for batch in MessageBatch.objects.all()]
    assert len(sizes) == 2
    assert sum(sizes) <= 150 * 250


def test_events_of_one_message_share_it(registry: Any, web: Repository, auditor: Client) -> None:
    registry(factories.notification(id="message-1"))

    assert listed(auditor) == ["message-1", "message-1"]
    (batch,) = MessageBatch.objects.all()
    assert len(bytes(batch.content)) < 350


def test_old_messages_are_deleted_but_not_their_events(
    web: Repository, auditor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with retention(90):
        add(3, web)
        MessageBatch.objects.bulk_create(
            [
                MessageBatch(first=-1, last=-1, stored_at=timezone.now() - timedelta(days=91)),
                MessageBatch(first=-2, last=-2, stored_at=timezone.now() - timedelta(days=89)),
            ]
        )
        tasks.delete_old_messages()

        assert set(MessageBatch.objects.filter(first__lt=0).values_list("first", flat=True)) == {-2}
        assert listed(auditor) == ["message-0", "message-1", "message-2"]
    monkeypatch.setattr(messages, "MAX_DELETED", 1)
    with retention(0):
        tasks.delete_old_messages()

    assert listed(auditor) == [None, None, None]
    event = Event.objects.earliest("pk")
    assert auditor.get(event.get_absolute_url()).status_code == 200


def test_site_can_store_no_messages(web: Repository, auditor: Client) -> None:
    with retention(0):
        add(3, web)

    assert not MessageBatch.objects.exists()
    assert listed(auditor) == [None, None, None]


def test_redelivered_events_have_no_further_messages(web: Repository) -> None:
    events = add(3, web)
    for event in events:
        event.details = {"message": factories.notification(id="another")}
    insert(events)

    assert MessageBatch.objects.count() == 1


@pytest.mark.parametrize("exported", [False, True], ids=["list", "export"])
def test_messages_of_a_list_are_loaded_at_once(exported: bool, web: Repository, auditor: Client) -> None:
    for _ in range(3):
        add(1, web)

    with CaptureQueriesContext(connection) as captured:
        if exported:
            response = auditor.post("/repositories/acme/web/activity/", {"export": "jsonl"})
            text = b"".join(response).decode()
        else:
            text = auditor.get(LIST).content.decode()

    assert text.count("message-0") == 3
    assert sum("messagebatch" in query["sql"] for query in captured.captured_queries) == 1


def test_messages_are_found_far_apart_and_in_the_middle_of_a_batch(web: Repository, auditor: Client) -> None:
    add(150, web)
    pulls = [factories.event_row(category="pull", occurred_at=JANUARY) for _ in range(messages.BATCH + 50)]
    insert(pulls)
    last = JANUARY + timedelta(days=1)
    insert(
        [
            factories.event_row(
                repository=web,
                repository_name="acme/web",
                occurred_at=last,
                details={"message": factories.notification(id="last")},
            )
        ]
    )

    assert listed(auditor) == [*(f"message-{second}" for second in range(51, 150)), "last"]


def test_nobody_else_needs_the_messages(web: Repository, log_in: Callable[[Any], Client]) -> None:
    add(3, web)
    reader = log_in(factories.user_with("level_admin", web))

    with CaptureQueriesContext(connection) as captured:
        assert listed(reader) == [None, None, None]

    assert not any("messagebatch" in query["sql"] for query in captured.captured_queries)


def test_new_events_never_get_the_messages_of_deleted_ones(web: Repository, auditor: Client) -> None:
    add(3, web)
    with transaction.atomic():
        delete_events(Event.objects.all(), "test")
    insert([factories.event_row(repository=web, repository_name="acme/web", details={})])

    assert listed(auditor) == [None]


@pytest.mark.parametrize("sql", ["UPDATE {} SET last = 0", "DELETE FROM {}"])
def test_messages_are_append_only(sql: str, web: Repository) -> None:
    add(1, web)

    with (
        pytest.raises(IntegrityError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql.format(MessageBatch._meta.db_table))


def test_archives_contain_messages(web: Repository, archive_folder: Path, auditor: Client) -> None:
    turn_on(age=1, archive=True)
    add(3, web)
    (archive,) = execute_run().archives.all()

    rows = read_archive(archive_folder / archive.name)
    assert [row["details"]["message"]["id"] for row in rows] == ["message-0", "message-1", "message-2"]
    with retention(0):
        tasks.delete_old_messages()
    manage("import_events", archive.name)
    assert listed(auditor) == ["message-0", "message-1", "message-2"]
    assert json.dumps(rows[0]["details"]) == json.dumps(Event.objects.earliest("pk").details)
