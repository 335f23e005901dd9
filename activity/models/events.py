"""Events, and messages that could not be understood."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, NoReturn
from uuid import UUID

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from activity import catalogue
from activity.deletion.models import Import
from activity.identity import moment_of
from repositories import levels, names
from repositories.access import Access
from repositories.models import Policy, Repository

MAX_ACTOR_LENGTH = 255


class ActorType(models.TextChoices):
    """Who or what did it."""

    USER = "user", "User"
    ANONYMOUS = "anonymous", "Anonymous"
    PROMOTION = Policy.Kind.PROMOTION.value, "Promotion policy"
    PRUNING = Policy.Kind.PRUNING.value, "Pruning policy"
    PUSH_MIRRORING = Policy.Kind.PUSH_MIRRORING.value, "Push mirroring policy"
    PULL_MIRRORING = Policy.Kind.PULL_MIRRORING.value, "Pull mirroring policy"
    MANUAL_PROMOTION = "manual_promotion", "Manual promotion"
    SYSTEM = "system", "System"


MANUAL_PROMOTION_NAME = "MANUAL_P"
THE_SCHEDULE, THE_COMMAND_LINE = PROGRAMS = ("the schedule", "the command line")
"""The actors of type SYSTEM: who acts where nobody is logged in."""


def label_of_actor(type: str, name: str) -> str:
    """Return the name of a user, the kind and id of a policy, or `PROMOTION MANUAL_P`."""
    if type == ActorType.USER:
        return name
    if type == ActorType.ANONYMOUS:
        return "anonymous"
    if type == ActorType.MANUAL_PROMOTION:
        return f"PROMOTION {name}"
    return f"{type.replace('_', ' ').upper()} {name}"


def actor_in(label: str) -> str:
    """Return the name of an actor, out of its label too: `7A4DC340` of `PROMOTION 7A4DC340`."""
    for type in set(ActorType) - {ActorType.USER, ActorType.ANONYMOUS}:
        label = label.removeprefix(label_of_actor(type, ""))
    return label


def shortened(digest: str) -> str:
    """Return the algorithm and the first eight digits, such as `sha256:bbf09ba3`."""
    algorithm, colon, hexadecimal = digest.partition(":")
    return f"{algorithm}{colon}{hexadecimal[:8]}"


class EventQuerySet(models.QuerySet["Event"]):
    """Events are appended, never changed; deleting them is auto-deletion's alone."""

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
        return shortened(self.digest)

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
        return reverse("repositories:repository", args=[repository.namespace.name, repository.name])

    def actor_url(self, access: Access) -> str:
        """Return the page of the actor, or nothing where there is none that the viewer may open.

        Reads `actor_user` and `policy__repository__namespace`, so load them with the events.
        """
        if self.actor_user_id and self.actor_user:
            return reverse("activity:user", args=[self.actor_user.get_username()])
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


class DeadLetter(models.Model):
    """A message, or a part of one, that could not be recorded, stored aside with the reason."""

    class Source(models.TextChoices):
        REGISTRY = "registry", "Registry notification"
        PRODUCER = "producer", "Events API"

    fingerprint = models.CharField(
        max_length=64, unique=True, editable=False, help_text="SHA-256 of account, source and content."
    )
    source = models.CharField(max_length=10, choices=Source)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", help_text="Who delivered it."
    )
    received_at = models.DateTimeField(default=timezone.now, db_index=True)
    reason = models.CharField(max_length=500)
    content = models.BinaryField(help_text="The raw message, byte by byte.")
    size = models.BigIntegerField(help_text="Of the whole message, in bytes.")
    replayed_at = models.DateTimeField(null=True, editable=False)
    dismissed_at = models.DateTimeField(null=True, editable=False)
    dismissed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    note = models.TextField(blank=True, editable=False, help_text="Why it was dismissed.")

    NOT_REPLAYED: ClassVar[Q] = Q(replayed_at=None)
    NOT_DISMISSED: ClassVar[Q] = Q(dismissed_at=None)
    WAITING: ClassVar[Q] = NOT_REPLAYED & NOT_DISMISSED
    """Neither recorded since, nor dismissed: somebody has to look at it."""

    class Meta:
        ordering = ["-received_at", "-pk"]
        verbose_name = "message stored aside"
        verbose_name_plural = "messages stored aside"
        indexes = [
            models.Index(
                fields=["received_at", "id"],
                condition=Q(replayed_at=None, dismissed_at=None),
                name="dead_letter_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_source_display()} of {self.received_at:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def is_truncated(self) -> bool:
        """Whether only the beginning was kept, so that it can't be replayed."""
        return len(self.content) < self.size

    @property
    def text(self) -> str:
        """The content as text; bytes that are none are shown escaped."""
        return bytes(self.content).decode("utf-8", "backslashreplace")


class AccessToken(models.Model):
    """What Knox doesn't keep of an access token: what its owner calls it, and when it was last used."""

    token = models.OneToOneField(settings.KNOX_TOKEN_MODEL, models.CASCADE, related_name="access_token")
    name = models.CharField(max_length=100, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-token__created", "pk"]

    def __str__(self) -> str:
        return self.name or "unnamed"


class Registry(models.Model):
    """A registry, by the account that it delivers its notifications with. See `activity.registries`."""

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, editable=False, related_name="registry"
    )
    last_heard_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="To the minute, by this server's clock."
    )
    quiet_after = models.PositiveIntegerField(
        "quiet after (hours)",
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 366)],
        help_text="A registry that wasn't heard from for longer than this has gone quiet.",
    )

    class Meta:
        ordering = ["last_heard_at"]
        verbose_name_plural = "registries"

    def __str__(self) -> str:
        return str(self.account)

    @property
    def is_quiet(self) -> bool:
        return self.last_heard_at < timezone.now() - timedelta(hours=self.quiet_after)


class Tally(models.Model):
    """How many events of a category there are in an hour, a day or a week, in UTC. See `activity.tallies`."""

    ALL: ClassVar[int] = 0
    """Stands for all events, whatever their repository; no repository has this id."""

    class Unit(models.TextChoices):
        HOUR = "hour"
        DAY = "day"
        WEEK = "week"

    repository = models.ForeignKey(
        Repository, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    unit = models.CharField(max_length=4, choices=Unit)
    start = models.DateTimeField()
    category = models.CharField(max_length=20)
    is_pull = models.BooleanField()
    events = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "tallies"
        constraints = [
            models.UniqueConstraint(fields=["repository", "unit", "start", "category"], name="one_tally")
        ]
        indexes = [
            # With all that a sum over many repositories asks for, so that it is read from the index alone.
            models.Index(
                fields=["unit", "start", "category"],
                include=["repository", "events", "is_pull"],
                name="tally_by_time",
            ),
            models.Index(fields=["id"], condition=Q(events=0), name="tally_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.events} {self.category} events in the {self.unit} from {self.start:%Y-%m-%d %H:%M}"


class TallyChange(models.Model):
    """Events that came, or went (a negative number), and aren't in the tallies yet. Append-only."""

    repository = models.ForeignKey(
        Repository, models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    hour = models.DateTimeField()
    category = models.CharField(max_length=20)
    is_pull = models.BooleanField()
    events = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["repository", "hour"], name="tally_change_repository")]

    def __str__(self) -> str:
        return f"{self.events:+} {self.category} events in the hour from {self.hour:%Y-%m-%d %H:%M}"


class Tag(models.Model):
    """What the events tell of a tag, whether it is there or was deleted. See `activity.tags`."""

    NEVER: ClassVar[UUID] = UUID(int=0)
    """Stands for the event of what never happened; all others come after it."""
    NOT_DELETED: ClassVar[Q] = Q(last_push__gt=F("last_deletion"))

    repository = models.ForeignKey(
        Repository, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="tags"
    )
    name = models.CharField(max_length=names.MAX_TAG_LENGTH)
    last_push = models.UUIDField(default=NEVER)
    """The id of the event of its newest push, of which the next four tell."""
    digest = models.CharField(max_length=names.MAX_DIGEST_LENGTH, blank=True)
    pushed_by_type = models.CharField(max_length=20, choices=ActorType, blank=True)
    pushed_by_name = models.CharField(max_length=MAX_ACTOR_LENGTH, blank=True)
    pushed_by_user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    last_deletion = models.UUIDField(default=NEVER)
    """The id of the event of its newest deletion."""
    pulls = models.BigIntegerField(default=0)
    """Pulls of this name that were folded; more may wait in `TagPull`."""
    pulled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="one_tag_of_a_name")]
        indexes = [
            models.Index(
                fields=["repository", "name"],
                condition=Q(last_push__gt=F("last_deletion")),
                name="tag_name",
            ),
            models.Index(
                fields=["repository", "last_push"],
                condition=Q(last_push__gt=F("last_deletion")),
                name="tag_push",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def pushed_at(self) -> datetime:
        """When it was last pushed, to the millisecond."""
        return moment_of(self.last_push)

    @property
    def pushed_by(self) -> str:
        return label_of_actor(self.pushed_by_type, self.pushed_by_name)

    @property
    def short_digest(self) -> str:
        return shortened(self.digest)


class DeletedManifest(models.Model):
    """The newest deletion of a manifest by its digest: no tag that was pushed before points to it."""

    repository = models.ForeignKey(
        Repository, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    digest = models.CharField(max_length=names.MAX_DIGEST_LENGTH)
    last_deletion = models.UUIDField(default=Tag.NEVER)
    """The id of the event."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "digest"], name="one_deletion_of_a_manifest")
        ]

    def __str__(self) -> str:
        return self.digest


class TagPull(models.Model):
    """Pulls of a tag that aren't folded into `Tag` yet. Append-only."""

    repository = models.ForeignKey(
        Repository, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    name = models.CharField(max_length=names.MAX_TAG_LENGTH)
    pulls = models.BigIntegerField()
    pulled_at = models.DateTimeField()
    """When the newest of them was."""

    class Meta:
        indexes = [models.Index(fields=["repository", "name"], name="tag_pull_name")]

    def __str__(self) -> str:
        return f"{self.pulls} pulls of {self.name}"


class DroppedTallies(models.Model):
    """Whole days whose tallies count no more, as their events were dropped; folding removes them."""

    is_pull = models.BooleanField()
    start = models.DateTimeField()
    end = models.DateTimeField()
    weeks_start = models.DateTimeField()
    weeks_end = models.DateTimeField()
    """The whole weeks that the days are of: their tallies count no more, either, until they are made anew."""

    def __str__(self) -> str:
        return f"{'Pulls' if self.is_pull else 'The rest'} from {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"
