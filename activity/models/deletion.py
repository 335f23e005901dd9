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
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from solo.models import SingletonModel

from activity.catalogue import OWN_CATEGORIES
from activity.identity import moment_of
from repositories.access.levels import Category
from repositories.models import Namespace, Repository

FAILED_LOGINS = "failed_logins"
RULE_CATEGORIES = [*Category.choices, (FAILED_LOGINS, _("Failed logins"))]
"""The choices for the category of a rule. Failed logins are account events that may be deleted earlier."""

MIN_AGES: dict[str, relativedelta] = {
    **dict.fromkeys(sorted(OWN_CATEGORIES), relativedelta(years=1)),
    FAILED_LOGINS: relativedelta(days=90),
}
"""How long events are kept at least. Only a rule for their category deletes them, and only by age."""


class AgeUnit(models.TextChoices):
    HOURS = "hours", _("Hours")
    DAYS = "days", _("Days")
    WEEKS = "weeks", _("Weeks")
    MONTHS = "months", _("Months")


class Conditions(models.Model):
    """The conditions for deleting events: a maximum age and a maximum number of events."""

    age = models.PositiveIntegerField(
        _("age"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Delete events older than this. Leave empty for no age limit."),
    )
    age_unit = models.CharField(_("age unit"), max_length=10, choices=AgeUnit, default=AgeUnit.MONTHS)
    max_events = models.PositiveIntegerField(
        _("maximum number of events"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Keep only this many of the newest events. Leave empty for no limit."),
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        if self.age:
            try:
                subtract_age(timezone.now(), self.age, self.age_unit)
            except (ValueError, OverflowError) as error:
                raise ValidationError({"age": gettext("This age is too large.")}) from error


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

    enabled = models.BooleanField(
        _("enabled"), default=False, help_text=_("While this is off, no events are deleted.")
    )
    archive = models.BooleanField(
        _("archive before deletion"),
        default=True,
        help_text=_("Write events to the archive storage first, and delete only events that were archived."),
    )
    reason = models.TextField(
        _("reason"), blank=True, help_text=_("Why the settings are as they are. Recorded with each change.")
    )

    class Meta:
        verbose_name = verbose_name_plural = _("auto-deletion")

    def __str__(self) -> str:
        return gettext("Auto-deletion")

    def clean(self) -> None:
        super().clean()
        if self.enabled and not self.age and not self.max_events and not DeletionRule.objects.exists():
            raise ValidationError(
                gettext(
                    "Set an age or a maximum number of events, or add a rule, before you"
                    " enable auto-deletion."
                )
            )


class Scope(models.Model):
    """The scope of a rule or hold: a repository, a namespace, or the whole registry."""

    repository = models.ForeignKey(
        Repository, models.CASCADE, null=True, blank=True, verbose_name=_("repository")
    )
    namespace = models.ForeignKey(
        Namespace, models.CASCADE, null=True, blank=True, verbose_name=_("namespace")
    )

    class Meta:
        abstract = True

    @property
    def scope(self) -> str:
        return str(self.repository or self.namespace or gettext("everywhere"))

    def clean(self) -> None:
        super().clean()
        if self.repository_id and self.namespace_id:
            raise ValidationError(gettext("Choose a repository or a namespace, not both."))


class DeletionRule(Scope, Conditions):
    """A rule for a repository, a namespace or the whole registry, and for one category or repository events.

    A rule without a category applies to all repository events, but not to access, account and system events.
    Only the most specific rule applies to an event. A rule for the event's repository takes precedence over a
    rule for its namespace, which takes precedence over a rule for the whole registry. Within the same scope,
    a rule for the event's category takes precedence over a rule without a category. If the rule that applies
    to an event has no conditions, the event is kept forever.
    """

    class MaxPer(models.TextChoices):
        REPOSITORY = "repository", _("each repository")
        RULE = "rule", _("the rule as a whole")

    category = models.CharField(
        _("category"),
        max_length=20,
        choices=RULE_CATEGORIES,
        blank=True,
        help_text=_("Leave empty for all repository events, which excludes Access, Account and System."),
    )
    max_per = models.CharField(
        _("maximum applies to"), max_length=10, choices=MaxPer, default=MaxPer.REPOSITORY
    )

    class Meta:
        verbose_name = _("deletion rule")
        verbose_name_plural = _("deletion rules")
        constraints = [
            models.UniqueConstraint(
                fields=["repository", "category"],
                condition=Q(repository__isnull=False),
                name="unique_rule_per_repository",
                violation_error_message=_("A rule for this repository and category already exists."),
            ),
            models.UniqueConstraint(
                fields=["namespace", "category"],
                condition=Q(namespace__isnull=False),
                name="unique_rule_per_namespace",
                violation_error_message=_("A rule for this namespace and category already exists."),
            ),
            models.UniqueConstraint(
                fields=["category"],
                condition=Q(repository__isnull=True, namespace__isnull=True),
                name="unique_registry_wide_rule",
                violation_error_message=_("A registry-wide rule for this category already exists."),
            ),
            models.CheckConstraint(
                condition=Q(repository__isnull=True) | Q(namespace__isnull=True), name="rule_has_one_scope"
            ),
            models.CheckConstraint(
                condition=~Q(category__in=list(MIN_AGES)) | Q(max_events__isnull=True),
                name="maximum_only_for_repository_events",
                violation_error_message=_("Access, account and system events can be deleted only by age."),
            ),
        ]

    def __str__(self) -> str:
        category = self.get_category_display() or gettext("repository events")
        return f"{self.scope}, {category}"

    def clean(self) -> None:
        super().clean()
        now, minimum = timezone.now(), MIN_AGES.get(self.category)
        if minimum and self.age and subtract_age(now, self.age, self.age_unit) > now - minimum:
            if minimum.years:
                message = gettext("Events in this category are kept for at least a year.")
            else:
                message = gettext("Events in this category are kept for at least %(days)s days.")
            raise ValidationError({"age": ValidationError(message, params={"days": minimum.days})})


class Hold(Scope):
    """Exempts the events of a repository or a namespace from every rule until the hold is deleted."""

    reason = models.TextField(_("reason"))
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("set by"),
    )
    set_at = models.DateTimeField(_("set at"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        constraints = [
            models.CheckConstraint(
                condition=Q(repository__isnull=True, namespace__isnull=False)
                | Q(repository__isnull=False, namespace__isnull=True),
                name="hold_has_one_scope",
            )
        ]

    def __str__(self) -> str:
        return gettext("Hold on %(scope)s") % {"scope": self.scope}

    def clean(self) -> None:
        super().clean()
        if not self.repository_id and not self.namespace_id:
            raise ValidationError(gettext("Choose a repository or a namespace."))


class WaitingChange(models.Model):
    """A saved change to auto-deletion that has not taken effect yet, because more events will be deleted.

    Until then, auto-deletion deletes only events that it would also delete if the changed object still had
    its former values.
    """

    model = models.CharField(max_length=100, help_text=_("The model of the changed object."))
    object_id = models.CharField(max_length=100)
    former = models.TextField(
        blank=True, help_text=_("The former values of the object as JSON. Empty if the object is new.")
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
        return gettext("%(subject)s (%(changed_by)s, effective %(time)s UTC)") % {
            "subject": self.subject,
            "changed_by": self.changed_by,
            "time": f"{self.effective_at:%Y-%m-%d %H:%M}",
        }


class Run(models.Model):
    """One execution of auto-deletion. A preview is a run that deletes nothing."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        WAITING = "waiting", _("Waiting for a person")
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        STOPPED = "stopped", _("Stopped")
        FAILED = "failed", _("Failed")
        ABANDONED = "abandoned", _("Abandoned")

    preview = models.BooleanField(_("preview"), default=False)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    started_by = models.CharField(
        _("started by"), max_length=255, help_text=_("A user, the schedule or the command line.")
    )
    cutoff = models.DateTimeField(
        _("cutoff"), help_text=_("Events at or after this time are not deleted. Ages are measured from it.")
    )
    started_at = models.DateTimeField(_("started at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    lease_until = models.DateTimeField(
        _("lease until"),
        help_text=_("If the run shows no progress by this time, it is considered abandoned."),
    )
    stop_requested = models.BooleanField(_("stop requested"), default=False)
    settings = models.JSONField(
        _("settings"),
        help_text=_("The settings as they were when the run started. Later changes don't affect it."),
    )
    waiting = models.JSONField(
        _("waiting changes"),
        default=list,
        help_text=_("Changes that had not taken effect when the run started."),
    )
    expected = models.BigIntegerField(_("expected"), null=True, help_text=_("Number of events to delete."))
    deleted = models.BigIntegerField(_("deleted"), default=0)
    report = models.JSONField(
        _("report"),
        default=dict,
        help_text=_("For each rule: the number of events by category, and their time range."),
    )
    partitions = models.JSONField(
        _("partitions"),
        default=dict,
        help_text=_("For a preview on PostgreSQL: what a run would do with each old partition."),
    )
    error = models.TextField(_("error"), blank=True)

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["-pk"]
        default_permissions = ["change", "view"]  # "change" allows stopping a run

    def __str__(self) -> str:
        text = gettext("Preview %(id)s") if self.preview else gettext("Run %(id)s")
        return text % {"id": self.pk}


class Archive(models.Model):
    """A file of events that have been deleted from the database or are about to be deleted."""

    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="archives", verbose_name=_("run"))
    name = models.CharField(
        _("name"), max_length=255, unique=True, help_text=_("File name in the archive storage.")
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    written_at = models.DateTimeField(
        _("written at"), null=True, help_text=_("Empty if the file was never completed.")
    )
    deletion_started_at = models.DateTimeField(
        _("deletion started at"),
        null=True,
        help_text=_("When the first of its events was deleted from the database."),
    )
    deleted_at = models.DateTimeField(
        _("deleted at"), null=True, help_text=_("When the last of its events was deleted from the database.")
    )
    events = models.PositiveIntegerField(_("events"), default=0)
    first_id = models.UUIDField(_("first id"), null=True)
    last_id = models.UUIDField(_("last id"), null=True)
    sha256 = models.CharField(_("sha256"), max_length=64, blank=True)
    days = models.JSONField(_("days"), default=dict, editable=False)
    """The number of events of each day (UTC), keyed by date."""
    rules = models.JSONField(_("rules"), default=list, help_text=_("The rules that deleted the events."))
    repositories = models.JSONField(
        _("repositories"), default=list, help_text=_("The repositories with the most events.")
    )

    class Meta:
        verbose_name = _("archive")
        verbose_name_plural = _("archives")
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

    archive_name = models.CharField(_("archive name"), max_length=255)
    sha256 = models.CharField(_("sha256"), max_length=64)
    foreign = models.BooleanField(
        _("foreign"), default=False, help_text=_("Whether another installation wrote the archive.")
    )
    imported_at = models.DateTimeField(_("imported at"), default=timezone.now)
    released_at = models.DateTimeField(_("released at"), null=True, blank=True)
    events = models.PositiveIntegerField(_("events"), default=0)

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["archive_name", "sha256"], name="unique_import")]
        default_permissions = ["change", "view"]  # "change" allows releasing an import

    def __str__(self) -> str:
        if not self.foreign:
            return self.archive_name
        return gettext("%(name)s (foreign)") % {"name": self.archive_name}


class Verification(models.Model):
    """The result of comparing the events with the ledger and the archives."""

    started_by = models.CharField(_("started by"), max_length=255)
    started_at = models.DateTimeField(_("started at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    days = models.JSONField(_("days"), default=list)
    """The numbers of events of each day (UTC), newest first. See `activity.deletion.verification.Day`."""
    problems = models.JSONField(_("problems"), default=list)

    class Meta:
        verbose_name = _("verification")
        verbose_name_plural = _("verifications")
        ordering = ["-pk"]
        default_permissions = ["view"]

    def __str__(self) -> str:
        values = {
            "time": f"{self.finished_at or self.started_at:%Y-%m-%d %H:%M}",
            "number": len(self.problems),
        }
        if self.problems:
            text = ngettext(
                "%(time)s UTC: %(number)s problem", "%(time)s UTC: %(number)s problems", len(self.problems)
            )
        elif self.finished_at:
            text = gettext("%(time)s UTC: nothing is missing")
        else:
            text = gettext("%(time)s UTC: not finished")
        return text % values
