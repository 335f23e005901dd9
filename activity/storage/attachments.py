"""Find the attachments of images: their signatures, attestations, SBOMs and lists of referrers.

An attachment is a tag whose name contains the digest of another image. It is listed under the tags that point
to that image. If there are none, for example because the image is part of a multi-platform image and has no
tag of its own, the attachment is listed like any other tag.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, When, Window
from django.db.models.functions import RowNumber

from activity.models import Tag
from activity.storage.tags import current_tags
from repositories.models import Repository

MAX_SHOWN = 10
"""The maximum number of attachments to show under one tag."""

NOT_ATTACHED = Q(image="") | Q(image=F("stem"))
"""Selects the tags that are not attachments, in the same way as `names.is_attachment`."""


def listed_tags(repository: Repository, search: str = "") -> QuerySet[Any]:
    """Return the existing tags that aren't listed under other tags.

    A search finds the tags whose name, or the name of one of their attachments, contains the text.
    """
    existing = current_tags(repository)
    images = existing.filter(NOT_ATTACHED, stem=OuterRef("image"))
    listed = existing.filter(NOT_ATTACHED | ~Exists(images))
    if not search:
        return listed
    found = existing.filter(~NOT_ATTACHED, name__icontains=search, image=OuterRef("stem"))
    return listed.filter(Q(name__icontains=search) | NOT_ATTACHED & Exists(found))


def attachments_of(tags: Iterable[Tag], repository: Repository, search: str = "") -> QuerySet[Any]:
    """Return attachments of the images that tags of a repository point to, sorted by name, in one query.

    Returns at most MAX_SHOWN of each image, preferably those whose names contain the searched text. `number`
    is the number of all attachments of the image.
    """
    stems = {tag.stem for tag in tags if not tag.is_attachment}
    found_first = Case(When(name__icontains=search, then=0), default=1)
    attached = current_tags(repository).filter(~NOT_ATTACHED, image__in=stems)
    return (
        attached.annotate(number=Window(Count("*"), partition_by="image"))
        .alias(position=Window(RowNumber(), partition_by="image", order_by=[found_first, "name"]))
        .filter(position__lte=MAX_SHOWN)
        .order_by("name")
    )
