"""An assertion that tallies agree with the events. Charts are drawn from tallies."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, tzinfo

from activity.feed import chart_counts
from activity.models import Event
from repositories.access.levels import REGISTRY_ROLES
from repositories.access.resolving import Access
from repositories.models import Repository


def assert_tallies_match_events(after: datetime, before: datetime, zone: tzinfo = UTC) -> None:
    """Assert that the tallies of a time range match its events, per repository and for the whole registry."""
    access = Access(everywhere=REGISTRY_ROLES["administer_registry"])
    pulls = Event.objects.filter(pull=None)  # an event that is part of another pull isn't counted
    events = list(pulls.values_list("repository", "occurred_at", "category"))
    for repository in [None, *Repository.objects.all()]:
        for bucket in chart_counts.count_by_tallies(
            access, repository=repository, after=after, before=before, zone=zone
        ):
            inside = Counter(
                category
                for pk, moment, category in events
                if bucket.start <= moment < bucket.end and (repository is None or pk == repository.pk)
            )
            assert bucket.counts == inside, (repository, bucket)
