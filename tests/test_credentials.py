"""Messages in which no credentials are looked for contain none."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.models import Event
from activity.sources.credentials import REMOVED, may_contain_credentials, remove_credentials
from tests import factories

TEXTS = st.lists(
    st.sampled_from(
        [
            *("eyJhbGciOi", ".", "eyJzdWIi", "sig", "https://", "jane:opaque", "@", "host", " ", "\t", "\n"),
            *(
                "Basic",
                "bearer",
                "dXNlcjpwYXNz",
                "token",
                "to\u212aen",
                "API-Key",
                "user",
                "actor",
                "\\",
                "ü",
            ),
        ]
    ),
    max_size=5,
).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=8,
)


@given(value=VALUES, ascii_only=st.booleans(), encoding=st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_message_without_signs_of_credentials_contains_none(
    value: Any, ascii_only: bool, encoding: str
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode(encoding)

    assert may_contain_credentials(body) or remove_credentials(json.loads(body)) == value


def test_ordinary_message_is_not_searched() -> None:
    body = b'{"target": {"url": "https://example.com/v2/acme/web"}, "request": {"useragent": "a\\\\b"}}'

    assert not may_contain_credentials(body)


@given(text=st.text("eyJa.-_ é", max_size=60))
def test_tokens_are_removed_wherever_they_begin(text: str) -> None:
    removed = re.sub(r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]*", REMOVED, text, flags=re.ASCII)

    assert remove_credentials(text) == removed


@pytest.mark.parametrize("part", ["eyJ", "eyJ.", "eyJeyJeyJ.", "://", "a://b:", "bearer ", "basic\t\n"])
def test_text_that_resembles_many_credentials_is_recorded_soon(registry: Any, part: str) -> None:
    """Searching it took hours, during which nothing else was recorded."""
    notification = factories.notification(request={"useragent": part * 500_000})

    response = registry(notification)

    assert response.status_code == 200
    assert Event.objects.filter(kind="update_tag").exists()
