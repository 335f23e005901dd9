"""Finds the time of the newest visible event in each of several repositories."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import OuterRef, Subquery

from activity.gating import GatedQuerySet
from activity.models import Tally, TallyChange
from activity.storage import tallies
from repositories.access.resolving import Access
from repositories.models import Repository


def last_activity(access: Access, repositories: Collection[Repository]) -> dict[int, datetime]:
    """Return the half hour of the newest visible event in each repository, by repository id.

    Repositories without visible events are left out. Half hours are kept for a month, so for an older event,
    the day (UTC) is returned. Runs one query, which reads the tallies, newest first.
    Reading the events instead could mean skipping a million events to find one that the viewer may see.
    """
    outer_pk = OuterRef("pk")
    counts: list[GatedQuerySet] = [
        tallies.valid(unit).filter(repository=outer_pk) for unit in (Tally.Unit.HALF_HOUR, Tally.Unit.DAY)
    ]
    counts.append(TallyChange.objects.filter(repository=outer_pk, events__gt=0))
    rows = Repository.objects.filter(pk__in=[repository.pk for repository in repositories]).order_by()
    visible = (each.visible_in_each(access, repositories).order_by("-start") for each in counts)
    starts = rows.values_list("pk", *(Subquery(each.values("start")[:1]) for each in visible))
    return {pk: max(known) for pk, *found in starts if (known := list(filter(None, found)))}
