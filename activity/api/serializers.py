"""Serializers for events, repositories, and the responses to registries and other producers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from activity.catalogue import UNKNOWN, Type
from activity.gating import sees_delivery, visible_details
from activity.models import ActorType, Event
from repositories.access.levels import ALL_PERMISSIONS, Category
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
        help_text="The ID of the actor's account, which tells apart accounts that have had the same name.",
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
class CategoryField(serializers.CharField):
    """The category of an event."""


class EventSerializer(SparseSerializer, serializers.ModelSerializer):
    """An event."""

    # The context must contain `request` and the caller's `access`.

    type = TypeField()
    label = serializers.CharField(source="english_label")  # type: ignore[assignment]
    subject = serializers.CharField(
        help_text="Who or what an access, account or system event is about, otherwise empty."
    )
    repository = serializers.CharField(source="repository_name")
    tag = serializers.SerializerMethodField(
        help_text="The tag with its repository, for example `acme/web:v1`."
    )
    actor = serializers.SerializerMethodField()
    details = serializers.SerializerMethodField()
    policy_url = serializers.SerializerMethodField(
        help_text="The URL of the policy that is the actor or subject of the event, if you can open its page."
    )

    pull = serializers.UUIDField(
        read_only=True,
        allow_null=True,
        help_text=(
            "The ID of the pull that this event is a part of: after a client has got an index, it gets the"
            " manifest of its platform. Null for other events."
        ),
    )

    category = CategoryField(read_only=True)
    disputed = serializers.BooleanField(
        source="is_disputed",
        read_only=True,
        help_text="Whether an MSR admin has disputed what the event's account or token delivered.",
    )
    delivered_by = serializers.SerializerMethodField(
        help_text="The account that delivered the event, if it is yours, or you see all events."
    )
    delivered_with = serializers.SerializerMethodField(
        help_text="The first digits of the access token that delivered the event, if you may see them."
    )

    class Meta:
        model = Event
        fields = [
            "id",
            "label",
            "type",
            "category",
            "subject",
            "repository",
            "tag",
            "digest",
            "pull",
            "actor",
            "policy_url",
            "occurred_at",
            "received_at",
            "delivered_by",
            "delivered_with",
            "disputed",
            "details",
        ]

    def get_tag(self, event: Event) -> str:
        return event.reference if event.tag else ""

    @extend_schema_field(ActorField)
    def get_actor(self, event: Event) -> dict[str, Any]:
        url = self._absolute(event.actor_url(self.context["access"]))
        return {
            "type": event.actor_type,
            "id": event.actor_name,
            "label": event.actor_label,
            "url": url,
            "account": event.actor_user_id,
        }

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_details(self, event: Event) -> Any:
        return visible_details(event, self.context["access"])

    def get_delivered_by(self, event: Event) -> str | None:
        return event.delivery_account if sees_delivery(self.context["access"], event) else None

    def get_delivered_with(self, event: Event) -> str | None:
        return event.delivery_token if sees_delivery(self.context["access"], event) else None

    def get_policy_url(self, event: Event) -> str | None:
        return self._absolute(event.policy_url(self.context["access"]))

    def _absolute(self, url: str) -> str | None:
        return self.context["request"].build_absolute_uri(url) if url else None


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
