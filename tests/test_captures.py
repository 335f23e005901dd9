"""After the messages of real clients and registries, an MSR admin is shown what the clients did.

No expectation in `tests/captures` was found to be wrong.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from django.test import Client

from activity.models import DeadLetter
from tests import factories
from tests.capture_files import CAPTURES, Capture, shown

each_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)


def deliver(registry: Any, messages: list[str]) -> None:
    """Deliver messages through the notifications endpoint."""
    for message in messages:
        assert registry(body=message.encode()).status_code == 200


def all_events(admin: Client) -> list[dict[str, Any]]:
    """Return all events that the API shows to an MSR admin, newest first."""
    events: list[dict[str, Any]] = []
    url = "/api/v0/events/?page_size=100"
    while url:
        page = admin.get(url).json()
        events += page["results"]
        url = page["next"]
    return events


def create_repositories(capture: Capture) -> None:
    for name in capture.existing_repositories:
        factories.repository(name)


@each_capture
def test_captured_messages_show_what_the_clients_did(capture: Capture, registry: Any, admin: Client) -> None:
    create_repositories(capture)

    deliver(registry, capture.messages)

    events = all_events(admin)
    found = shown(events)
    if capture.name.startswith("messages/"):  # their expectations leave the creation of repositories out
        creations = [event for event in found if event.label == "Create Repository"]
        pushed = {event.repository for event in capture.expected if event.label == "Create Manifest"}
        assert [event.repository for event in creations] == sorted(pushed)
        found = [event for event in found if event not in creations]
    assert found == capture.expected
    assert DeadLetter.objects.count() == capture.dead_letters
    check_times(events, capture)
    # Each start of a node is recorded, except the first node of the account.
    starts = [event for event in events if event["category"] == "system"]
    assert len(starts) == max(len(capture.nodes) - 1, 0)


def check_times(events: list[dict[str, Any]], capture: Capture) -> None:
    """Check that each event has the time of its notification, to the microsecond."""
    times = {notification.get("id"): notification.get("timestamp") for notification in capture.notifications}
    for event in events:
        if id := event["details"].get("notification_id"):
            assert datetime.fromisoformat(event["occurred_at"]) == datetime.fromisoformat(times[id])
