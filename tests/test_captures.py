"""After the messages of real clients and registries, an MSR admin is shown what the clients did.

No expectation in `tests/captures` was found to be wrong.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity.models import DeadLetter
from tests import factories
from tests.capture_files import CAPTURES, Capture, read_events, shown

MAX_STATEMENTS = 13


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)
def test_captured_messages_show_what_the_clients_did(capture: Capture, registry: Any, admin: Client) -> None:
    for name in capture.existing_repositories:
        factories.repository(name)

    for message in capture.messages:
        assert registry(body=message.encode()).status_code == 200

    events = read_events(admin)
    found = shown(events)
    if capture.leaves_creations_out:
        creations = [event for event in found if event.label == "Create Repository"]
        pushed = {event.repository for event in capture.expected if event.label == "Create Manifest"}
        assert [event.repository for event in creations] == sorted(pushed)
        found = [event for event in found if event not in creations]
    assert found == capture.expected
    assert DeadLetter.objects.count() == capture.dead_letters
    check_times(events, capture)
    # Each start of a node is recorded, except the first start that the account reports.
    starts = [event for event in events if event["category"] == "system"]
    assert len(starts) == max(len(capture.node_starts) - 1, 0)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)
def test_message_takes_a_limited_number_of_statements(
    capture: Capture, registry: Any, django_capture_on_commit_callbacks: Any
) -> None:
    """The journal is counted, but not its lock, registering a repository, or a node once a minute.

    The token is checked every two seconds, so that isn't counted either. The id of the account determines
    which of two pulls of one moment is first, and a pull of its own takes one statement more than a part.
    """
    with django_capture_on_commit_callbacks(execute=True):
        for message in capture.messages:
            registry(body=message.encode())

    for notification in capture.notifications:
        with CaptureQueriesContext(connection) as captured:
            registry({**notification, "id": "another"})
        ignored = re.compile(r"^SELECT pg_advisory_xact_lock|SAVEPOINT|registrynode|accesstoken")
        executed = (query["sql"] for query in captured.captured_queries)
        statements = [sql for sql in executed if not ignored.search(sql)]
        assert len(statements) <= MAX_STATEMENTS, "\n".join(sql[:200] for sql in statements)


def check_times(events: list[dict[str, Any]], capture: Capture) -> None:
    """Check that each event has the time of its notification, to the microsecond."""
    times = {
        notification["id"]: notification["timestamp"]
        for notification in capture.notifications
        if "id" in notification
    }
    for event in events:
        if id := event["details"].get("notification_id"):
            assert datetime.fromisoformat(event["occurred_at"]) == datetime.fromisoformat(times[id])
