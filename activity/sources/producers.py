"""Receives events from other producers: scanners, mirrors, promotion and pruning jobs, and CI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from rest_framework import serializers

from activity import scans
from activity.catalogue import KINDS, REPOSITORY_KINDS
from activity.identity import END, EPOCH
from activity.models import MANUAL_PROMOTION_NAME, MAX_ACTOR_LENGTH, ActorType, DeadLetter
from activity.recording.drafts import Delivery, Draft
from activity.recording.record import record_events
from activity.sources.dead_letters import store_dead_letters
from activity.storage import positions
from repositories import names
from repositories.access.levels import Category
from repositories.models import RegistrySettings

MAX_EVENTS = 1_000
UNKNOWN_TO_PRODUCERS = (ActorType.ANONYMOUS, ActorType.UNNAMED, ActorType.SYSTEM)
"""The types of actors that producers can't send."""
SCANNING_DISABLED = "Security scanning is disabled in the registry settings."


class TextField(serializers.CharField):
    """A text. REST framework's own field also takes numbers."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ActorSerializer(serializers.Serializer):
    """The actor of an event: a user by name, a policy by type and ID, or a manual promotion."""

    type = serializers.ChoiceField(
        [choice for choice in ActorType.choices if choice[0] not in UNKNOWN_TO_PRODUCERS]
    )
    id = TextField(
        max_length=MAX_ACTOR_LENGTH,
        required=False,
        help_text="A username, or the ID of a policy. Ignored for a manual promotion.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["type"] == ActorType.MANUAL_PROMOTION:
            return {"type": ActorType.MANUAL_PROMOTION, "id": MANUAL_PROMOTION_NAME}
        if "id" not in attrs:
            raise serializers.ValidationError({"id": _("A username or policy ID is required.")})
        return attrs


class ProducedEventSerializer(serializers.Serializer):
    """An event sent by a producer."""

    id = TextField(
        max_length=255,
        help_text="The producer's own ID for the event. An event that is sent again is recorded only once.",
    )
    kind = serializers.ChoiceField([(kind.key, kind.english_label) for kind in REPOSITORY_KINDS.values()])
    repository = TextField(max_length=names.MAX_NAME_LENGTH)
    tag = TextField(max_length=names.MAX_TAG_LENGTH, default="", allow_blank=True)
    digest = TextField(max_length=names.MAX_DIGEST_LENGTH, default="", allow_blank=True)
    actor = ActorSerializer(required=False, help_text="By default, the account that sends the event.")
    occurred_at = serializers.DateTimeField(default_timezone=UTC)
    details = serializers.DictField(
        child=serializers.CharField(max_length=1024, allow_blank=True), default=dict
    )

    def validate_repository(self, value: str) -> str:
        if not names.is_name(value):
            raise serializers.ValidationError(_("This is not a valid repository name."))
        return value

    def validate_tag(self, value: str) -> str:
        if value and not names.is_tag(value):
            raise serializers.ValidationError(_("This is not a valid tag."))
        return value

    def validate_digest(self, value: str) -> str:
        if value and not names.is_digest(value):
            raise serializers.ValidationError(_("This is not a valid digest."))
        return value

    def validate_occurred_at(self, value: datetime) -> datetime:
        if not EPOCH <= value < END:
            raise serializers.ValidationError(_("The year must be between 1970 and 8999."))
        return value.astimezone(UTC)

    def validate_details(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > 20 or any(len(key) > 50 or not key.isidentifier() for key in value):
            raise serializers.ValidationError(
                _("At most 20 details are allowed. Their names must be identifiers of up to 50 characters.")
            )
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kind = KINDS[attrs["kind"]]
        if kind.category == Category.SCAN and (wrong := scans.wrong_details(attrs["details"])):
            raise serializers.ValidationError({"details": wrong})
        if missing := [field for field in kind.requires if not attrs[field]]:
            raise serializers.ValidationError(
                dict.fromkeys(missing, _("This field is required for %(kind)s.") % {"kind": kind.label})
            )
        return attrs

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Add the original data as `sent`, in case the event has to be stored as a dead letter."""
        return {**super().to_internal_value(data), "sent": data}


def validate_each(items: Sequence[Any]) -> list[dict[str, Any] | serializers.ValidationError]:
    """Return for each item either the validated event, or the error that says what is wrong with it."""
    serializer, results = ProducedEventSerializer(), []
    for item in items:
        try:
            results.append(serializer.run_validation(item))
        except serializers.ValidationError as error:
            results.append(error)
    return results


@transaction.atomic
def receive(events: Sequence[dict[str, Any]], account: Any, token_key: str = "") -> list[dict[str, Any]]:
    """Record all validated events or none, and return one result per event, in the same order.

    `account` and `token_key` identify who delivers the events; see `Delivery`. While scanning is
    disabled, scan events are stored as dead letters.
    """
    positions.lock()  # before any row is locked, so that this can't deadlock with the recorder
    scanning = RegistrySettings.get_solo().scanning_enabled
    kinds = {key for key, kind in KINDS.items() if scanning or kind.category != Category.SCAN}
    delivery = Delivery(account.pk, token_key)
    drafts = [_draft(event, account, delivery) for event in events if event["kind"] in kinds]
    ids = iter(record_events(drafts))
    rejected = [json.dumps(event["sent"]).encode() for event in events if event["kind"] not in kinds]
    reason = SCANNING_DISABLED
    if rejected:
        store_dead_letters([(sent, reason) for sent in rejected], DeadLetter.Source.PRODUCER, delivery)
    return [
        {"id": next(ids), "dead_letter": None}
        if event["kind"] in kinds
        else {"id": None, "dead_letter": reason}
        for event in events
    ]


def _draft(event: dict[str, Any], account: Any, delivery: Delivery) -> Draft:
    actor = event.get("actor") or {"type": ActorType.USER, "id": account.get_username()}
    return Draft(
        kind=event["kind"],
        repository_name=event["repository"],
        tag=event["tag"],
        digest=event["digest"],
        actor_type=actor["type"],
        actor_name=actor["id"],
        occurred_at=event["occurred_at"],
        source_id=event["id"],
        details={**event["details"], "source_id": event["id"]},
        delivery=delivery,
    )
