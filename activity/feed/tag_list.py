"""Lists the tags of a repository, each with the attachments and the newest scan of its image."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from activity.gating import sees_pulls, visible_details
from activity.identity import first_id
from activity.models import Event, Tag
from activity.scans import ScanResult
from activity.storage import tags
from activity.storage.attachments import attachments_of, listed_tags
from repositories.access.resolving import Access
from repositories.models import Repository
from repositories.utils.keyset import Key, Keyset

ORDERS = {
    "-pushed": (_("Newest first"), Keyset([Key("last_push", descending=True, type=UUID)])),
    "pushed": (_("Oldest first"), Keyset([Key("last_push", type=UUID)])),
    "name": (_("Name, A to Z"), Keyset([Key("name")])),
    "-name": (_("Name, Z to A"), Keyset([Key("name", descending=True)])),
}
"""The label and the sort order for each value of the `sort` parameter. The first value is the default."""
DEFAULT_ORDER = next(iter(ORDERS))


class Scan(NamedTuple):
    """The newest scan of an image."""

    event: Event
    result: ScanResult

    @property
    def url(self) -> str:
        return self.event.get_absolute_url()

    @property
    def text(self) -> str:
        """What was found, or that the scan failed."""
        found = self.result.summary if self.event.kind == "scan" else ""
        return found or self.event.label


@dataclass
class Row:
    """A tag, and the attachments of the image that it points to."""

    tag: Tag
    attachments: list[Tag] = field(default_factory=list)
    not_shown: int = 0
    """The number of attachments that are not in `attachments`."""
    scan: Scan | None = None
    """The newest scan of the image, if the viewer may see scans."""


@dataclass(frozen=True)
class TagList:
    """The tags of a repository whose names, or those of their attachments, contain a text.

    They can be limited to those that nobody has pushed or pulled for a number of days.
    """

    access: Access
    repository: Repository
    search: str = ""
    not_pulled_for: int | None = None

    @property
    def sees_pulls(self) -> bool:
        """Whether the viewer may see how often tags were pulled, and when."""
        return sees_pulls(self.access, self.repository)

    def tags(self) -> QuerySet:
        """Return the tags, without those that are listed as attachments of others."""
        found = self._with_columns(listed_tags(self.repository, self.search))
        if not self.not_pulled_for or not self.sees_pulls:
            return found
        since = timezone.now() - timedelta(days=self.not_pulled_for)
        unused = Q(last_used_at=None) | Q(last_used_at__lt=since)
        return found.filter(unused, last_push__lt=first_id(since))

    def rows(self, listed: list[Tag]) -> list[Row]:
        """Return rows for some of the tags."""
        attached: dict[str, list[Any]] = {}
        for tag in self._with_columns(attachments_of(listed, self.repository, self.search)):
            attached.setdefault(tag.image, []).append(tag)
        scans = self._newest_scans({tag.digest for tag in listed})
        return [_row(tag, attached, scans.get(tag.digest)) for tag in listed]

    def _newest_scans(self, digests: Collection[str]) -> dict[str, Scan]:
        """Return the newest scan of each image, as far as the viewer may see it."""
        ids = tags.last_scans(self.repository, digests)
        scans = Event.objects.visible_to(self.access, self.repository).filter(pk__in=ids.values())
        found: dict[str, Scan] = {}
        for scan in scans.select_related("repository__namespace"):
            found[scan.digest] = Scan(scan, ScanResult.of(visible_details(scan, self.access)))
        return found

    def _with_columns(self, found: QuerySet) -> QuerySet:
        found = found.select_related("pushed_by_user")
        return tags.with_pulls(found) if self.sees_pulls else found


def _row(tag: Tag, attached: dict[str, list[Any]], scan: Scan | None) -> Row:
    attachments = [] if tag.is_attachment else attached.get(tag.stem, [])
    return Row(tag, attachments, attachments[0].number - len(attachments) if attachments else 0, scan)
