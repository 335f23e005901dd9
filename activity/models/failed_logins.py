"""Counts of failed logins."""

from __future__ import annotations

from django.db import models

from activity.models.actors import MAX_ACTOR_LENGTH
from activity.models.events import Event
from repositories.utils.fields import UnconstrainedForeignKey


class FailedLogins(models.Model):
    """The failed logins with one username, from one network, in a quarter of an hour.

    Only the first failure is recorded as an event. The event is shown with the number of attempts.
    """

    username = models.CharField(max_length=MAX_ACTOR_LENGTH)
    network = models.CharField(max_length=50)
    start = models.DateTimeField()
    event = UnconstrainedForeignKey(Event, null=True, db_index=True, related_name="failed_logins")
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "failed logins"
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(fields=["network", "start", "username"], name="one_failed_logins_count")
        ]

    def __str__(self) -> str:
        return f"{self.attempts} failed logins of {self.username} from {self.start:%Y-%m-%d %H:%M}"
