"""Serializers for events, repositories, and the responses to registries and other producers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from activity.catalogue import UNKNOWN, Type
from activity.feed.links import actor_url, policy_url
from activity.gating import sees_delivery, visible_details
from activity.models import ActorType, Event
from repositories.access.levels import ALL_PERMISSIONS, Category
from repositories.access.resolving import Access
from repositories.models import Repository

UNKNOWN_KINDS = "Events of kinds that aren't in the catalogue have {} instead."


class SparseSerializer(serializers.Serializer):
    """Serializes only those fields that the caller has asked for."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        wanted = self.context.get("fields")
        return fields if wanted is None else {name: fields[name] for name in fields if name in wanted}


class ActorField(serializers.Serializer):
    """The actor of an event."""

    type = serializers.ChoiceField(ActorType.choices)
    id = serializers.CharField(help_text="A username, or the ID of a policy.")
    label = serializers.CharField()  # type: ignore[assignment]
    url = serializers.URLField(allow_null=True, help_text="The URL of the actor's page, if you can open it.")
    account = serializers.IntegerField(
        allow_null=True,
        help_text="The ID of the actor's account. Accounts that had the same name have different IDs.",
    )


@extend_schema_field(
    {
        "type": "string",
        "anyOf": [{"enum": Type.values}, {"enum": [""]}],
        "description": UNKNOWN_KINDS.format("empty"),
    }
)
class TypeField(serializers.CharField):
    """The type of an event."""


@extend_schema_field(
    {
        "type": "string",
        "enum": [*Category.values, UNKNOWN],
        "description": UNKNOWN_KINDS.format(f"`{UNKNOWN}`"),
    }
)
class CategoryNameField(serializers.CharField):
    """The category of an event."""


@extend_schema_field({"type": "object", "additionalProperties": True})
class DetailsField(serializers.DictField):
    """The details of an event."""


@dataclass(frozen=True)
class Caller:
    """The caller who gets the events."""

    access: Access
    site: str
    """The URL of the site as the caller knows it, without the slash at its end."""

    def absolute(self, url: str) -> str | None:
        return f"{self.site}{url}" if url else None

    def actor(self, event: Event) -> dict[str, Any]:
        return {
            "type": event.actor_type,
            "id": event.actor_name,
            "label": event.actor_label,
            "url": self.absolute(actor_url(event, self.access)),
            "account": event.actor_user_id,
        }


def _iso_time(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat().replace("+00:00", "Z")


VALUES: dict[str, Callable[[Event, Caller], Any]] = {
    "position": lambda event, _: event.position,
    "id": lambda event, _: str(event.pk),
    "label": lambda event, _: event.english_label,
    "type": lambda event, _: event.type,
    "category": lambda event, _: event.category,
    "subject": lambda event, _: event.subject,
    "repository": lambda event, _: event.repository_name,
    "tag": lambda event, _: event.reference if event.tag else "",
    "digest": lambda event, _: event.digest,
    "pull": lambda event, _: event.pull and str(event.pull),
    "actor": lambda event, caller: caller.actor(event),
    "policy_url": lambda event, caller: caller.absolute(policy_url(event, caller.access)),
    "occurred_at": lambda event, _: _iso_time(event.occurred_at),
    "received_at": lambda event, _: _iso_time(event.received_at),
    "delivered_by": lambda event, caller: (
        event.delivery_account if sees_delivery(caller.access, event) else None
    ),
    "delivered_with": lambda event, caller: (
        event.delivery_token if sees_delivery(caller.access, event) else None
    ),
    "disputed": lambda event, _: event.is_disputed,
    "details": lambda event, caller: visible_details(event, caller.access),
}
"""The values of an event's fields in the order in which they are returned.

REST framework would compute them with objects of its own, which takes several times as much CPU as all else
that is done for an event.
"""


class EventSerializer(SparseSerializer, serializers.ModelSerializer):
    """An event."""

    # The fields are for the OpenAPI schema. Their values come from `VALUES`. The context must contain
    # `request` and the caller's `access`.

    type = TypeField()
    label = serializers.CharField()  # type: ignore[assignment]
    subject = serializers.CharField(
        help_text="Who or what an access, account or system event is about, otherwise empty."
    )
    repository = serializers.CharField()
    tag = serializers.CharField(
        read_only=True, help_text="The tag with its repository, for example `acme/web:v1`."
    )
    actor = ActorField(read_only=True)
    details = DetailsField(read_only=True)
    policy_url = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text=(
            "The URL of the policy that is the actor or subject of the event, if you can open its page."
        ),
    )

    pull = serializers.UUIDField(
        read_only=True,
        allow_null=True,
        help_text=(
            "The ID of the pull that this event is a part of: after a client has got an index, it gets the"
            " manifest of its platform. Null for other events."
        ),
    )

    category = CategoryNameField(read_only=True)
    disputed = serializers.BooleanField(
        read_only=True,
        help_text="Whether an MSR admin has disputed what the event's account or token delivered.",
    )
    delivered_by = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text="The account that delivered the event, if it is yours, or you see all events.",
    )
    delivered_with = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text="The first digits of the access token that delivered the event, if you may see them.",
    )

    class Meta:
        model = Event
        fields = [name for name in VALUES if name != "position"]

    def to_representation(self, event: Event) -> dict[str, Any]:
        return {name: value(event, self.caller) for name, value in self.values.items()}

    @cached_property
    def values(self) -> dict[str, Callable[[Event, Caller], Any]]:
        """What returns the values of the fields that the caller has asked for."""
        wanted = self.context.get("fields")
        return {name: VALUES[name] for name in self.Meta.fields if wanted is None or name in wanted}

    @cached_property
    def caller(self) -> Caller:
        return Caller(self.context["access"], self.context["request"].build_absolute_uri("/").rstrip("/"))


class RepositorySerializer(SparseSerializer, serializers.ModelSerializer):
    """A repository, with the caller's permissions on it."""

    name = serializers.CharField(source="full_name")
    namespace = serializers.CharField(source="namespace.name")
    visibility = serializers.ChoiceField(Repository.Visibility.choices, allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    permissions = serializers.SerializerMethodField()

    def to_representation(self, repository: Repository) -> dict[str, Any]:
        """Hide the visibility and creation time from callers who can see only some categories of events."""
        shown = super().to_representation(repository)
        access = self.context["access"]
        if "pull" not in access.permissions_on(repository) and not access.sees_everything:
            shown.update(dict.fromkeys(shown.keys() & {"visibility", "created_at"}))
        return shown

    class Meta:
        model = Repository
        fields = ["name", "namespace", "visibility", "permissions", "created_at"]

    @extend_schema_field({"type": "array", "items": {"type": "string", "enum": sorted(ALL_PERMISSIONS)}})
    def get_permissions(self, repository: Repository) -> list[str]:
        return sorted(self.context["access"].permissions_on(repository))


class ResultSerializer(serializers.Serializer):
    """The result for one event sent by a producer."""

    id = serializers.UUIDField(
        allow_null=True, help_text="The ID of the recorded event, or null if it was stored as a dead letter."
    )
    dead_letter = serializers.CharField(
        allow_null=True, help_text="Why the event was stored as a dead letter, or null if it was recorded."
    )


@extend_schema_field({"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Error"}})
class ErrorsField(serializers.JSONField):
    """What is wrong with an event, as in a problem."""


class ListedResultSerializer(ResultSerializer):
    """The result for one event of a list."""

    status = serializers.IntegerField(
        help_text="The status that the event would have been answered with by itself: 201, 400 or 403."
    )
    errors = ErrorsField(  # type: ignore[assignment]
        allow_null=True, help_text="What is wrong with the event, or null if it was accepted."
    )


class ReceiptSerializer(serializers.Serializer):
    """The result for one message sent by a registry. All values are null while the message waits."""

    events = serializers.IntegerField(
        allow_null=True, help_text="The number of events, including events that were already recorded."
    )
    dead_letters = serializers.IntegerField(allow_null=True, help_text="The number of dead letters stored.")
