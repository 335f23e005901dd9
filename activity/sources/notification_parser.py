"""Parses notifications from a CNCF Distribution registry into drafts of events.

The parser is stateless, so a notification always yields the same events, no matter when or how often it is
delivered. Protocol: https://distribution.github.io/distribution/about/notifications/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from activity.identity import END, EPOCH
from activity.models import MAX_ACTOR_LENGTH, ActorType
from activity.recording.drafts import Draft
from repositories import names
from repositories.utils.text import is_storable, storable_text

MANIFEST_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.artifact.manifest.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    }
)
MAX_ID_LENGTH = 255
MAX_DETAIL_LENGTH = 1024
MAX_MESSAGE_LENGTH = 4000
"""Notifications up to this length, in characters of JSON, are stored whole.

Most notifications are 600 to 900 characters long.
"""
MAX_CONTAINERS = 50
"""Notifications with up to this many objects and lists are stored whole.

A typical notification contains five.
"""


class InvalidNotification(Exception):
    """A message or notification that can't be parsed. The exception's text is the reason."""


@dataclass
class ParsedMessage:
    """The result of parsing a message."""

    drafts: list[Draft] = field(default_factory=list)
    head_requests: list[Draft] = field(default_factory=list)
    """HEAD requests for tags, as drafts of pulls."""
    rejected: list[tuple[bytes, str]] = field(default_factory=list)
    """The invalid parts, each as a separate message, with the reason why it is invalid."""


def parse(body: bytes) -> ParsedMessage:
    """Parse a message. An invalid notification doesn't prevent the rest of the message from being parsed."""
    parsed = ParsedMessage()
    try:
        notifications = _parse_envelope(body)
    except InvalidNotification as error:
        parsed.rejected.append((body, str(error)))
        return parsed
    for notification in notifications:
        try:
            for draft in _parse_notification(notification):
                (parsed.head_requests if _is_head_request(notification) else parsed.drafts).append(draft)
        except InvalidNotification as error:
            parsed.rejected.append((json.dumps({"events": [notification]}).encode(), str(error)))
    return parsed


def _parse_envelope(body: bytes) -> list[Any]:
    if not body.strip():
        raise InvalidNotification("The message is empty.")
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidNotification(f"The message is not JSON: {error}") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("events"), list):
        raise InvalidNotification('The message has no list of "events".')
    return envelope["events"]


def _parse_notification(notification: Any) -> Iterator[Draft]:
    if not isinstance(notification, dict):
        raise InvalidNotification("The event is not an object.")
    action = notification.get("action")
    target = _get_object(notification, "target")
    if action == "mount" or _is_blob(action, target):
        return
    if action not in ("push", "pull", "delete"):
        raise InvalidNotification(f"Unknown action {_quote(action)}.")
    draft = _draft(notification, target)
    if action == "push":
        yield draft.with_kind("create_manifest", tag="")
        if draft.tag:
            yield draft.with_kind("update_tag", ordinal=2)
    elif action == "pull":
        if draft.tag or not _is_head_request(notification):
            yield draft.with_kind("get_tag" if draft.tag else "get_manifest")
    elif draft.tag:
        yield draft.with_kind("delete_tag")
    else:
        yield draft.with_kind("delete_manifest" if draft.digest else "delete_repository")


def _draft(notification: dict, target: dict) -> Draft:
    """Return the draft that all events from a notification are based on. The draft has no kind yet."""
    repository = _get_string(target, "repository")
    if not names.is_name(repository):
        raise InvalidNotification(f"{_quote(repository)} is not a valid repository name.")
    tag, digest = _get_string(target, "tag"), _get_string(target, "digest")
    if tag and not names.is_tag(tag):
        raise InvalidNotification(f"{_quote(tag)} is not a valid tag.")
    if digest and not names.is_digest(digest):
        raise InvalidNotification(f"{_quote(digest)} is not a valid digest.")
    if not digest and notification["action"] != "delete":
        raise InvalidNotification(f"The {notification['action']} has no digest.")
    source_id = _get_string(notification, "id")
    if not source_id or len(source_id) > MAX_ID_LENGTH or not is_storable(source_id):
        raise InvalidNotification(
            f"The event has no valid id. An id must be 1 to {MAX_ID_LENGTH} characters long."
        )
    actor = _get_string(_get_object(notification, "actor"), "name")
    if len(actor) > MAX_ACTOR_LENGTH or not is_storable(actor):
        raise InvalidNotification(f"{_quote(actor)} is not a valid actor name.")
    return Draft(
        kind="",
        repository_name=repository,
        tag=tag,
        digest=digest,
        actor_type=ActorType.USER if actor else ActorType.ANONYMOUS,
        actor_name=actor,
        occurred_at=parse_time(_get_string(notification, "timestamp")),
        source_id=source_id,
        details=_details(notification, target),
    )


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 timestamp in any time zone, and return the time in UTC, to the microsecond.

    Raises InvalidNotification if the timestamp is invalid or outside the years 1970 to 8999.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or not EPOCH <= moment < END:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidNotification(
            f"{_quote(text)} is not a timestamp between 1970 and 8999 with a time zone."
        ) from error


def _is_blob(action: Any, target: dict) -> bool:
    """Return whether the target is a blob, that is, a layer or a configuration. Blobs aren't recorded.

    Raises InvalidNotification if the kind of target can't be determined.
    """
    media_type, url = _get_string(target, "mediaType"), _get_string(target, "url")
    if media_type in MANIFEST_TYPES or target.get("tag") or "/manifests/" in url:
        return False
    if "/blobs/" in url:
        return True
    # Deletion notifications have no media type and no URL. They are about manifests, unless a client
    # deleted a blob directly.
    if not media_type and action in ("push", "pull"):
        raise InvalidNotification("The event has no media type, so its target is unknown.")
    return media_type != ""


def _is_head_request(notification: dict) -> bool:
    return (
        notification.get("action") == "pull" and _get_object(notification, "request").get("method") == "HEAD"
    )


def _details(notification: dict, target: dict) -> dict[str, Any]:
    request, source = _get_object(notification, "request"), _get_object(notification, "source")
    found = {
        "client_address": request.get("addr"),
        "user_agent": request.get("useragent"),
        "media_type": target.get("mediaType"),
        "size": target.get("size"),
        "request_id": request.get("id"),
        "node": source.get("addr"),
        "notification_id": notification.get("id"),
    }
    details = {key: value for key, raw in found.items() if (value := _storable_detail(raw)) not in (None, "")}
    return {**details, "message": notification} if _can_store_whole(notification) else details


def _can_store_whole(notification: dict) -> bool:
    """Return whether a notification is small enough to store whole, and can be stored in every database."""
    try:
        text = json.dumps(notification, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return (
        len(text) <= MAX_MESSAGE_LENGTH
        and text.count("{") + text.count("[") <= MAX_CONTAINERS
        and "\\u0000" not in text
        and is_storable(text)
    )


def _storable_detail(value: Any) -> str | int | None:
    """Return a detail in a form that can be stored, or None. Unstorable characters in text are replaced."""
    if isinstance(value, str):
        return storable_text(value, MAX_DETAIL_LENGTH)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    return None


def _get_object(parent: dict, key: str) -> dict:
    """Return the object with this key, or {} if it is missing. The protocol omits empty objects.

    Raises InvalidNotification if the value isn't an object.
    """
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidNotification(f'"{key}" is not an object.')
    return value


def _get_string(parent: dict, key: str) -> str:
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidNotification(f'"{key}" is not a string.')
    return value


def _quote(value: Any) -> str:
    return ascii(value)[:100]
