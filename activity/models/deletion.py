"""The settings of auto-deletion, the holds against it, and the records of its runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dateutil.relativedelta import relativedelta
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from solo.models import SingletonModel

from repositories.access.levels import Category
from repositories.models import Namespace, Repository


class AgeUnit(models.TextChoices):
    HOURS = "hours"
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"


class Conditions(models.Model):
    """When events go: an event goes if it is too old, or if there are too many newer ones."""

    age = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Events older than this go. Empty: no event goes by its age.",
    )
    age_unit = models.CharField(max_length=10, choices=AgeUnit, default=AgeUnit.MONTHS)
    max_events = models.PositiveIntegerField(
        "maximum number of events",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="At most this many are kept, the oldest go first. Empty: no event goes by their number.",
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        if self.age:
            try:
                oldest_kept(timezone.now(), self.age, self.age_unit)
            except (ValueError, OverflowError) as error:
                raise ValidationError({"age": "There were no events that long ago."}) from error


def oldest_kept(cutoff: datetime, age: int, unit: str) -> datetime:
    """Return the moment before which events are older than `age` at the `cutoff`, in UTC.

    Months are those of the calendar, their ends clamped: a month before March 31 is February 28.
    Raises ValueError or OverflowError before year 1.
    """
    steps: dict[str, Any] = {unit: age}
    return cutoff - relativedelta(**steps)


class AutoDeletion(Conditions, SingletonModel):
    """The registry-wide setting: the master switch, and the rule for what no other rule decides."""

    enabled = models.BooleanField(
        default=False, help_text="While this is off, nothing is deleted by any rule."
    )
    archive = models.BooleanField(
        "archive before deletion",
        default=True,
        help_text="Events are first written to the archive storage; only what is safely there is deleted.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "auto-deletion"

    def __str__(self) -> str:
        return "Auto-deletion"

    def clean(self) -> None:
        super().clean()
        if self.enabled and not self.age and not self.max_events and not DeletionRule.objects.exists():
            raise ValidationError("Give an age, a maximum number of events, or a rule, before turning it on.")


class Scope(models.Model):
    """A repository, a namespace, or everything."""

    repository = models.ForeignKey(Repository, models.CASCADE, null=True, blank=True)
    namespace = models.ForeignKey(Namespace, models.CASCADE, null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def scope(self) -> str:
        return str(self.repository or self.namespace or "everywhere")

    def clean(self) -> None:
        super().clean()
        if self.repository_id and self.namespace_id:
            raise ValidationError("Choose a repository or a namespace, not both.")


class DeletionRule(Scope, Conditions):
    """Decides for a repository, a namespace or everything, and for one category of events or all.

    For an event the most specific rule decides alone: that of its repository before that of its
    namespace before that of everything, and within each, that of its category before that of all. One
    without conditions keeps its events for ever.
    """

    class MaxPer(models.TextChoices):
        REPOSITORY = "repository", "each repository"
        RULE = "rule", "all that the rule decides"

    category = models.CharField(
        max_length=20, choices=Category, blank=True, help_text="Empty: all categories."
    )
    max_per = models.CharField("the maximum counts", max_length=10, choices=MaxPer, default=MaxPer.REPOSITORY)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repository", "category"],
                condition=Q(repository__isnull=False),
                name="one_rule_of_a_repository",
            ),
            models.UniqueConstraint(
                fields=["namespace", "category"],
                condition=Q(namespace__isnull=False),
                name="one_rule_of_a_namespace",
            ),
            models.UniqueConstraint(
                fields=["category"],
                condition=Q(repository__isnull=True, namespace__isnull=True),
                name="one_rule_everywhere",
            ),
            models.CheckConstraint(
                condition=Q(repository__isnull=True) | Q(namespace__isnull=True), name="rule_of_one_scope"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope}, {self.get_category_display() or 'all categories'}"


class Hold(Scope):
    """Exempts the events of a repository or a namespace from every rule, until it is lifted (deleted)."""

    reason = models.TextField()
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    set_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(repository__isnull=True, namespace__isnull=False)
                | Q(repository__isnull=False, namespace__isnull=True),
                name="hold_on_one_scope",
            )
        ]

    def __str__(self) -> str:
        return f"Hold on {self.scope}"

    def clean(self) -> None:
        super().clean()
        if not self.repository_id and not self.namespace_id:
            raise ValidationError("Choose a repository or a namespace.")


class Run(models.Model):
    """The job log of one run, or of one preview: a run that deletes nothing."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        FINISHED = "finished"
        STOPPED = "stopped"
        FAILED = "failed"
        ABANDONED = "abandoned"

    preview = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    started_by = models.CharField(max_length=255, help_text="A user, the schedule, or the command line.")
    cutoff = models.DateTimeField(help_text="Events from then on are left alone; ages are counted from it.")
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(help_text="Past this, a run that shows no progress is given up.")
    stop_requested = models.BooleanField(default=False)
    settings = models.JSONField(help_text="What it runs with, whatever is changed meanwhile.")
    expected = models.BigIntegerField(null=True, help_text="Events that are to go.")
    deleted = models.BigIntegerField(default=0)
    report = models.JSONField(
        default=dict, help_text="For each rule: events, by category, from when to when."
    )
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{'Preview' if self.preview else 'Run'} {self.pk}"


class Archive(models.Model):
    """A file of events that were, or are just about to be, deleted."""

    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="archives")
    name = models.CharField(max_length=255, unique=True, help_text="In the archive storage.")
    created_at = models.DateTimeField(default=timezone.now)
    written_at = models.DateTimeField(null=True, help_text="Empty: writing it was broken off.")
    deleted_at = models.DateTimeField(null=True, help_text="When its events were gone from the database.")
    events = models.PositiveIntegerField(default=0)
    first_id = models.UUIDField(null=True)
    last_id = models.UUIDField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.name


class Import(models.Model):
    """An archive that was brought back. Its events are held until it is released."""

    archive_name = models.CharField(max_length=255, unique=True)
    imported_at = models.DateTimeField(default=timezone.now)
    released_at = models.DateTimeField(null=True, blank=True)
    events = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.archive_name
