"""Auto-deletion: its settings, rules, holds, runs, archives and imports."""

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

from activity.catalogue import OWN_CATEGORIES
from activity.identity import moment_of
from repositories.access.levels import Category
from repositories.models import Namespace, Repository

FAILED_LOGINS = "failed_logins"
RULE_CATEGORIES = [*Category.choices, (FAILED_LOGINS, "Failed logins")]
"""The choices for the category of a rule. Failed logins are account events that may be deleted earlier."""

MIN_AGES: dict[str, relativedelta] = {
    **dict.fromkeys(sorted(OWN_CATEGORIES), relativedelta(years=1)),
    FAILED_LOGINS: relativedelta(days=90),
}
"""How long events are kept at least. Only a rule for their category deletes them, and only by age."""


class AgeUnit(models.TextChoices):
    HOURS = "hours"
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"


class Conditions(models.Model):
    """The conditions for deleting events: a maximum age and a maximum number of events."""

    age = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Delete events older than this. Leave empty for no age limit.",
    )
    age_unit = models.CharField(max_length=10, choices=AgeUnit, default=AgeUnit.MONTHS)
    max_events = models.PositiveIntegerField(
        "maximum number of events",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Keep only this many of the newest events. Leave empty for no limit.",
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        if self.age:
            try:
                subtract_age(timezone.now(), self.age, self.age_unit)
            except (ValueError, OverflowError) as error:
                raise ValidationError({"age": "This age is too large."}) from error


def subtract_age(cutoff: datetime, age: int, unit: str) -> datetime:
    """Return the moment that is `age` units before `cutoff`. Events before this moment are too old to keep.

    Months are calendar months. One month before March 31 is the last day of February.
    Raises ValueError or OverflowError if the result is before year 1.
    """
    steps: dict[str, Any] = {unit: age}
    return cutoff - relativedelta(**steps)


class AutoDeletion(Conditions, SingletonModel):
    """The registry-wide settings: the master switch, and the conditions for events that no rule covers.

    The conditions apply only to repository events.
    """

    enabled = models.BooleanField(default=False, help_text="While this is off, no events are deleted.")
    archive = models.BooleanField(
        "archive before deletion",
        default=True,
        help_text="Write events to the archive storage first, and delete only events that were archived.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "auto-deletion"

    def __str__(self) -> str:
        return "Auto-deletion"

    def clean(self) -> None:
        super().clean()
        if self.enabled and not self.age and not self.max_events and not DeletionRule.objects.exists():
            raise ValidationError(
                "Set an age or a maximum number of events, or add a rule, before you enable auto-deletion."
            )


class Scope(models.Model):
    """The scope of a rule or hold: a repository, a namespace, or the whole registry."""

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
    """A rule for a repository, a namespace or the whole registry, and for one category or repository events.

    A rule without a category applies to all repository events, but not to access, account and system events.
    Only the most specific rule applies to an event. A rule for the event's repository takes precedence over a
    rule for its namespace, which takes precedence over a rule for the whole registry. Within the same scope,
    a rule for the event's category takes precedence over a rule without a category. If the rule that applies
    to an event has no conditions, the event is kept forever.
    """

    class MaxPer(models.TextChoices):
        REPOSITORY = "repository", "each repository"
        RULE = "rule", "the rule as a whole"

    category = models.CharField(
        max_length=20,
        choices=RULE_CATEGORIES,
        blank=True,
        help_text="Leave empty for all repository events, which excludes Access, Account and System.",
    )
    max_per = models.CharField("maximum applies to", max_length=10, choices=MaxPer, default=MaxPer.REPOSITORY)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repository", "category"],
                condition=Q(repository__isnull=False),
                name="unique_rule_per_repository",
                violation_error_message="A rule for this repository and category already exists.",
            ),
            models.UniqueConstraint(
                fields=["namespace", "category"],
                condition=Q(namespace__isnull=False),
                name="unique_rule_per_namespace",
                violation_error_message="A rule for this namespace and category already exists.",
            ),
            models.UniqueConstraint(
                fields=["category"],
                condition=Q(repository__isnull=True, namespace__isnull=True),
                name="unique_registry_wide_rule",
                violation_error_message="A registry-wide rule for this category already exists.",
            ),
            models.CheckConstraint(
                condition=Q(repository__isnull=True) | Q(namespace__isnull=True), name="rule_has_one_scope"
            ),
            models.CheckConstraint(
                condition=~Q(category__in=list(MIN_AGES)) | Q(max_events__isnull=True),
                name="maximum_only_for_repository_events",
                violation_error_message="Access, account and system events can be deleted only by age.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope}, {self.get_category_display() or 'repository events'}"

    def clean(self) -> None:
        super().clean()
        now, minimum = timezone.now(), MIN_AGES.get(self.category)
        if minimum and self.age and subtract_age(now, self.age, self.age_unit) > now - minimum:
            shortest = f"{minimum.days} days" if minimum.days else "a year"
            raise ValidationError({"age": f"Events in this category are kept for at least {shortest}."})


class Hold(Scope):
    """Exempts the events of a repository or a namespace from every rule until the hold is deleted."""

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
                name="hold_has_one_scope",
            )
        ]

    def __str__(self) -> str:
        return f"Hold on {self.scope}"

    def clean(self) -> None:
        super().clean()
        if not self.repository_id and not self.namespace_id:
            raise ValidationError("Choose a repository or a namespace.")


class WaitingChange(models.Model):
    """A saved change to auto-deletion that has not taken effect yet, because more events will be deleted.

    Until then, auto-deletion deletes only events that it would also delete if the changed object still had
    its former values.
    """

    model = models.CharField(max_length=100, help_text="The model of the changed object.")
    object_id = models.CharField(max_length=100)
    former = models.TextField(
        blank=True, help_text="The former values of the object as JSON. Empty if the object is new."
    )
    subject = models.CharField(max_length=500)
    changes = models.JSONField(default=dict)
    changed_by = models.CharField(max_length=255)
    changed_at = models.DateTimeField(default=timezone.now)
    effective_at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        default_permissions = ["view"]

    def __str__(self) -> str:
        return f"{self.subject} ({self.changed_by}, effective {self.effective_at:%Y-%m-%d %H:%M} UTC)"


class Run(models.Model):
    """One execution of auto-deletion. A preview is a run that deletes nothing."""

    class State(models.TextChoices):
        QUEUED = "queued"
        WAITING = "waiting", "Waiting for a person"
        RUNNING = "running"
        FINISHED = "finished"
        STOPPED = "stopped"
        FAILED = "failed"
        ABANDONED = "abandoned"

    preview = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    started_by = models.CharField(max_length=255, help_text="A user, the schedule or the command line.")
    cutoff = models.DateTimeField(
        help_text="Events at or after this time are not deleted. Ages are measured from it."
    )
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(
        help_text="If the run shows no progress by this time, it is considered abandoned."
    )
    stop_requested = models.BooleanField(default=False)
    settings = models.JSONField(
        help_text="The settings as they were when the run started. Later changes don't affect it."
    )
    waiting = models.JSONField(
        "waiting changes", default=list, help_text="Changes that had not taken effect when the run started."
    )
    expected = models.BigIntegerField(null=True, help_text="Number of events to delete.")
    deleted = models.BigIntegerField(default=0)
    report = models.JSONField(
        default=dict, help_text="For each rule: the number of events by category, and their time range."
    )
    partitions = models.JSONField(
        default=dict, help_text="For a preview on PostgreSQL: what a run would do with each old partition."
    )
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["-pk"]
        default_permissions = ["change", "view"]  # "change" allows stopping a run

    def __str__(self) -> str:
        return f"{'Preview' if self.preview else 'Run'} {self.pk}"


class Archive(models.Model):
    """A file of events that have been deleted from the database or are about to be deleted."""

    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="archives")
    name = models.CharField(max_length=255, unique=True, help_text="File name in the archive storage.")
    created_at = models.DateTimeField(default=timezone.now)
    written_at = models.DateTimeField(null=True, help_text="Empty if the file was never completed.")
    deletion_started_at = models.DateTimeField(
        null=True, help_text="When the first of its events was deleted from the database."
    )
    deleted_at = models.DateTimeField(
        null=True, help_text="When the last of its events was deleted from the database."
    )
    events = models.PositiveIntegerField(default=0)
    first_id = models.UUIDField(null=True)
    last_id = models.UUIDField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    days = models.JSONField(default=dict, editable=False)
    """The number of events of each day (UTC), keyed by date."""
    rules = models.JSONField(default=list, help_text="The rules that deleted the events.")
    repositories = models.JSONField(default=list, help_text="The repositories with the most events.")

    class Meta:
        ordering = ["-pk"]
        default_permissions = ["change", "view"]  # "change" allows bringing an archive back

    def __str__(self) -> str:
        return self.name

    @property
    def first_at(self) -> datetime | None:
        """The time of the first event."""
        return moment_of(self.first_id) if self.first_id else None

    @property
    def last_at(self) -> datetime | None:
        """The time of the last event."""
        return moment_of(self.last_id) if self.last_id else None


class Import(models.Model):
    """An imported archive. Its events are exempt from deletion until the import is released."""

    archive_name = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    foreign = models.BooleanField(default=False, help_text="Whether another installation wrote the archive.")
    imported_at = models.DateTimeField(default=timezone.now)
    released_at = models.DateTimeField(null=True, blank=True)
    events = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["archive_name", "sha256"], name="unique_import")]
        default_permissions = ["change", "view"]  # "change" allows releasing an import

    def __str__(self) -> str:
        return f"{self.archive_name} (foreign)" if self.foreign else self.archive_name


class Verification(models.Model):
    """The result of comparing the events with the ledger and the archives."""

    started_by = models.CharField(max_length=255)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    days = models.JSONField(default=list)
    """The numbers of events of each day (UTC), newest first. See `activity.deletion.verification.Day`."""
    problems = models.JSONField(default=list)

    class Meta:
        ordering = ["-pk"]
        default_permissions = ["view"]

    def __str__(self) -> str:
        outcome = f"{len(self.problems)} problems" if self.problems else "nothing is missing"
        return f"{self.finished_at or self.started_at:%Y-%m-%d %H:%M} UTC: {outcome}"
