"""The content of the admin overview: recent activity, and problems that need attention.

The overview runs a fixed number of queries, which don't slow down as the number of events grows. The event
counts come from the tallies. The failures and the busiest users come from the newest events.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from activity.admin.capped import capped_count
from activity.admin.event_list import search_url
from activity.admin.waiting_changes import waiting_changes
from activity.feed import chart, chart_counts, plans, reading, search
from activity.feed.search_language import Search, Term
from activity.health.registries import MAX_DEAD_LETTERS
from activity.health.report import create_report
from activity.identity import moment_of
from activity.models import (
    ActorType,
    DeadLetter,
    Event,
    Registry,
    RegistryNode,
    Run,
    Tally,
    label_of_actor,
)
from activity.storage import tallies
from activity.storage.tallies import DAY
from repositories.access.resolving import Access
from repositories.models import Repository

DAYS = 30
ROWS = 5
"""The maximum number of rows in the lists of repositories, users and failures."""
SAMPLED_EVENTS = 500
"""The busiest users are found by counting events among this many of the newest events."""
REGISTRIES = 20
FAILURES = Search((Term("type", "FAIL"),))


def build_context(user: Any) -> dict[str, Any]:
    """Return the template context of the overview for an MSR admin or auditor."""
    access = Access.for_user(user)
    now = timezone.now()
    failures = search.plan(plans.Plan(Event.objects.visible_to(access), access), FAILURES)
    return {
        "health": create_report(),
        "days": DAYS,
        "chart": events_by_day(access, now),
        "busiest": busiest_repositories(now),
        "actors": busiest_actors(access),
        "failures": reading.find(failures, ROWS).rows,
        "failures_url": search_url(FAILURES),
        "waiting": waiting_changes(user),
        "waiting_dead_letters": capped_count(DeadLetter.objects.filter(DeadLetter.WAITING), MAX_DEAD_LETTERS),
        "run": Run.objects.filter(preview=False).first(),
        "registries": list(Registry.objects.select_related("account")[:REGISTRIES]),
        "wrong_clocks": list(
            RegistryNode.objects.exclude(clock_offset=None).select_related("account")[:REGISTRIES]
        ),
    }


def events_by_day(access: Access, now: datetime) -> chart.Chart:
    """Return the chart of the viewer's last `DAYS` days, with a link from each day to its events."""
    zone = timezone.get_current_timezone()
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    after, before = (midnight + timedelta(days=days) for days in (1 - DAYS, 1))
    buckets = chart_counts.count_by_tallies(
        access, after=after.astimezone(UTC), before=before.astimezone(UTC), zone=zone
    )
    return chart.draw(buckets, lambda bucket: search_url(Search(after=bucket.start, before=bucket.end)))


def busiest_repositories(now: datetime) -> dict[str, Any]:
    """Return the repositories with the most events on the last day that has any, and their event counts."""
    days = tallies.valid(Tally.Unit.DAY)
    starts = days.filter(repository=Tally.ALL, start__lte=now).order_by("-start")
    day = starts.values_list("start", flat=True).first()
    if day is None:
        return {}
    sums = days.filter(start=day).exclude(repository=Tally.ALL).values_list("repository")
    counts = dict(sums.annotate(number=Sum("events")).order_by("-number", "repository")[:ROWS])
    repositories = Repository.objects.select_related("namespace").in_bulk(counts)
    found = [(repositories[pk], number) for pk, number in counts.items() if pk in repositories]

    def url(repository: Repository) -> str:
        return search_url(Search((Term("repo", repository.full_name),), after=day, before=day + DAY))

    return {"day": day, "rows": [(repository, number, url(repository)) for repository, number in found]}


def busiest_actors(access: Access) -> dict[str, Any]:
    """Return the users with the most events among the newest `SAMPLED_EVENTS` events, with their counts.

    The result also contains the number of sampled events and the time of the oldest sampled event.
    """
    newest = Event.objects.visible_to(access).order_by("-id")
    rows = list(newest.values_list("id", "actor_type", "actor_name")[:SAMPLED_EVENTS])
    if not rows:
        return {}
    busiest = Counter(name for _, type, name in rows if type == ActorType.USER).most_common(ROWS)
    links = [
        (label_of_actor(ActorType.USER, name), number, search_url(Search((Term("actor", name),))))
        for name, number in busiest
    ]
    return {"number": len(rows), "since": moment_of(rows[-1][0]), "rows": links}
