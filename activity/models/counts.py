"""Tallies: counts of events by hour, day and week."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from repositories.models import Repository


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
                fields=["unit", "start", "category", "repository", "is_pull", "events"],
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
