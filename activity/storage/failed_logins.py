"""Deletes counts of failed logins."""

from __future__ import annotations

from itertools import islice

from activity.models import Event, FailedLogins

BATCH = 500


def delete_orphans() -> None:
    """Delete the counts whose events have been deleted."""
    counts = FailedLogins.objects.order_by("pk").values_list("pk", "event_id").iterator()
    while batch := dict(islice(counts, BATCH)):
        kept = set(Event.objects.filter(pk__in=batch.values()).values_list("pk", flat=True))
        FailedLogins.objects.filter(pk__in=[pk for pk, event in batch.items() if event not in kept]).delete()
