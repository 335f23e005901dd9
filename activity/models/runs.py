"""Runs of auto-deletion, and verifications that nothing else has removed events."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _


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
