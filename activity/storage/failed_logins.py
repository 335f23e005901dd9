"""Deletes counts of failed logins."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice

from django.utils import timezone

from activity.models import Event, FailedLogins

BATCH = 500
MIN_AGE = timedelta(days=1)
"""The event of a newer count may still wait in the journal."""


def delete_orphans() -> None:
    """Delete the counts whose events have been deleted."""
    counts = (
        FailedLogins.objects.filter(start__lt=timezone.now() - MIN_AGE)
        .order_by("pk")
        .values_list("pk", "event_id")
        .iterator()
    )
    while batch := dict(islice(counts, BATCH)):
        kept = set(Event.objects.filter(pk__in=batch.values()).values_list("pk", flat=True))
        FailedLogins.objects.filter(pk__in=[pk for pk, event in batch.items() if event not in kept]).delete()
