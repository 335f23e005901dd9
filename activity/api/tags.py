"""The tags of a repository, as on its Tags tab."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.urls import reverse
from django.utils import translation
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.generics import ListAPIView

from activity.api import not_pulled_for
from activity.api.base import READ, ApiView, document
from activity.api.pagination import TagPagination
from activity.api.serializers import ActorField, SparseSerializer
from activity.feed.filters import NoFilters
from activity.feed.tag_list import Scan, TagList
from activity.models import Tag
from repositories import names
from repositories.access.levels import READ_PERMISSIONS
from repositories.access.resolving import repository_or_404
from repositories.utils.text import untranslated


class AttachedTagSerializer(serializers.Serializer):
    """A tag that is listed under the image that it belongs to, such as a signature."""

    name = serializers.CharField()
    digest = serializers.CharField(help_text="The digest of the manifest, or empty if it is unknown.")
    attachment = serializers.SerializerMethodField(
        help_text="What the tag is for another image, such as `Signature`, or empty."
    )
    pushed_at = serializers.DateTimeField()
    pushed_by = serializers.SerializerMethodField()
    pulls = serializers.IntegerField(
        source="total_pulls",
        default=None,
        allow_null=True,
        help_text="The number of recorded pulls. It and the next two fields are null if you can't see pulls.",
    )
    last_pulled_at = serializers.DateTimeField(default=None, allow_null=True)
    last_requested_at = serializers.DateTimeField(
        source="last_used_at",
        default=None,
        allow_null=True,
        help_text="When a client last pulled the tag, or asked whether its image is the newest one.",
    )

    def get_attachment(self, tag: Tag) -> str:
        return untranslated(tag.attachment_kind) if tag.is_attachment else ""

    @extend_schema_field(ActorField)
    def get_pushed_by(self, tag: Tag) -> dict[str, Any]:
        user = tag.pushed_by_user
        url = reverse("registry_activity:user", args=[user.get_username()]) if user else ""
        return {
            "type": tag.pushed_by_type,
            "id": tag.pushed_by_name,
            "label": tag.pushed_by,
            "account": tag.pushed_by_user_id,
            "url": self.context["request"].build_absolute_uri(url) if url else None,
        }


class ScanSerializer(serializers.Serializer):
    """The newest scan of an image."""

    summary = serializers.SerializerMethodField(help_text="What was found, or that the scan failed.")
    counts = serializers.DictField(
        source="result.counts",
        child=serializers.IntegerField(),
        help_text="The number of vulnerabilities of each severity, if the scanner has sent it.",
    )
    scanner = serializers.CharField(source="result.scanner", help_text="Empty if it is unknown.")
    report = serializers.CharField(source="result.report", help_text="The URL of the report, or empty.")
    url = serializers.SerializerMethodField(help_text="The URL of the event's page.")

    def get_summary(self, scan: Scan) -> str:
        with translation.override(None):  # data are in English
            return scan.text

    def get_url(self, scan: Scan) -> str:
        return self.context["request"].build_absolute_uri(scan.url)


class TagSerializer(SparseSerializer, AttachedTagSerializer):
    """A tag, with the attachments of its image."""

    scan = ScanSerializer(allow_null=True, help_text="Null if there is none that you can see.")
    attachments = AttachedTagSerializer(many=True)
    attachments_not_shown = serializers.IntegerField(help_text="The number of further attachments.")


@extend_schema_view(get=document(parameters=[not_pulled_for.PARAMETER]))
class TagListView(ApiView, ListAPIView):
    """List the tags of a repository."""

    scopes = {"GET": READ}
    queryset = Tag.objects.none()  # for the OpenAPI schema, which needs the model
    serializer_class = TagSerializer
    pagination_class = TagPagination
    filter_backends = [NoFilters]

    @property
    def parameters(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"search", *({not_pulled_for.NAME} if self.listed.sees_pulls else ())})

    @cached_property
    def listed(self) -> TagList:
        repository = repository_or_404(self.access, **self.kwargs)
        if not READ_PERMISSIONS & self.access.permissions_on(repository):
            raise Http404
        text = serializers.CharField(allow_blank=True, max_length=names.MAX_NAME_LENGTH)
        search = self.read_parameter("search", text) or ""
        return TagList(self.access, repository, search, not_pulled_for.read(self))

    def get_queryset(self) -> QuerySet:
        return self.listed.tags()

    def paginate_queryset(self, queryset: Any) -> Any:
        tags: Any = super().paginate_queryset(queryset)
        for row in self.listed.rows(tags):
            attached = {"attachments": row.attachments, "attachments_not_shown": row.not_shown}
            vars(row.tag).update(attached, scan=row.scan)
        return tags
