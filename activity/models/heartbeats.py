"""Heartbeats of the programs, by which `activity.health` notices programs that have stopped."""

from __future__ import annotations

from django.db import models


class Heartbeat(models.Model):
    """The last heartbeat of a program, such as the Celery worker. See `activity.storage.heartbeats`."""

    program = models.CharField(max_length=50, primary_key=True)
    beat_at = models.DateTimeField()
    trusted_at = models.DateTimeField()
    """The time of the last heartbeat that came when the clock was plausible."""

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        return f"{self.program}: {self.beat_at:%Y-%m-%d %H:%M:%S} UTC"
