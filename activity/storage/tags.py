"""The tags of repositories, kept as events are recorded: what they point to, who pushed and pulled them.

The events may arrive in any order: of all pushes of a tag the newest counts, and of all deletions. A tag
is there if its newest push is newer than its newest deletion, and than that of the manifest it points to,
since a registry that deletes a manifest drops its tags, with or without telling of each.

What a message tells is merged into the rows of its tags by the database, in one statement. Pushes and
deletions are rare, and lock these rows. Pulls are not: they are appended to `TagPull`, and folded by Celery
beat, so that nobody waits for the row of a busy tag. What is kept stays when the events are deleted, and
isn't counted again when they are brought back from an archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import DateTimeField, Exists, F, Max, Model, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, Greatest, NullIf

from activity.identity import EPOCH
from activity.models import DeletedManifest, Event, Tag, TagPull
from activity.storage.rows import insert_rows
from repositories.models import Repository

PUSHES = frozenset({"create_tag", "update_tag"})
FOLDED = 2_000
"""Rows of pulls folded in one transaction."""

Key = tuple[Any, str]
"""A repository's id, and the name of a tag or a digest."""


def _newer(table: str, time: str, *columns: str) -> str:
    """Return SQL that takes a time, and the columns that go with it, from whichever row has the later one."""
    later = f"{table}.{time} IS NULL OR excluded.{time} > {table}.{time}"
    return ", ".join(
        f"{column} = CASE WHEN {later} THEN excluded.{column} ELSE {table}.{column} END"
        for column in (time, *columns)
    )


PUSH = ("digest", "pushed_by_type", "pushed_by_name", "pushed_by_user_id")
MERGE_TAG = f"""
    ON CONFLICT (repository_id, name) DO UPDATE SET
        {_newer("registry_activity_tag", "last_push", *PUSH)},
        {_newer("registry_activity_tag", "last_deletion")},
        {_newer("registry_activity_tag", "pulled_at")},
        pulls = registry_activity_tag.pulls + excluded.pulls
"""
MERGE_MANIFEST = f"""
    ON CONFLICT (repository_id, digest) DO UPDATE SET {_newer("registry_activity_deletedmanifest", "last_deletion")}
"""


def keep(events: Iterable[Event]) -> None:
    """Keep what events that were just inserted tell of tags, in the same transaction."""
    writes, deletions, pulls = [], [], []
    for event in events:
        if event.repository_id is None:
            continue
        if event.kind in PUSHES or event.kind == "delete_tag":
            writes.append(event)
        elif event.kind == "delete_manifest":
            deletions.append(event)
        elif event.kind == "get_tag":
            pulls.append(event)
    _keep_tags(writes)
    _keep_deletions(deletions)
    _append_pulls(pulls)


def current(repository: Repository) -> QuerySet[Tag]:
    """Return the tags that a repository has."""
    deleted = DeletedManifest.objects.filter(
        repository=OuterRef("repository"), digest=OuterRef("digest"), last_deletion__gt=OuterRef("last_push")
    )
    return Tag.objects.filter(Tag.NOT_DELETED, ~Exists(deleted), repository=repository)


def with_pulls(tags: QuerySet[Tag]) -> QuerySet[Any]:
    """Load how often each tag was ever pulled, as `all_pulls`, and when last, as `last_pulled_at` or None."""
    rows = TagPull.objects.filter(repository=OuterRef("repository"), name=OuterRef("name"))
    waiting = rows.order_by().values("name")
    never = Value(EPOCH, DateTimeField())
    return tags.annotate(
        all_pulls=F("pulls") + Coalesce(Subquery(waiting.values(number=Sum("pulls"))), 0),
        last_pulled_at=NullIf(
            Greatest(
                Coalesce("pulled_at", never),
                Coalesce(Subquery(waiting.values(moment=Max("pulled_at"))), never),
            ),
            never,
        ),
    )


def fold() -> int:
    """Fold all pulls into their tags, some at a time, and return how many rows there were."""
    total = 0
    while folded := _fold_some():
        total += folded
    return total


@transaction.atomic
def _fold_some() -> int:
    waiting = TagPull.objects.order_by("pk")
    if connection.features.has_select_for_update_skip_locked:
        waiting = waiting.select_for_update(skip_locked=True)  # another worker may be folding
    pulls = list(waiting[:FOLDED])
    tags: dict[Key, Tag] = {}
    for row in pulls:
        key = row.repository_id, row.name
        tag = tags.setdefault(key, Tag(repository_id=row.repository_id, name=row.name))
        tag.pulls += row.pulls
        tag.pulled_at = max(row.pulled_at, tag.pulled_at or row.pulled_at)
    _merge(tags, MERGE_TAG)
    TagPull.objects.filter(pk__in=[row.pk for row in pulls]).delete()
    return len(pulls)


def _keep_tags(events: list[Event]) -> None:
    tags: dict[Key, Tag] = {}
    for event in events:
        repository, name = key = _key(event)
        tag = tags.setdefault(key, Tag(repository_id=repository, name=name))
        if event.kind == "delete_tag":
            tag.last_deletion = max(tag.last_deletion, event.pk)
        elif event.pk > tag.last_push:
            tag.last_push = event.pk
            tag.digest = event.digest
            tag.pushed_by_type, tag.pushed_by_name = event.actor_type, event.actor_name
            tag.pushed_by_user_id = event.actor_user_id
    _merge(tags, MERGE_TAG)


def _keep_deletions(events: list[Event]) -> None:
    manifests: dict[Key, DeletedManifest] = {}
    for event in events:
        repository, digest = key = _key(event, "digest")
        manifest = manifests.setdefault(key, DeletedManifest(repository_id=repository, digest=digest))
        manifest.last_deletion = max(manifest.last_deletion, event.pk)
    _merge(manifests, MERGE_MANIFEST)


def _append_pulls(events: list[Event]) -> None:
    moments: dict[Key, list[datetime]] = {}
    for event in events:
        moments.setdefault(_key(event), []).append(event.occurred_at)
    rows = [
        TagPull(repository_id=repository, name=name, pulls=len(when), pulled_at=max(when))
        for (repository, name), when in moments.items()
    ]
    insert_rows(rows)


def _key(event: Event, field: str = "tag") -> Key:
    return event.repository_id, getattr(event, field)


def _merge(rows: Mapping[Key, Model], ending: str) -> None:
    """Merge rows into those of the same keys, in one order, so that two messages can't deadlock."""
    insert_rows([rows[key] for key in sorted(rows)], ending)
