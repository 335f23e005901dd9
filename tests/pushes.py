"""Notifications of pushes, and how often the application has recorded each of them."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

from tests.factories import notification
from tests.running import Application

WITH_RECORDER = {"RECORD_IN_REQUEST": "false"}
"""The environment variables of an application that doesn't record in requests."""


def push(**values: Any) -> dict[str, Any]:
    return notification(id=str(uuid4()), target={"repository": "acme/web", "tag": "v1"}, **values)


def pushes(app: Application) -> Counter[str]:
    """Return how often each notification has been recorded as the update of a tag."""
    events = app.events("admin", type="UPDATE", repository="acme/web")
    return Counter(
        event["details"]["notification_id"] for event in events if "notification_id" in event["details"]
    )


def ids(messages: list[dict[str, Any]]) -> Counter[str]:
    return Counter(message["id"] for message in messages)
