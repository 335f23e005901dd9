"""Messages in which no credentials are looked for contain none."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from activity.sources.credentials import may_contain_credentials, remove_credentials

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
