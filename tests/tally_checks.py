"""An assertion that tallies agree with the events. Charts are drawn from tallies."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, tzinfo
from unittest import mock

from activity.feed import chart_counts
from activity.models import Event
from repositories.access.levels import REGISTRY_ROLES
from repositories.access.resolving import Access
from repositories.models import Repository


def assert_tallies_match_events(after: datetime, before: datetime, zone: tzinfo = UTC) -> None:
    """Assert that the tallies of a time range match its events, per repository and for the whole registry.

    Those of all repositories are also added up as for a viewer of many repositories.
    """
    access = Access(everywhere=REGISTRY_ROLES["administer_registry"])
    pulls = Event.objects.filter(pull=None)  # an event that is part of another pull isn't counted
    events = list(pulls.values_list("repository", "occurred_at", "category"))
    everything = Repository.objects.order_by()
    with mock.patch.object(chart_counts, "MAX_LISTED", 0):
        of_many = chart_counts.count_by_tallies(access, within=everything, after=after, before=before)
    for bucket in of_many:
        inside = Counter(
            category for pk, moment, category in events if pk and bucket.start <= moment < bucket.end
        )
        assert bucket.counts == inside, bucket
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
