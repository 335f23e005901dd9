"""The catalogue of events."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from activity.api.base import READ, ApiView, document
from activity.catalogue import KINDS, Type, offered_categories
from activity.feed.filters import check_parameters
from activity.gating import visible_categories
from repositories.access.levels import Category
from repositories.models import RegistrySettings


class KindSerializer(serializers.Serializer):
    """A kind of event."""

    kind = serializers.CharField(
        source="key", help_text="The identifier, as in the search `kind:delete_tag`."
    )
    label = serializers.CharField(source="english_label")  # type: ignore[assignment]
    type = serializers.ChoiceField(Type.choices)
    category = serializers.ChoiceField(Category.choices)


class KindListSerializer(serializers.Serializer):
    """The kinds of events."""

    results = KindSerializer(many=True)


class KindListView(ApiView):
    """List the kinds of events that the caller can see."""

    scopes = {"GET": READ}

    @document(responses=KindListSerializer)
    def get(self, request: Request) -> Response:
        """List the kinds of events that the caller can see.

        These are the kinds in the categories of which the caller can see events in at least one repository,
        and those of the caller's own account events.
        """
        check_parameters(request, self)
        scanning = RegistrySettings.get_solo().scanning_enabled
        categories = visible_categories(self.access).intersection(offered_categories(scanning))
        kinds = [kind for kind in KINDS.values() if kind.category in categories]
        return Response(KindListSerializer({"results": kinds}).data)
