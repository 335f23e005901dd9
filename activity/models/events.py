"""Events. Append-only."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from activity import catalogue, gating
from activity.models.actors import MAX_ACTOR_LENGTH, ActorType, label_of_actor
from activity.models.deletion import Import
from repositories import names
from repositories.access import levels
from repositories.access.resolving import Access
from repositories.models import Policy, Repository


class EventQuerySet(models.QuerySet["Event"]):
    """Events are only ever inserted; `storage.events` deletes them for auto-deletion."""

    def visible_to(self, access: Access, repository: Repository | None = None) -> EventQuerySet:
        """Return the events that a viewer may see: of one repository, or of all. See `gating`."""
        return gating.visible_events(self, access, repository)  # type: ignore[return-value]

    def update(self, **_: Any) -> NoReturn:
        raise TypeError("Events are append-only.")

    def delete(self) -> NoReturn:
        raise TypeError("Events are append-only.")


class Event(models.Model):
    """Something that happened in the registry. Append-only.

    An event outlives what it speaks of: it keeps the names as they were, and its references have no
    constraint in the database, so they may point to nothing.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=40)
    category = models.CharField(max_length=20)
    is_pull = models.BooleanField(default=False)
    """Whether its category is pull: what indexes and partitions go by."""
    repository = models.ForeignKey(
        Repository,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="events",
    )
    repository_name = models.CharField(max_length=names.MAX_NAME_LENGTH)
    tag = models.CharField(max_length=names.MAX_TAG_LENGTH, blank=True)
    digest = models.CharField(max_length=names.MAX_DIGEST_LENGTH, blank=True)
    actor_type = models.CharField(max_length=20, choices=ActorType)
    actor_name = models.CharField(max_length=MAX_ACTOR_LENGTH, blank=True)
    actor_user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    policy = models.ForeignKey(
        Policy, models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    """The policy that did it, or to which it was done."""
    imported = models.ForeignKey(
        Import, models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    """The import that brought it back from an archive, if one did."""
    details = models.JSONField(default=dict)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        # Pulls are nine tenths of all events: the default view of a repository, which leaves them
        # out, must not read through them, hence the partial indexes.
        indexes = [
            models.Index(fields=["repository", "id"], name="event_repository"),
            models.Index(
                fields=["repository", "id"],
                condition=Q(is_pull=False),
                name="event_repository_without_pulls",
            ),
            models.Index(fields=["id"], condition=Q(is_pull=False), name="event_without_pulls"),
            models.Index(fields=["category", "id"], name="event_category"),
            models.Index(fields=["actor_name", "id"], name="event_actor"),
            # One's own account events, few among all that one did: a robot may have pulled a million times.
            models.Index(fields=["actor_user", "id"], condition=Q(category="account"), name="event_account"),
            models.Index(fields=["imported"], condition=Q(imported__isnull=False), name="event_imported"),
            models.Index(fields=["policy", "id"], condition=Q(policy__isnull=False), name="event_policy"),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.reference}"

    @property
    def label(self) -> str:
        return catalogue.label_of(self.kind)

    @property
    def type(self) -> str:
        return catalogue.type_of(self.kind)

    @property
    def reference(self) -> str:
        """The repository with the tag, such as `acme/web:v1`; without a tag, the repository."""
        return f"{self.repository_name}:{self.tag}" if self.tag else self.repository_name

    @property
    def short_digest(self) -> str:
        """The algorithm and the first eight digits, such as `sha256:bbf09ba3`."""
        return names.short_digest(self.digest)

    @property
    def actor_label(self) -> str:
        """The name of a user, the kind and id of a policy, `PROMOTION MANUAL_P`, or `SYSTEM the schedule`."""
        return label_of_actor(self.actor_type, self.actor_name)

    def repository_url(self, access: Access) -> str:
        """Return the page of the repository, while there is one that the viewer may open.

        Reads `repository__namespace`, so load it with the events.
        """
        repository = self.repository
        if not repository or repository.deleted_at or not access.permissions_on(repository):
            return ""
        return reverse("registry_repositories:repository", args=[repository.namespace.name, repository.name])

    def actor_url(self, access: Access) -> str:
        """Return the page of the actor, or nothing where there is none that the viewer may open.

        Reads `actor_user` and `policy__repository__namespace`, so load them with the events.
        """
        if self.actor_user_id and self.actor_user:
            return reverse("registry_activity:user", args=[self.actor_user.get_username()])
        return self.policy_url(access) if self.actor_type in Policy.Kind.values else ""

    def subject_url(self, access: Access) -> str:
        """Return the page of the policy to which it was done, or nothing; see `policy_url`."""
        return "" if self.actor_type in Policy.Kind.values else self.policy_url(access)

    def policy_url(self, access: Access) -> str:
        """Return the page of the policy that did it, or to which it was done, while there is one.

        Nothing for those who may not open it. Reads `policy__repository__namespace`.
        """
        if not self.policy_id or not self.policy:
            return ""
        may_open = levels.VIEW_POLICIES in access.permissions_on(self.policy.repository)
        return self.policy.get_absolute_url() if may_open else ""

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Events are append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Events are append-only.")
