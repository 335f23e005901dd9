"""Tallies: stored counts of events by half hour, day, week and four weeks."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from activity.gating import GatedQuerySet
from activity.models.fields import TalliedCategoryField
from repositories.models import Repository
from repositories.utils.fields import UnconstrainedForeignKey


class Tally(models.Model):
    """The number of events in one repository and category during a half hour, day, week or four weeks (UTC).

    See `activity.storage.tallies`.
    """

    ALL: ClassVar[int] = 0
    """The repository id of tallies that count the events of all repositories. No repository has this id."""

    class Unit(models.IntegerChoices):
        HALF_HOUR = 1, "half hour"
        DAY = 2
        WEEK = 3
        FOUR_WEEKS = 4

    repository = UnconstrainedForeignKey(Repository)
    unit = models.SmallIntegerField(choices=Unit)
    start = models.DateTimeField()
    category = TalliedCategoryField()
    is_pull = models.BooleanField()
    events = models.BigIntegerField()

    objects = GatedQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "tallies"
        default_permissions = ["view"]
        constraints = [
            # On PostgreSQL, it includes `is_pull` and `events`, so that charts read nothing but the index.
            models.UniqueConstraint(fields=["repository", "unit", "start", "category"], name="unique_tally")
        ]
        indexes = [
            # Covers sums over so many repositories that they aren't named.
            models.Index(
                fields=["unit", "start", "category", "repository", "is_pull", "events"],
                name="tally_by_time",
            ),
            models.Index(fields=["id"], condition=Q(events=0), name="tally_empty"),
        ]

    def __str__(self) -> str:
        unit = self.get_unit_display().lower()
        return f"{self.events} {self.category} events in the {unit} starting {self.start:%Y-%m-%d %H:%M}"


class TallyChange(models.Model):
    """A change in the number of events, not yet folded into the tallies and the ledger.

    Rows are inserted and deleted, but never updated. `events` is negative if events were deleted.
    """

    RECORDED: ClassVar[str] = "recorded"
    """The cause of changes that record events. Other causes are `run 7` and `import 3`, by their ids."""
    RECOUNTED: ClassVar[str] = ""
    """The cause of changes that count existing events again, which the ledger leaves out."""

    repository = UnconstrainedForeignKey(Repository, null=True)
    start = models.DateTimeField()
    """The start of the half hour in which the events happened."""
    category = TalliedCategoryField()
    is_pull = models.BooleanField()
    events = models.BigIntegerField()
    cause = models.CharField(max_length=40, blank=True, default=RECORDED, db_default=RECORDED)

    objects = GatedQuerySet.as_manager()

    class Meta:
        default_permissions = ["view"]
        indexes = [models.Index(fields=["repository", "start"], name="tally_change_repository")]

    def __str__(self) -> str:
        return f"{self.events:+} {self.category} events in the half hour starting {self.start:%Y-%m-%d %H:%M}"


class DroppedTallies(models.Model):
    """A range of whole days whose tallies are invalid, because nearly all their events were deleted at once.

    Folding deletes the invalid half-hourly and daily tallies, and recalculates those of weeks and four weeks.
    """

    is_pull = models.BooleanField()
    start = models.DateTimeField()
    end = models.DateTimeField()
    weeks_start = models.DateTimeField()
    weeks_end = models.DateTimeField()
    """The end of the last four weeks that contain any of these days.

    `weeks_start` is the start of the first ones. The tallies of weeks and four weeks in between are invalid
    until folding recalculates them.
    """

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        return (
            f"{'Pulls' if self.is_pull else 'Other events'} from {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"
        )


class LedgerEntry(models.Model):
    """How many events of a day (UTC) were recorded, imported or deleted (a negative number) by one cause.

    Unlike tallies, entries remain when events are deleted, so that their sum is the number of events that
    must be there. See `activity.deletion.verification`.
    """

    day = models.DateField()
    cause = models.CharField(max_length=40)
    events = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "ledger entries"
        default_permissions = ["view"]
        constraints = [models.UniqueConstraint(fields=["day", "cause"], name="unique_ledger_entry")]

    def __str__(self) -> str:
        return f"{self.day}: {self.events:+} events, {self.cause}"
