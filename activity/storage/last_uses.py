"""Notes the hours in which repositories were last pushed to and pulled from.

They are columns of the repositories, so that lists can be sorted by them, and remain when events are deleted.
Folding the tallies updates them, so recording an event never waits for the row of a busy repository.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from activity.models import TallyChange
from repositories.access.levels import Category
from repositories.models import Repository


def note_changes(changes: Iterable[TallyChange]) -> None:
    """Note the hours of newly counted pushes and pulls. Makes at most three queries."""
    hours: dict[int, dict[str, datetime]] = {}
    for row in changes:
        field = "last_pull" if row.is_pull else "last_push" if row.category == Category.PUSH else ""
        if field and row.repository_id and row.events > 0:
            known = hours.setdefault(row.repository_id, {})
            hour = row.start.replace(minute=0)
            known[field] = max(hour, known.get(field, hour))
    _note(hours)


def note_requests(requests: Iterable[tuple[Repository, datetime]]) -> None:
    """Note the hours in which clients asked for tags. Makes a query for each hour that isn't noted yet."""
    repositories: dict[datetime, set[int]] = {}
    for repository, moment in requests:
        hour = min(moment, timezone.now()).replace(minute=0, second=0, microsecond=0)
        if repository.last_pull is None or repository.last_pull < hour:
            repositories.setdefault(hour, set()).add(repository.pk)
    for hour, ids in sorted(repositories.items()):
        earlier = Repository.objects.filter(Q(last_pull=None) | Q(last_pull__lt=hour), pk__in=ids)
        locked = earlier.order_by("pk").select_for_update(no_key=True)
        Repository.objects.filter(pk__in=locked.values("pk")).update(last_pull=hour)


def _note(hours: dict[int, dict[str, datetime]]) -> None:
    now, changed = timezone.now(), {}
    for repository in Repository.objects.filter(pk__in=hours).only("pk", "last_push", "last_pull").order_by():
        for field, hour in hours[repository.pk].items():
            hour, known = min(hour, now), getattr(repository, field)  # the clock of a node can be ahead
            if known is None or known < hour:
                setattr(repository, field, hour)
                changed[repository.pk] = repository
    if changed:
        # The rows are locked in a fixed order, so that two transactions can't deadlock.
        rows = Repository.objects.filter(pk__in=changed).select_for_update(no_key=True).order_by("pk")
        list(rows.values_list("pk"))
        Repository.objects.bulk_update(changed.values(), ["last_push", "last_pull"])
