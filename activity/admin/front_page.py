"""What the admin's front page shows: what happened lately, and what needs somebody's attention.

However many events there are, it asks a fixed number of queries, and each reads a bounded number of
rows: the counts come from the tallies, the rest from the newest events.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from activity.admin.capped import MoreThan
from activity.feed import chart, counting, search, search_language
from activity.identity import moment_of
from activity.models import ActorType, DeadLetter, Event, Registry, Run, Tally
from activity.storage import tallies
from activity.storage.tallies import DAY, floor
from repositories.access.resolving import Access
from repositories.models import Repository

DAYS = 30
SHOWN = 5
"""Rows of each list."""
LOOKED_AT = 500
"""The newest events, among which the busiest actors are looked for."""
MOST_COUNTED = 1_000
REGISTRIES = 20


def contents(user: Any) -> dict[str, Any]:
    """Return all that the page shows to an MSR admin or auditor."""
    access = Access.of(user)
    now = timezone.now()
    return {
        "days": DAYS,
        "chart": events_by_day(access, now),
        "busiest": busiest_repositories(now),
        "actors": busiest_actors(access),
        "failures": recent_failures(access),
        "failures_url": events_url("type:fail"),
        "aside": aside(),
        "run": Run.objects.filter(preview=False).first(),
        "registries": list(Registry.objects.select_related("account")[:REGISTRIES]),
    }


def events_url(text: str) -> str:
    """Return the list of events that a search finds."""
    return f"{reverse('admin:registry_activity_event_changelist')}?{urlencode({'q': text})}"


def within(after: datetime, before: datetime) -> str:
    """Return the search for a time, given in UTC."""
    return f"after:{after:%Y-%m-%dT%H:%MZ} before:{before:%Y-%m-%dT%H:%MZ}"


def events_by_day(access: Access, now: datetime) -> chart.Chart:
    """Return the chart of the last days, in UTC, each leading to its events."""
    today = floor(now, DAY)
    buckets = counting.by_tallies(access, after=today - (DAYS - 1) * DAY, before=today + DAY)
    return chart.draw(buckets, lambda bucket: events_url(within(bucket.start, bucket.end)))


def busiest_repositories(now: datetime) -> dict[str, Any]:
    """Return the repositories with most events on the last day that has any, with how many these are."""
    days = tallies.valid(Tally.Unit.DAY)
    starts = days.filter(repository=Tally.ALL, start__lte=now).order_by("-start")
    day = starts.values_list("start", flat=True).first()
    if day is None:
        return {}
    sums = (
        days.filter(start=day)
        .exclude(repository=Tally.ALL)
        .values_list("repository")
        .annotate(number=Sum("events"))
        .order_by("-number", "repository")[:SHOWN]
    )
    counts = dict(sums)
    repositories = Repository.objects.select_related("namespace").in_bulk(counts)
    return {
        "day": day,
        "rows": [
            (repository, number, events_url(f"repo:{repository.full_name} {within(day, day + DAY)}"))
            for pk, number in counts.items()
            if (repository := repositories.get(pk))
        ],
    }


def busiest_actors(access: Access) -> dict[str, Any]:
    """Return who initiated most of the newest events, and since when these are."""
    newest = Event.objects.visible_to(access).order_by("-id")
    rows = list(newest.values_list("id", "actor_type", "actor_name")[:LOOKED_AT])
    if not rows:
        return {}
    counts = Counter((type_, name) for _, type_, name in rows if type_ == ActorType.USER)
    since = moment_of(rows[-1][0])
    return {
        "number": len(rows),
        "since": since,
        "rows": [
            (name, number, events_url(str(search_language.Term("actor", name))))
            for (_, name), number in counts.most_common(SHOWN)
        ],
    }


def recent_failures(access: Access) -> list[Any]:
    """Return the newest events of type FAIL, among as many as a search reads at a time."""
    failures = search.conditions_of(search_language.Search(terms=(search_language.Term("type", "FAIL"),)))
    return search.find(Event.objects.visible_to(access), failures, SHOWN).rows


def aside() -> int:
    """Return how many messages stored aside wait for somebody, up to a bound."""
    number = DeadLetter.objects.filter(DeadLetter.WAITING)[: MOST_COUNTED + 1].count()
    return number if number <= MOST_COUNTED else MoreThan(MOST_COUNTED)
