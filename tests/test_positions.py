"""Positions number the events in the order in which they are committed."""

from __future__ import annotations

from threading import Event as Signal
from threading import Thread

import pytest
from django.db import connection, transaction

from activity.models import Event
from activity.storage.events import insert
from tests import factories
from tests.deletion import on_postgresql


def record_row(tag: str) -> None:
    insert([factories.event_row(tag=tag)])


@pytest.mark.django_db
def test_positions_increase_in_the_order_of_recording() -> None:
    for tag in ("a", "b", "c"):
        record_row(tag)

    assert [*Event.objects.order_by("position").values_list("tag", flat=True)] == ["a", "b", "c"]


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_event_is_committed_before_events_with_higher_positions_are() -> None:
    waits, recorded = Signal(), Signal()

    def record_later() -> None:
        waits.set()
        with transaction.atomic():
            record_row("later")
        recorded.set()
        connection.close()

    other = Thread(target=record_later)
    with transaction.atomic():
        record_row("first")
        other.start()
        waits.wait()
        assert not recorded.wait(0.2)
    other.join()

    assert [*Event.objects.order_by("position").values_list("tag", flat=True)] == ["first", "later"]


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL takes positions from a sequence")
def test_newest_position_is_found_with_an_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN SELECT MAX(position) FROM registry_activity_event")
        assert "event_position" in str(cursor.fetchall())


@pytest.mark.django_db
@on_postgresql
def test_index_of_positions_takes_little_space() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'event_position'")
        assert "USING brin" in str(cursor.fetchall())
