"""The positions of events: the newest one, and which ones were removed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class NewestPosition(models.Model):
    """The position of the event that was committed last, in the only row. See `activity.storage.positions`.

    A transaction that records events locks the row until its end, so positions are in the order of commits.
    """

    ONLY: ClassVar[int] = 1
    """The id of the only row, which the first event creates."""

    id = models.SmallIntegerField(primary_key=True, editable=False)
    position = models.BigIntegerField()

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        return str(self.position)


class Removal(models.Model):
    """The positions of the events that one transaction deleted. Rows are inserted, but never updated."""

    lowest = models.BigIntegerField()
    highest = models.BigIntegerField()

    class Meta:
        default_permissions = ["view"]
        indexes = [models.Index(fields=["highest"], name="removal_highest")]

    def __str__(self) -> str:
        return f"{self.lowest} to {self.highest}"
