"""Reads the notifications of a CNCF Distribution registry: what each means as repository activity.

The mapping keeps no state, so a notification gives the same events in whatever order, and however
often, it is delivered. Protocol: https://distribution.github.io/distribution/about/notifications/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from activity.identity import END, EPOCH
from activity.models import MAX_ACTOR_LENGTH, ActorType
from activity.recording.drafts import Draft
from repositories import names

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
"""Characters of a message that is kept whole, as JSON; those of registries have 600 to 900."""
MAX_NESTED = 50
"""Objects and lists in such a message; those of registries have 5."""
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class NotUnderstood(Exception):
    """A notification that makes no sense; the message says why."""


@dataclass
class Reading:
    """What a message says."""

    drafts: list[Draft] = field(default_factory=list)
    lookups: list[Draft] = field(default_factory=list)
    """HEADs of tags, as the pulls they would be."""
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    """What can't be understood, as a message of its own, and why."""


def read(body: bytes) -> Reading:
    """Read an envelope. What is good in it is read even if something else in it isn't."""
    reading = Reading()
    try:
        notifications = _open(body)
    except NotUnderstood as problem:
        reading.problems.append((body, str(problem)))
        return reading
    for notification in notifications:
        try:
            for draft in _read_notification(notification):
                (reading.lookups if _is_head(notification) else reading.drafts).append(draft)
        except NotUnderstood as problem:
            reading.problems.append((json.dumps({"events": [notification]}).encode(), str(problem)))
    return reading


def _open(body: bytes) -> list[Any]:
    if not body.strip():
        raise NotUnderstood("The message is empty.")
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"The message is not JSON: {error}") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("events"), list):
        raise NotUnderstood('The message has no list of "events".')
    return envelope["events"]


def _read_notification(notification: Any) -> Iterator[Draft]:
    if not isinstance(notification, dict):
        raise NotUnderstood("The event is not an object.")
    action = notification.get("action")
    target = _object(notification, "target")
    if action == "mount" or _is_blob(action, target):
        return
    if action not in ("push", "pull", "delete"):
        raise NotUnderstood(f"The action {_shown(action)} is not known.")
    draft = _draft(notification, target)
    if action == "push":
        yield draft.of_kind("create_manifest", tag="")
        if draft.tag:
            yield draft.of_kind("update_tag", ordinal=2)
    elif action == "pull":
        if draft.tag or not _is_head(notification):
            yield draft.of_kind("get_tag" if draft.tag else "get_manifest")
    elif draft.tag:
        yield draft.of_kind("delete_tag")
    else:
        yield draft.of_kind("delete_manifest" if draft.digest else "delete_repository")


def _draft(notification: dict, target: dict) -> Draft:
    """Return what all events of a notification have in common."""
    repository = _text(target, "repository")
    if not names.is_name(repository):
        raise NotUnderstood(f"{_shown(repository)} is not the name of a repository.")
    tag, digest = _text(target, "tag"), _text(target, "digest")
    if tag and not names.is_tag(tag):
        raise NotUnderstood(f"{_shown(tag)} is not a tag.")
    if digest and not names.is_digest(digest):
        raise NotUnderstood(f"{_shown(digest)} is not a digest.")
    if not digest and notification["action"] != "delete":
        raise NotUnderstood(f"The {notification['action']} has no digest.")
    source_id = _text(notification, "id")
    if not source_id or len(source_id) > MAX_ID_LENGTH or not is_storable(source_id):
        raise NotUnderstood(f"The event has no id of 1 to {MAX_ID_LENGTH} characters.")
    actor = _text(_object(notification, "actor"), "name")
    if len(actor) > MAX_ACTOR_LENGTH or not is_storable(actor):
        raise NotUnderstood(f"{_shown(actor)} is not the name of an actor.")
    return Draft(
        kind="",
        repository_name=repository,
        tag=tag,
        digest=digest,
        actor_type=ActorType.USER if actor else ActorType.ANONYMOUS,
        actor_name=actor,
        occurred_at=read_time(_text(notification, "timestamp")),
        source_id=source_id,
        details=_details(notification, target),
    )


def read_time(text: str) -> datetime:
    """Read an RFC 3339 time in any zone, to the microsecond, as UTC.

    Raises NotUnderstood for what is no time, or none that an event can have.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or not EPOCH <= moment < END:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotUnderstood(f"{_shown(text)} is not a time with a zone, from 1970 to 8999.") from error


def _is_blob(action: Any, target: dict) -> bool:
    """Tell layers and configurations, which are no activity, from manifests and tags."""
    media_type, url = _text(target, "mediaType"), _text(target, "url")
    if media_type in MANIFEST_TYPES or target.get("tag") or "/manifests/" in url:
        return False
    if "/blobs/" in url:
        return True
    # Deletions tell neither: the registry sends none of blobs, unless asked to delete one itself.
    if not media_type and action in ("push", "pull"):
        raise NotUnderstood("The event has no media type, so it can't be told what it is about.")
    return media_type != ""


def _is_head(notification: dict) -> bool:
    return notification.get("action") == "pull" and _object(notification, "request").get("method") == "HEAD"


def _details(notification: dict, target: dict) -> dict[str, Any]:
    request, source = _object(notification, "request"), _object(notification, "source")
    found = {
        "client_address": request.get("addr"),
        "user_agent": request.get("useragent"),
        "media_type": target.get("mediaType"),
        "size": target.get("size"),
        "request_id": request.get("id"),
        "node": source.get("addr"),
        "notification_id": notification.get("id"),
    }
    details = {key: value for key, raw in found.items() if (value := _detail(raw)) not in (None, "")}
    return {**details, "message": notification} if _is_keepable(notification) else details


def _is_keepable(notification: dict) -> bool:
    """Tell whether a message can be kept whole, as evidence: every database takes it, and it isn't large."""
    try:
        text = json.dumps(notification, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return (
        len(text) <= MAX_MESSAGE_LENGTH
        and text.count("{") + text.count("[") <= MAX_NESTED
        and "\\u0000" not in text
        and is_storable(text)
    )


def _detail(value: Any) -> str | int | None:
    """Return a detail as it can be stored; it doesn't decide anything, so it may be mended."""
    if isinstance(value, str):
        return value[:MAX_DETAIL_LENGTH].replace("\0", "�").encode(errors="replace").decode()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    return None


def is_storable(text: str) -> bool:
    """Tell whether every database takes the text: no NUL, no half of a surrogate pair."""
    return not UNSTORABLE.search(text)


def _object(parent: dict, key: str) -> dict:
    """Return a member that should be an object; the protocol leaves out what is empty."""
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NotUnderstood(f'The "{key}" is not an object.')
    return value


def _text(parent: dict, key: str) -> str:
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise NotUnderstood(f'The "{key}" is not a text.')
    return value


def _shown(value: Any) -> str:
    return ascii(value)[:100]
