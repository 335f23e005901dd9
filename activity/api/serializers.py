"""How events and repositories look in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from activity.gating import details_of
from activity.models import ActorType, Event
from repositories.models import Repository


class ActorField(serializers.Serializer):
    """Who or what did it."""

    type = serializers.ChoiceField(ActorType.choices)
    id = serializers.CharField(help_text="The user's name, or the policy's id.")
    label = serializers.CharField()  # type: ignore[assignment]
    url = serializers.URLField(allow_null=True, help_text="Their page, if you may open it.")


class EventSerializer(serializers.ModelSerializer):
    """An event. The context brings the viewer's `access` beside the request."""

    type = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    repository = serializers.CharField(source="repository_name")
    tag = serializers.SerializerMethodField(help_text="With the repository, such as `acme/web:v1`.")
    actor = serializers.SerializerMethodField()
    details = serializers.SerializerMethodField()
    policy_url = serializers.SerializerMethodField(
        help_text="The page of the policy that did it, or to which it was done, if you may open it."
    )

    class Meta:
        model = Event
        fields = [
            "id",
            "label",
            "type",
            "category",
            "repository",
            "tag",
            "digest",
            "actor",
            "policy_url",
            "occurred_at",
            "received_at",
            "details",
        ]

    def get_tag(self, event: Event) -> str:
        return event.reference if event.tag else ""

    @extend_schema_field(ActorField)
    def get_actor(self, event: Event) -> dict[str, Any]:
        url = event.actor_url(self.context["access"])
        return {
            "type": event.actor_type,
            "id": event.actor_name,
            "label": event.actor_label,
            "url": self._absolute(url),
        }

    @extend_schema_field({"type": "object", "additionalProperties": {}})
    def get_details(self, event: Event) -> Any:
        return details_of(event, self.context["access"])

    def get_policy_url(self, event: Event) -> str | None:
        return self._absolute(event.policy_url(self.context["access"]))

    def _absolute(self, url: str) -> str | None:
        return self.context["request"].build_absolute_uri(url) if url else None


class RepositorySerializer(serializers.ModelSerializer):
    """A repository, with what the caller may do in it."""

    name = serializers.CharField(source="full_name")
    namespace = serializers.CharField(source="namespace.name")
    visibility = serializers.ChoiceField(Repository.Visibility.choices, allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    permissions = serializers.SerializerMethodField()

    def to_representation(self, repository: Repository) -> dict[str, Any]:
        """Leave out what isn't for those who may see events of some category alone."""
        shown = super().to_representation(repository)
        if "pull" not in shown["permissions"] and not self.context["access"].sees_everything:
            shown.update(visibility=None, created_at=None)
        return shown

    class Meta:
        model = Repository
        fields = ["name", "namespace", "visibility", "permissions", "created_at"]

    def get_permissions(self, repository: Repository) -> list[str]:
        return sorted(self.context["access"].permissions_on(repository))


class OutcomeSerializer(serializers.Serializer):
    """What became of an event that a producer sent."""

    id = serializers.UUIDField(allow_null=True)
    stored_aside = serializers.CharField(
        allow_null=True, help_text="Why it couldn't be recorded, if it couldn't."
    )


class ReceiptSerializer(serializers.Serializer):
    """What became of a registry's notification."""

    events = serializers.IntegerField()
    stored_aside = serializers.IntegerField()
