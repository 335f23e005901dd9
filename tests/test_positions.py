"""Positions number the events in the order in which they are committed."""

from __future__ import annotations

from datetime import timedelta
from threading import Event as Signal
from threading import Thread

import pytest
from django.db import connection, transaction

from activity.models import DeletionRule, Event, Removal
from activity.storage import partitions, positions
from activity.storage.events import delete_days, delete_events, insert
from tests import factories
from tests.deletion import JANUARY, MARCH, add_events, execute_run, list_tables, on_postgresql, turn_on


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
def test_position_of_deleted_event_is_not_used_again() -> None:
    record_row("first")
    with transaction.atomic():
        delete_events(Event.objects.all(), "run 1")
    record_row("second")

    assert Event.objects.get().position == positions.newest() == 2


@pytest.mark.django_db
@on_postgresql
def test_index_of_positions_takes_little_space_and_is_kept_up_to_date() -> None:
    partitions.create_ahead(JANUARY)
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%(\"position\")%'")
        definitions = [definition for (definition,) in cursor]

    assert len(definitions) > 10
    assert all("USING brin" in text and "autosummarize='on'" in text for text in definitions)


class TestRemovals:
    pytestmark = pytest.mark.django_db

    def removed(self) -> list[tuple[int, int]]:
        return [*Removal.objects.order_by("pk").values_list("lowest", "highest")]

    def test_deletion_records_which_positions_were_removed(self) -> None:
        add_events(6)
        with transaction.atomic():
            delete_events(Event.objects.filter(position__in=[2, 4]), "run 1")
            delete_events(Event.objects.filter(position=2), "run 1")

        assert self.removed() == [(2, 4)]
        assert positions.highest_removed() == 4

    def test_nothing_is_removed_if_the_deletion_is_rolled_back(self) -> None:
        add_events(1)
        with transaction.atomic():
            delete_events(Event.objects.all(), "run 1")
            transaction.set_rollback(True)

        assert positions.highest_removed() == 0

    @on_postgresql
    def test_deletion_of_days_records_which_positions_were_removed(self) -> None:
        add_events(4)
        with transaction.atomic():
            delete_days(
                Event.objects.exclude(position=4), ["other"], JANUARY, JANUARY + timedelta(days=1), "run 1"
            )

        assert self.removed() == [(1, 3)]

    @on_postgresql
    @pytest.mark.parametrize("kept", [0, 2])
    def test_dropped_partition_records_which_positions_were_removed(self, kept: int) -> None:
        partitions.create_ahead(JANUARY)
        add_events(40, JANUARY)
        add_events(kept, JANUARY, kind="create_hold", category="access")
        add_events(1, MARCH)
        turn_on(age=1, age_unit="months")
        DeletionRule.objects.create(category="access")
        execute_run()

        assert list_tables() & {"other_2021_01"} == ({"other_2021_01"} if kept else set())
        assert self.removed() == [(1, 40)]

    @pytest.mark.parametrize(
        ("after", "up_to", "since", "expected"),
        [(0, 9, 0, True), (0, 9, 1, True), (0, 9, 2, False), (0, 3, 1, False), (6, 9, 1, False)],
    )
    def test_removal_since_another_between_two_positions(
        self, after: int, up_to: int, since: int, expected: bool
    ) -> None:
        first = positions.last_removal()
        positions.record_removal(1, 9)
        before = positions.last_removal() - 1
        positions.record_removal(4, 6)

        assert first == 0
        assert positions.were_removed(after, up_to, before + since) is expected
