"""Auto-deletion by age counts from the receipt of an event if that was later than the event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command

from activity.models import DeletionRule, Event
from activity.storage import partitions
from tests import factories
from tests.deletion import (
    FEBRUARY,
    JANUARY,
    NOW,
    add_events,
    execute_run,
    on_postgresql,
    remaining_events,
    turn_on,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("archive_folder")]


@pytest.fixture
def late() -> set[Event]:
    """Events from January that were received at the end of March."""
    return set(add_events(3, JANUARY, received_at=NOW - timedelta(minutes=30)))


def test_late_events_are_kept(late: set[Event]) -> None:
    add_events(3, JANUARY)
    turn_on(age=1, age_unit="months")

    execute_run()

    assert remaining_events() == late


def test_late_events_are_deleted_when_their_receipt_is_long_ago(late: set[Event]) -> None:
    turn_on(age=1, age_unit="hours")

    execute_run(cutoff=NOW + timedelta(hours=1))

    assert not remaining_events()


def test_maximum_number_disregards_the_receipt(late: set[Event]) -> None:
    kept = add_events(2, FEBRUARY)
    turn_on(max_events=2)

    execute_run()

    assert remaining_events() == set(kept)


def test_late_events_are_kept_by_a_maximum_per_repository(late: set[Event]) -> None:
    repository = factories.repository("acme/web")
    kept = add_events(2, FEBRUARY, repository=repository, received_at=NOW)
    DeletionRule.objects.create(category="push", age=1, age_unit="months", max_events=4, max_per="repository")
    turn_on()

    execute_run()

    assert remaining_events() == late | set(kept)


@on_postgresql
def test_partition_is_not_dropped_with_late_events() -> None:
    partitions.create_ahead(JANUARY)
    late = set(add_events(3, JANUARY, received_at=NOW - timedelta(minutes=30)))
    add_events(20, JANUARY + timedelta(days=1))
    turn_on(age=1, age_unit="months")

    execute_run()

    assert remaining_events() == late


def test_event_from_a_node_in_1970_survives(registry: Any) -> None:
    registry(factories.notification(timestamp=datetime(1970, 1, 2, tzinfo=UTC).isoformat()))
    turn_on(age=1, age_unit="hours")

    call_command("delete_events")

    assert Event.objects.filter(kind="update_tag").exists()
