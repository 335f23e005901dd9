"""Finds the time of the newest visible event in each of several repositories."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import OuterRef, Subquery

from activity.models import Tally, TallyChange
from activity.storage import tallies
from repositories.access.resolving import Access
from repositories.models import Repository


def last_activity(access: Access, repositories: Collection[Repository]) -> dict[int, datetime]:
    """Return the hour of the newest visible event in each repository, by repository id.

    Repositories without visible events are left out. Runs one query, which reads the tallies, newest first.
    Reading the events instead could mean skipping a million events to find one that the viewer may see.
    """
    outer_pk = OuterRef("pk")
    folded = tallies.valid(Tally.Unit.HOUR).filter(repository=outer_pk).order_by("-start")
    waiting = TallyChange.objects.filter(repository=outer_pk, events__gt=0).order_by("-hour")
    rows = Repository.objects.filter(pk__in=[repository.pk for repository in repositories]).order_by()
    hours = rows.values_list(
        "pk",
        Subquery(folded.visible_in_each(access, repositories).values("start")[:1]),
        Subquery(waiting.visible_in_each(access, repositories).values("hour")[:1]),
    )
    return {pk: max(known) for pk, *found in hours if (known := list(filter(None, found)))}
