"""The Tags tab of a repository."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from activity.gating import visible_details
from activity.identity import first_id
from activity.models import Event, Tag
from activity.scans import ScanResult
from activity.storage import tags
from activity.storage.attachments import attachments_of, listed_tags
from repositories.access.levels import Category
from repositories.forms import DaysField, ListForm, SearchForm
from repositories.utils.keyset import Key, Keyset
from repositories.views.lists import KeysetListView
from repositories.views.pages import RepositoryPage

ORDERS = {
    "-pushed": ("Newest first", Keyset([Key("last_push", descending=True, type=UUID)])),
    "pushed": ("Oldest first", Keyset([Key("last_push", type=UUID)])),
    "name": ("Name, A to Z", Keyset([Key("name")])),
    "-name": ("Name, Z to A", Keyset([Key("name", descending=True)])),
}
"""The label and the sort order for each value of the `sort` parameter. The first value is the default."""


class TagSearchForm(SearchForm):
    """The search form of the Tags tab, with a choice of sort orders."""

    sort = forms.ChoiceField(required=False, choices=[(value, label) for value, (label, _) in ORDERS.items()])


class UsedTagSearchForm(TagSearchForm):
    """The search form for viewers who may see pulls."""

    not_pulled_for = DaysField(label="Not pulled for (days)")


class Scan(NamedTuple):
    """The newest scan of an image."""

    url: str
    words: str
    """What was found, or that the scan failed."""
    result: ScanResult


@dataclass
class Row:
    """A tag, and the attachments of the image that it points to."""

    tag: Tag
    attachments: list[Tag] = field(default_factory=list)
    not_shown: int = 0
    """The number of attachments that are not in `attachments`."""
    scan: Scan | None = None
    """The newest scan of the image, if the viewer may see scans."""


class TagsView(RepositoryPage, KeysetListView):
    """The Tags tab of a repository. Attachments, such as signatures, are shown under the tags of their image.

    Pull counts are shown only to viewers who may see pulls.
    """

    tab = "Tags"
    template_name = "registry_activity/tags.html"
    page_size = 25

    @property
    def search_form(self) -> type[ListForm]:  # type: ignore[override]
        return UsedTagSearchForm if self.sees_pulls else TagSearchForm

    @property
    def keyset(self) -> Keyset:  # type: ignore[override]
        return ORDERS[self.search.values["sort"] or next(iter(ORDERS))][1]

    @property
    def sees_pulls(self) -> bool:
        return Category.PULL.permission in self.permissions

    def get_queryset(self) -> QuerySet:
        found = self.with_columns(listed_tags(self.repository, self.search.values["q"]))
        if days := self.search.values.get("not_pulled_for"):
            since = timezone.now() - timedelta(days=int(days))
            unused = Q(last_used_at=None) | Q(last_used_at__lt=since)
            found = found.filter(unused, last_push__lt=first_id(since))
        return found

    def get_rows(self, rows: list[Tag]) -> list[Row]:
        attached: dict[str, list[Any]] = {}
        for tag in self.with_columns(attachments_of(rows, self.repository, self.search.values["q"])):
            attached.setdefault(tag.image, []).append(tag)
        scans = self.newest_scans({tag.digest for tag in rows})
        return [_row(tag, attached, scans.get(tag.digest)) for tag in rows]

    def newest_scans(self, digests: Collection[str]) -> dict[str, Scan]:
        """Return the newest scan of each image, as far as the viewer may see it."""
        ids = tags.last_scans(self.repository, digests)
        scans = Event.objects.visible_to(self.access, self.repository).filter(pk__in=ids.values())
        found: dict[str, Scan] = {}
        for scan in scans.select_related("repository__namespace"):
            result = ScanResult.of(visible_details(scan, self.access))
            words = result.summary if scan.kind == "scan" else ""
            found[scan.digest] = Scan(scan.get_absolute_url(), words or scan.label, result)
        return found

    def with_columns(self, found: QuerySet) -> QuerySet:
        """Return tags with the columns that the viewer may see."""
        found = found.select_related("pushed_by_user")
        return tags.with_pulls(found) if self.sees_pulls else found

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        events_url = reverse("registry_activity:repository", kwargs=self.kwargs)
        return super().get_context_data(**kwargs, sees_pulls=self.sees_pulls, events_url=events_url)


def _row(tag: Tag, attached: dict[str, list[Any]], scan: Scan | None) -> Row:
    attachments = [] if tag.is_attachment else attached.get(tag.stem, [])
    return Row(tag, attachments, attachments[0].number - len(attachments) if attachments else 0, scan)
