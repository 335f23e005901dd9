"""Auto-deletion: its settings, rules and holds, and changes that wait."""

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
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from solo.models import SingletonModel

from activity.catalogue import OWN_CATEGORIES
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
