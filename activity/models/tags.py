"""The tags of repositories, derived from events."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Left
from django.utils.functional import Promise

from activity.identity import moment_of
from activity.models.actors import MAX_ACTOR_LENGTH, ActorType, label_of_actor
from repositories import names
from repositories.models import Repository
from repositories.utils.fields import UnconstrainedForeignKey

NOT_DELETED = Q(last_push__gt=F("last_deletion"))


class Tag(models.Model):
    """The state of a tag, existing or deleted, derived from its events. See `activity.storage.tags`."""

    NEVER: ClassVar[UUID] = UUID(int=0)
    """A placeholder for the id of an event that never happened. It is lower than any event id."""

    repository = UnconstrainedForeignKey(Repository, related_name="tags")
    name = models.CharField(max_length=names.MAX_TAG_LENGTH)
    image = models.CharField(max_length=names.DIGEST_STEM_LENGTH, blank=True)
    """The digest stem of the image that the tag belongs to by its name, see `names.image_of_tag`."""
    last_push = models.UUIDField(default=NEVER)
    """The id of the newest push event, with the time of its receipt if the clock of its node was ahead.

    The next five fields describe that push.
    """
    digest = models.CharField(max_length=names.MAX_DIGEST_LENGTH, blank=True)
    stem = models.GeneratedField(
        expression=Left("digest", names.DIGEST_STEM_LENGTH),
        output_field=models.CharField(max_length=names.DIGEST_STEM_LENGTH),
        db_persist=True,
    )
    """The digest's stem, see `names.digest_stem`.

    Without the column, SQLite reads all tags to find those of an image, because it compares `image` with an
    expression as text, but the index of an expression has no type.
    """
    pushed_by_type = models.CharField(max_length=20, choices=ActorType, blank=True)
    pushed_by_name = models.CharField(max_length=MAX_ACTOR_LENGTH, blank=True)
    pushed_by_user = UnconstrainedForeignKey(settings.AUTH_USER_MODEL, null=True)
    last_deletion = models.UUIDField(default=NEVER)
    """The id of the newest deletion event, with the time as for `last_push`."""
    pulls = models.BigIntegerField(default=0)
    """The number of pulls, except those in `TagPull`, which haven't been folded into this number yet."""
    pulled_at = models.DateTimeField(null=True)
    requested_at = models.DateTimeField(null=True)
    """When a client last sent a HEAD request for the tag, to the minute.

    A client that has the image already asks only whether the tag still points to it, and pulls nothing.
    """

    class Meta:
        default_permissions = ["view"]
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="unique_tag_name")]
        indexes = [
            models.Index(fields=["repository", field], condition=NOT_DELETED, name=f"tag_{name}")
            for field, name in (("name", "name"), ("last_push", "push"), ("image", "image"), ("stem", "stem"))
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def pushed_at(self) -> datetime:
        """The time of the newest push, to the millisecond."""
        return moment_of(self.last_push)

    @property
    def pushed_by(self) -> str:
        return label_of_actor(self.pushed_by_type, self.pushed_by_name)

    @property
    def short_digest(self) -> str:
        return names.short_digest(self.digest)

    @property
    def is_attachment(self) -> bool:
        return names.is_attachment(self.name, self.digest)

    @property
    def attachment_kind(self) -> str | Promise:
        return names.attachment_kind(self.name)

    @property
    def short_image(self) -> str:
        return names.short_digest(self.image)


class Manifest(models.Model):
    """The newest push, deletion and scan of a manifest.

    Tags whose newest push had this digest and came before the deletion no longer exist.
    """

    repository = UnconstrainedForeignKey(Repository)
    digest = models.CharField(max_length=names.MAX_DIGEST_LENGTH)
    last_push = models.UUIDField(default=Tag.NEVER)
    """The id of the newest push event, with the time as for `Tag.last_push`."""
    last_deletion = models.UUIDField(default=Tag.NEVER)
    last_scan = models.UUIDField(default=Tag.NEVER)
    """The id of the newest event about a scan, whether it failed or not."""

    class Meta:
        default_permissions = ["view"]
        constraints = [models.UniqueConstraint(fields=["repository", "digest"], name="unique_manifest")]

    def __str__(self) -> str:
        return self.digest


class TagPull(models.Model):
    """Pulls of a tag that haven't been folded into `Tag` yet. Rows are never updated."""

    repository = UnconstrainedForeignKey(Repository)
    name = models.CharField(max_length=names.MAX_TAG_LENGTH)
    pulls = models.BigIntegerField()
    pulled_at = models.DateTimeField()
    """The time of the newest of these pulls."""

    class Meta:
        default_permissions = ["view"]
        indexes = [models.Index(fields=["repository", "name"], name="tag_pull_name")]

    def __str__(self) -> str:
        return f"{self.pulls} pulls of {self.name}"
