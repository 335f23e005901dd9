"""Archives of deleted events, and imports that bring them back."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.identity import moment_of
from activity.models.runs import Run


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
