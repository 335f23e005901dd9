"""Sums up the pulls of a repository by who pulled."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model

from activity.identity import moment_of
from activity.models import Event, label_of_actor
from repositories.access.resolving import Access
from repositories.models import Repository

MAX_COUNTED = 10_000
"""The maximum number of pulls to read. Reading that many takes about 50 ms."""
MAX_SHOWN = 100


@dataclass
class Puller:
    """Who pulled from a repository, how often, and when last."""

    actor_type: str
    actor_name: str
    user: Any = None
    """The account, unless it was deleted, or never existed."""
    pulls: int = 0
    last: datetime | None = None
    tags: set[str] = field(default_factory=set)

    @property
    def label(self) -> str:
        return label_of_actor(self.actor_type, self.actor_name)


@dataclass(frozen=True)
class Pullers:
    """The sums, the greatest first."""

    rows: list[Puller]
    more: int
    """The number of further pullers."""
    since: datetime | None
    """The time since which pulls were counted, if there were too many to count all of them."""


def find_pullers(access: Access, repository: Repository, after: datetime, tag: str = "") -> Pullers:
    """Return who pulled from a repository since a time, as far as the viewer may see. Makes two queries."""
    pulls = Event.objects.visible_to(access, repository).only_pulls().between(after).filter(pull=None)
    if tag:
        pulls = pulls.filter(tag=tag)
    newest = pulls.order_by("-id").values_list("id", "actor_type", "actor_name", "actor_user", "tag")
    found = list(newest[: MAX_COUNTED + 1])
    sums: dict[tuple[Any, ...], Puller] = {}
    for id, actor_type, actor_name, user_id, pulled_tag in found[:MAX_COUNTED]:
        puller = sums.setdefault((actor_type, actor_name, user_id), Puller(actor_type, actor_name, user_id))
        puller.pulls += 1
        puller.last = puller.last or moment_of(id)
        puller.tags.add(pulled_tag)
    rows = sorted(sums.values(), key=lambda puller: (-puller.pulls, puller.label))
    users = get_user_model()._default_manager.in_bulk([row.user for row in rows[:MAX_SHOWN] if row.user])
    for row in rows[:MAX_SHOWN]:
        row.user = users.get(row.user)
    since = moment_of(found[MAX_COUNTED - 1][0]) if len(found) > MAX_COUNTED else None
    return Pullers(rows[:MAX_SHOWN], max(len(rows) - MAX_SHOWN, 0), since)
