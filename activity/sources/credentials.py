"""Removes credentials from messages before they are stored.

GitLab, for example, sends the client's access token as `actor.user`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

REMOVED = "[removed]"
MAX_DEPTH = 100
"""Values nested more deeply are removed, because they can't be checked. Notifications have a depth of 5."""

# Each run of characters that tokens consist of is searched once, from its beginning and without backtracking.
# Otherwise, a long text that consists of the beginnings of tokens would take hours.
_JWT = re.compile(
    r"(?<![\w-])((?:(?!eyJ[\w-]{5})[\w-])*+)eyJ[\w-]{5,}+\.[\w-]++\.[\w-]*+",
    re.ASCII,
)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#@]+(?=@)")
_SCHEME = re.compile(r"\b(basic|bearer)\s+[\w.~+/=-]{8,}", re.IGNORECASE | re.ASCII)
_SECRET_KEYS = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "client_secret",
        "cookie",
        "id_token",
        "identitytoken",
        "jwt",
        "password",
        "private_token",
        "refresh_token",
        "registrytoken",
        "secret",
        "token",
    }
)


_SIGNS = (
    # of what the expressions above find
    *(b"eyj", b"@", b"basic", b"bearer"),
    # of the names of secrets, and of the user of GitLab's actor
    *(b"auth", b"token", b"secret", b"key", b"password", b"cookie", b"jwt", b'"user"'),
    # of text in which these can be hidden: escaped, or in UTF-16
    *(b"\\u", b"\0"),
)
"""Each message that contains credentials contains one of these, in lower case."""


def may_contain_credentials(body: bytes) -> bool:
    """Return whether `remove_credentials` could change what a message contains.

    Few messages contain anything like credentials, and searching a whole message takes a tenth of the time
    that it takes to look at each of its values.
    """
    text = body.lower()
    is_deep = body.count(b"{") + body.count(b"[") > MAX_DEPTH
    return is_deep or not body.isascii() or any(sign in text for sign in _SIGNS)


def remove_credentials(value: Any, depth: int = 0) -> Any:
    """Return a copy of a parsed JSON value in which each credential is replaced by `[removed]`."""
    if depth > MAX_DEPTH:
        return REMOVED
    if isinstance(value, str):
        return _remove_from_text(value)
    if isinstance(value, list):
        return [remove_credentials(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            _remove_from_text(key): REMOVED if _is_secret(key, item) else remove_credentials(item, depth + 1)
            for key, item in _without_actor_credentials(value).items()
        }
    return value


def remove_credentials_from_body(body: bytes) -> bytes:
    """Return a message without credentials. A message that isn't JSON, or has none, is returned unchanged."""
    has_duplicates = False

    def build(pairs: list[tuple[str, Any]]) -> dict:
        nonlocal has_duplicates
        value = dict(pairs)
        has_duplicates |= len(value) < len(pairs)  # parsing drops the first values, so they can't be checked
        return value

    try:
        parsed = json.loads(body, object_pairs_hook=build)
    except (ValueError, RecursionError):
        return body
    cleaned = remove_credentials(parsed)
    return body if cleaned == parsed and not has_duplicates else json.dumps(cleaned).encode()


def _without_actor_credentials(value: dict) -> dict:
    actor = value.get("actor")
    if isinstance(actor, dict) and actor.get("user"):
        return {**value, "actor": {**actor, "user": REMOVED}}
    return value


def _is_secret(key: str, value: Any) -> bool:
    return bool(value) and key.lower().replace("-", "_") in _SECRET_KEYS


def _remove_from_text(text: str) -> str:
    replacements: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
        (_JWT, lambda match: f"{match[1]}{REMOVED}"),
        (_URL_CREDENTIALS, REMOVED),
        (_SCHEME, lambda match: f"{match[1]} {REMOVED}"),
    ]
    for pattern, replacement in replacements:
        text = pattern.sub(replacement, text)
    return text
