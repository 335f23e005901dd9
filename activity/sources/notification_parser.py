"""Parses notifications from a CNCF Distribution registry into drafts of events.

The parser is stateless, so a notification always yields the same drafts, no matter when or how often it is
delivered. Protocol: https://distribution.github.io/distribution/about/notifications/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from activity.identity import END, EPOCH
from activity.models import MAX_ACTOR_LENGTH, ActorType
from activity.models.messages import to_json
from activity.recording.drafts import Delivery, Draft
from activity.sources.credentials import may_contain_credentials, remove_credentials
from activity.sources.manifest_requests import Request
from activity.sources.media_types import BLOB_TYPES, INDEX_TYPES, MANIFEST_TYPES, normalize
from activity.sources.nodes import MAX_NODE_LENGTH, Sighting
from repositories import names
from repositories.utils.addresses import parse_address
from repositories.utils.text import is_storable, storable_text

ACTIONS = ("push", "pull", "delete", "mount")
MAX_ID_LENGTH = 255
MAX_DETAIL_LENGTH = 1024
MAX_REJECTED = 100
"""The number of invalid notifications per message that become dead letters of their own.

Registries send one notification per message.
"""
UNKNOWN_USER_TYPE = "account"
MAX_REFERENCES = 500
"""The number of references of an index to use. An index has one reference for each of its platforms."""
MAX_MESSAGE_LENGTH = 4000
"""Notifications up to this length, in bytes of JSON without references, are stored whole.

Most notifications are 600 to 900 characters long.
"""
MAX_CONTAINERS = 50
"""Notifications with up to this many objects and lists are stored whole.

A typical notification contains five.
"""
LONG_NUMBER = b"0" * 17
ALL_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")


class InvalidNotification(Exception):
    """A message or notification that can't be parsed. The exception's text is the reason."""


@dataclass
class ParsedMessage:
    """The result of parsing a message."""

    delivery: Delivery
    drafts: list[Draft] = field(default_factory=list)
    """Pushes and deletions."""
    requests: list[Request] = field(default_factory=list)
    """HEAD and GET requests for manifests."""
    rejected: list[tuple[bytes, str]] = field(default_factory=list)
    """The invalid parts, each as a separate message, with the reason why it is invalid."""
    sightings: list[Sighting] = field(default_factory=list)
    """The registry nodes that sent the notifications."""


def sightings_of_layers(body: bytes) -> list[Sighting] | None:
    """Return which nodes sent a message that is only about layers, so that none of it is recorded.

    Return None for any other message. Most messages are about layers, so this function does as little as
    possible. If it returns None for a message about layers, too, the recorder finds nothing to record.
    """
    if b"/manifests/" in body:
        return None
    try:
        sightings = []
        for notification in _parse_envelope(body):
            if not isinstance(notification, dict) or notification.get("action") not in ACTIONS:
                return None
            if not _Target(_get_object(notification, "target")).is_blob(notification["action"]):
                return None
            sightings.append(_sighting(notification))
    except InvalidNotification:
        return None
    return [sighting for sighting in sightings if sighting]


def parse(body: bytes, delivery: Delivery) -> ParsedMessage:
    """Parse a message. An invalid notification doesn't prevent the rest of the message from being parsed."""
    parsed = ParsedMessage(delivery)
    try:
        notifications = _parse_envelope(body)
    except InvalidNotification as error:
        parsed.rejected.append((body, str(error)))
        return parsed
    others = []
    if may_contain_credentials(body):
        # Credentials must not get into the reasons of dead letters either.
        notifications = [remove_credentials(notification) for notification in notifications]
    for notification in notifications:
        try:
            _parse_notification(notification, parsed)
        except InvalidNotification as error:
            if len(parsed.rejected) < MAX_REJECTED:
                parsed.rejected.append((_envelope(notification), str(error)))
            else:
                others.append(notification)
    if others:
        reason = f"{len(others)} events of a message in which {MAX_REJECTED} other events are also invalid."
        parsed.rejected.append((_envelope(*others), reason))
    return parsed


def _envelope(*notifications: Any) -> bytes:
    return json.dumps({"events": notifications}).encode()


def _parse_envelope(body: bytes) -> list[Any]:
    if not body.strip():
        raise InvalidNotification("The message is empty.")
    try:
        envelope = _load(body)
    except (ValueError, RecursionError) as error:
        raise InvalidNotification(f"The message is not JSON: {error}") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("events"), list):
        raise InvalidNotification('The message has no list of "events".')
    return envelope["events"]


def _load(body: bytes) -> Any:
    """Parse JSON. orjson takes a third of the time of the standard library.

    But it rounds long numbers, and refuses, for example, UTF-16, NaN and unpaired surrogates.
    """
    if LONG_NUMBER not in body.translate(ALL_DIGITS_AS_ZERO):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(body)
    return json.loads(body)


def _parse_notification(notification: Any, parsed: ParsedMessage) -> None:
    if not isinstance(notification, dict):
        raise InvalidNotification("The event is not an object.")
    action = notification.get("action")
    if action not in ACTIONS:
        raise InvalidNotification(f"Unknown action {_quote(action)}.")
    target = _Target(_get_object(notification, "target"))
    if sighting := _sighting(notification):
        parsed.sightings.append(sighting)
    if target.is_blob(action):
        return
    if action == "mount":
        raise InvalidNotification("Only layers can be mounted, but the target is a manifest.")
    draft = _draft(notification, target, parsed.delivery)
    if action == "pull":
        parsed.requests.append(_request(notification, target, draft))
    else:
        parsed.drafts += _pushes(draft) if action == "push" else [_deletion(draft, target)]


def _pushes(draft: Draft) -> Iterator[Draft]:
    yield draft.changed(kind="create_manifest", tag="")
    if draft.tag:
        yield draft.changed(kind="update_tag", ordinal=2)


def _deletion(draft: Draft, target: _Target) -> Draft:
    if draft.tag:
        return draft.changed(kind="delete_tag")
    if draft.digest:
        return draft.changed(kind="delete_manifest")
    if target.media_type or target.endpoint:
        raise InvalidNotification("The deletion of a manifest has no digest.")
    return draft.changed(kind="delete_repository")


def _request(notification: dict, target: _Target, draft: Draft) -> Request:
    request = _get_object(notification, "request")
    return Request(
        draft=draft.changed(kind="get_tag" if draft.tag else "get_manifest"),
        is_head=request.get("method") == "HEAD",
        is_index=target.media_type in INDEX_TYPES,
        references=target.manifest_references(),
        request_id=str(_storable_detail(request.get("id")) or ""),
    )


class _Target:
    """The target of a notification: a manifest, a tag, a repository, or a blob."""

    def __init__(self, target: dict) -> None:
        self.target = target
        self.media_type = normalize(_get_string(target, "mediaType"))
        # The URL ends in `/manifests/<tag or digest>` or `/blobs/<digest>`. A component of the repository's
        # name can be `manifests` or `blobs`, too.
        *_, endpoint, last = ["", "", *_path(_get_string(target, "url")).split("/")]
        self.endpoint = endpoint if endpoint in ("manifests", "blobs") else ""
        self.repository = _get_string(target, "repository")
        self.digest = _get_string(target, "digest")
        # Registry 2.0 sends the tag only as a part of the URL.
        by_url = self.endpoint == "manifests" and not names.is_digest(last) and names.is_tag(last)
        self.tag = _get_string(target, "tag") or (last if by_url else "")

    def is_blob(self, action: str) -> bool:
        """Return whether the target is a blob, that is, a layer or a configuration. Blobs aren't recorded.

        Raises InvalidNotification if the kind of target can't be determined.
        """
        if self.endpoint:
            return self.endpoint == "blobs"
        if self.tag or self.media_type in MANIFEST_TYPES:
            return False
        if self.media_type in BLOB_TYPES:
            return True
        # Notifications of deletions usually have neither a media type nor a URL. They are about manifests,
        # unless a client deleted a blob directly, which looks the same.
        if action == "delete":
            return False
        raise InvalidNotification(
            f"The event has no tag and no URL, and its media type {_quote(self.media_type)} is neither a"
            " manifest's nor a layer's."
            if self.media_type
            else "The event has no media type, so its target is unknown."
        )

    def manifest_references(self) -> tuple[str, ...]:
        """Return the digests of the manifests that an index refers to, if the registry sends them."""
        references = self.target.get("references")
        if self.media_type not in INDEX_TYPES or not isinstance(references, list):
            return ()
        digests = (
            reference.get("digest")
            for reference in references[:MAX_REFERENCES]
            if isinstance(reference, dict)
        )
        return tuple(digest for digest in digests if isinstance(digest, str) and names.is_digest(digest))


def _path(url: str) -> str:
    try:
        return unquote(urlsplit(url).path)
    except ValueError:
        return ""


def _draft(notification: dict, target: _Target, delivery: Delivery) -> Draft:
    """Return the draft that all events from a notification are based on. The draft has no kind yet."""
    if not names.is_name(target.repository):
        raise InvalidNotification(f"{_quote(target.repository)} is not a valid repository name.")
    if target.tag and not names.is_tag(target.tag):
        raise InvalidNotification(f"{_quote(target.tag)} is not a valid tag.")
    if target.digest and not names.is_digest(target.digest):
        raise InvalidNotification(f"{_quote(target.digest)} is not a valid digest.")
    if not target.digest and notification["action"] != "delete":
        raise InvalidNotification(f"The {notification['action']} has no digest.")
    source_id = _get_string(notification, "id")
    if not source_id or len(source_id) > MAX_ID_LENGTH or not is_storable(source_id):
        raise InvalidNotification(
            f"The event has no valid id. An id must be 1 to {MAX_ID_LENGTH} characters long."
        )
    actor_type, actor_name = _actor(_get_object(notification, "actor"))
    return Draft(
        kind="",
        repository_name=target.repository,
        tag=target.tag,
        digest=target.digest,
        actor_type=actor_type,
        actor_name=actor_name,
        occurred_at=parse_time(_get_string(notification, "timestamp")),
        source_id=source_id,
        details=_details(notification),
        delivery=delivery,
    )


def _actor(actor: dict) -> tuple[ActorType, str]:
    """Return the type and name of the actor.

    An actor without a name is anonymous, unless the registry says what it is. For example, GitLab's deploy
    tokens have a `user_type`, but no name.
    """
    name = _get_string(actor, "name")
    if len(name) > MAX_ACTOR_LENGTH or not is_storable(name):
        raise InvalidNotification(f"{_quote(name)} is not a valid actor name.")
    if name:
        return ActorType.USER, name
    if not any(actor.values()):
        return ActorType.ANONYMOUS, ""
    user_type = actor.get("user_type")
    name = user_type if isinstance(user_type, str) and user_type else UNKNOWN_USER_TYPE
    return ActorType.UNNAMED, storable_text(name, MAX_ACTOR_LENGTH)


def _sighting(notification: dict) -> Sighting | None:
    """Return which node sent a notification, or None if the notification doesn't say."""
    try:
        source = _get_object(notification, "source")
        instance_id, node = _get_string(source, "instanceID"), _get_string(source, "addr")
        moment = parse_time(_get_string(notification, "timestamp"))
    except InvalidNotification:
        return None
    if not instance_id or len(instance_id) > MAX_ID_LENGTH or not is_storable(instance_id):
        return None
    return Sighting(instance_id, storable_text(node, MAX_NODE_LENGTH), moment)


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


def _details(notification: dict) -> dict[str, Any]:
    notification = _without_references(notification)
    request, source = _get_object(notification, "request"), _get_object(notification, "source")
    target = _get_object(notification, "target")
    found = {
        **_client(request.get("addr")),
        "user_agent": request.get("useragent"),
        "media_type": target.get("mediaType"),
        "size": target.get("size", target.get("length")),  # Registry 2.0 sends only the length
        "request_id": request.get("id"),
        "node": source.get("addr"),
        "notification_id": notification.get("id"),
    }
    details = {key: value for key, raw in found.items() if (value := _storable_detail(raw)) not in (None, "")}
    return {**details, "message": notification} if _can_store_whole(notification) else details


def _client(text: Any) -> dict[str, Any]:
    """Return the client's address in canonical form, and the original text if its form was different."""
    if not isinstance(text, str):
        return {}
    address = parse_address(text)
    details = {"client_address": address.host, "client_port": address.port}
    return details if str(address) == text else {**details, "client_address_sent": text}


def _without_references(notification: dict) -> dict:
    """Return the notification without the target's references, which can be longer than all the rest."""
    target = _get_object(notification, "target")
    if "references" not in target:
        return notification
    return {**notification, "target": {key: value for key, value in target.items() if key != "references"}}


def _can_store_whole(notification: dict) -> bool:
    """Return whether a notification is small enough to store whole, and can be stored in every database."""
    try:
        text = to_json(notification)
    except (ValueError, RecursionError):
        return False
    return (
        len(text) <= MAX_MESSAGE_LENGTH
        and text.count(b"{") + text.count(b"[") <= MAX_CONTAINERS
        and b"\\u0000" not in text
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
