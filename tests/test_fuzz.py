"""The notifications endpoint responds with 200 to any body, and stores invalid messages as dead letters."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from activity.models import DeadLetter, Event
from activity.models.details import with_detail
from activity.sources.credentials import may_contain_credentials, remove_credentials_from_body
from activity.sources.notification_parser import MANIFEST_TYPES
from tests.factories import notification

MANY_EXAMPLES = settings(max_examples=1_100, suppress_health_check=list(HealthCheck))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PATHS = [
    *(("id",), ("timestamp",), ("action",), ("target",), ("request",), ("actor",), ("source",)),
    *(("target", key) for key in ("mediaType", "digest", "size", "repository", "url", "tag", "references")),
    *(("request", key) for key in ("id", "addr", "method", "useragent")),
    *(("actor", "name"), ("source", "addr")),
]
SPECIAL_VALUES = st.sampled_from(
    [
        "",
        "delete",
        "pull",
        "mount",
        "HEAD",
        "a" * 256,
        "é",
        "\0",
        "\ud800",
        "..",
        "0001-01-01T00:00:00Z",
        -1,
        2**80,
    ]
)


@st.composite
def damaged_notifications(draw: st.DrawFn) -> dict[str, Any]:
    """Generate notifications with up to four values replaced or removed."""
    message = copy.deepcopy(notification())
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=4, unique=True)):
        parent: Any = message
        for key in path[:-1]:
            parent = parent.get(key) if isinstance(parent, dict) else None
        if isinstance(parent, dict):
            if draw(st.booleans()):
                parent[path[-1]] = draw(SPECIAL_VALUES | JSON)
            else:
                parent.pop(path[-1], None)
    return message


def causes_no_event(message: dict[str, Any]) -> bool:
    """Return whether a notification causes no event, because it is about a blob or a HEAD request."""
    target, request = message.get("target") or {}, message.get("request") or {}
    is_manifest = target.get("mediaType") in (*MANIFEST_TYPES, None, "")
    is_blob = not is_manifest or "/blobs/" in str(target.get("url"))
    return message["action"] == "mount" or request.get("method") == "HEAD" or is_blob


@pytest.mark.long
@pytest.mark.django_db
@MANY_EXAMPLES
@given(message=damaged_notifications())
def test_damaged_notification_is_recorded_or_stored_as_a_dead_letter(
    registry: Any, message: dict[str, Any]
) -> None:
    before = DeadLetter.objects.count()

    response = registry(message)

    assert response.status_code == 200
    receipt = response.json()
    if receipt["dead_letters"]:
        content = remove_credentials_from_body(json.dumps({"events": [message]}).encode())
        assert DeadLetter.objects.filter(content=content).exists()
    else:
        assert DeadLetter.objects.count() == before
        if receipt["events"]:
            assert Event.objects.filter(with_detail("notification_id", message["id"])).exists()
        else:
            assert causes_no_event(message)


@pytest.mark.long
@pytest.mark.django_db
@MANY_EXAMPLES
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_invalid_envelope_is_stored_unchanged_as_a_dead_letter(registry: Any, body: bytes) -> None:
    assume(not may_contain_credentials(body))  # they would be removed

    response = registry(body=body)

    assert (response.status_code, response.json()) == (200, {"events": 0, "dead_letters": 1})
    assert DeadLetter.objects.filter(content=body).exists()
