"""The tags of repositories: what they point to, who pushed them, and how often they were pulled.

Recording an event updates its tag. Events may arrive in any order, so only the newest push and the newest
deletion of a tag count. A tag exists if its newest push is newer than both its newest deletion and the
newest deletion of its manifest. The manifest matters because a registry that deletes a manifest also deletes
its tags, but doesn't always send a notification for each tag.

Pushes and deletions are merged into the rows of their tags immediately. Because they are rare, locking the
rows is acceptable. Pulls are frequent, so they are appended to `TagPull`, and Celery beat folds them into the
tags later. That way, recording never waits for the row of a busy tag. Deleting events doesn't change tags,
and importing events from an archive doesn't count their pulls again.

An event from a node whose clock is ahead counts as of its receipt. Otherwise, no later event could change the
tag until the time has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import DateTimeField, Exists, F, Max, Model, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, Greatest, NullIf

from activity.identity import EPOCH, first_id, last_id, with_time
from activity.models import Event, Manifest, Tag, TagPull
from activity.models.tags import NOT_DELETED
from activity.storage import last_uses
from activity.storage.rows import build, insert_rows, take_rows
from repositories import names
from repositories.models import Repository

PUSHES = frozenset({"create_tag", "update_tag"})
SCANS = frozenset({"scan", "scan_failed"})
FOLD_BATCH = 2_000
"""The number of `TagPull` rows to fold in one transaction."""

Key = tuple[Any, str]
"""The id of a repository, and either the name of a tag or the digest of a manifest."""


def _set_newer(table: str, time: str, *columns: str) -> str:
    """Return SQL that overwrites the `time` column and `columns` if the inserted row has a later time."""
    later = f"{table}.{time} IS NULL OR excluded.{time} > {table}.{time}"
    return ", ".join(
        f"{column} = CASE WHEN {later} THEN excluded.{column} ELSE {table}.{column} END"
        for column in (time, *columns)
    )


PUSH_COLUMNS = ("digest", "pushed_by_type", "pushed_by_name", "pushed_by_user_id")
MERGE_TAG = f"""
    ON CONFLICT (repository_id, name) DO UPDATE SET
        {_set_newer("registry_activity_tag", "last_push", *PUSH_COLUMNS)},
        {_set_newer("registry_activity_tag", "last_deletion")},
        {_set_newer("registry_activity_tag", "pulled_at")},
        pulls = registry_activity_tag.pulls + excluded.pulls
"""
MERGE_MANIFEST = f"""
    ON CONFLICT (repository_id, digest) DO UPDATE SET
        {_set_newer("registry_activity_manifest", "last_push")},
        {_set_newer("registry_activity_manifest", "last_deletion")},
        {_set_newer("registry_activity_manifest", "last_scan")}
"""
MERGE_REQUEST = """
    ON CONFLICT (repository_id, name) DO UPDATE SET requested_at = excluded.requested_at
    WHERE registry_activity_tag.requested_at IS NULL
        OR registry_activity_tag.requested_at < excluded.requested_at
"""


def update_tags(events: Iterable[Event]) -> None:
    """Update the tags of newly inserted events. Call this in the transaction that inserts the events."""
    tag_changes, manifest_changes, pulls = [], [], []
    for event in events:
        if event.repository_id is None:
            continue
        if event.kind in PUSHES or event.kind == "delete_tag":
            tag_changes.append(event)
        elif event.kind in ("create_manifest", "delete_manifest") or (event.kind in SCANS and event.digest):
            manifest_changes.append(event)
        elif event.kind == "get_tag":
            pulls.append(event)
    _update_changed_tags(tag_changes)
    _update_manifests(manifest_changes)
    _append_pulls(pulls)


def update_requests(requests: Iterable[tuple[Repository, str, datetime]]) -> None:
    """Update the times of the last HEAD requests of tags, given as (repository, tag, time).

    The times are stored to the minute, so the row of a busy tag changes at most once a minute.
    """
    tags: dict[Key, Tag] = {}
    requests = list(requests)
    for repository, name, moment in requests:
        tag = tags.setdefault((repository.pk, name), _tag(repository.pk, name))
        minute = moment.replace(second=0, microsecond=0)
        tag.requested_at = max(minute, tag.requested_at or minute)
    _merge(tags, MERGE_REQUEST)
    last_uses.note_requests((repository, moment) for repository, _, moment in requests)


def current_tags(repository: Repository) -> QuerySet[Tag]:
    """Return the existing tags of a repository."""
    deleted = Manifest.objects.filter(
        repository=OuterRef("repository"), digest=OuterRef("digest"), last_deletion__gt=OuterRef("last_push")
    )
    return Tag.objects.filter(NOT_DELETED, ~Exists(deleted), repository=repository)


def pushed_after(repository_id: int, moment: datetime) -> bool:
    """Return whether a tag or manifest is known to have been pushed to a repository after a time."""
    later = {"repository": repository_id, "last_push__gt": last_id(first_id(moment))}
    return Tag.objects.filter(**later).exists() or Manifest.objects.filter(**later).exists()


def last_scans(repository: Repository, digests: Iterable[str]) -> dict[str, UUID]:
    """Return the ids of the newest scans of a repository's manifests, by digest."""
    manifests = Manifest.objects.filter(repository=repository, digest__in=set(digests))
    return dict(manifests.exclude(last_scan=Tag.NEVER).values_list("digest", "last_scan"))


def with_pulls(tags: QuerySet[Tag]) -> QuerySet[Any]:
    """Annotate tags with `total_pulls`, `last_pulled_at` and `last_used_at` (both None if never pulled).

    A tag is used when it is pulled, and also when a client that has the image already requests only the tag.
    """
    rows = TagPull.objects.filter(repository=OuterRef("repository"), name=OuterRef("name"))
    unfolded = rows.order_by().values("name")
    never = Value(EPOCH, DateTimeField())
    pulled_at = Greatest(
        Coalesce("pulled_at", never),
        Coalesce(Subquery(unfolded.values(moment=Max("pulled_at"))), never),
    )
    return tags.annotate(
        total_pulls=F("pulls") + Coalesce(Subquery(unfolded.values(number=Sum("pulls"))), 0),
        last_pulled_at=NullIf(pulled_at, never),
        last_used_at=NullIf(Greatest(pulled_at, Coalesce("requested_at", never)), never),
    )


def fold() -> int:
    """Fold all `TagPull` rows into their tags, in batches, and return the number of folded rows."""
    return sum(iter(_fold_batch, 0))


@transaction.atomic
def _fold_batch() -> int:
    pulls = take_rows(TagPull.objects.all(), FOLD_BATCH)
    tags: dict[Key, Tag] = {}
    for row in pulls:
        key = row.repository_id, row.name
        tag = tags.setdefault(key, _tag(*key))
        tag.pulls += row.pulls
        tag.pulled_at = max(row.pulled_at, tag.pulled_at or row.pulled_at)
    _merge(tags, MERGE_TAG)
    return len(pulls)


def _update_changed_tags(events: list[Event]) -> None:
    tags: dict[Key, Tag] = {}
    for event in events:
        key = _key(event)
        tag = tags.setdefault(key, _tag(*key))
        id = _effective_id(event)
        if event.kind == "delete_tag":
            tag.last_deletion = max(tag.last_deletion, id)
        elif id > tag.last_push:
            tag.last_push = id
            tag.digest = event.digest
            tag.pushed_by_type, tag.pushed_by_name = event.actor_type, event.actor_name
            tag.pushed_by_user_id = event.actor_user_id
    _merge(tags, MERGE_TAG)


def _update_manifests(events: list[Event]) -> None:
    manifests: dict[Key, Manifest] = {}
    for event in events:
        repository, digest = key = _key(event, "digest")
        manifest = manifests.setdefault(key, Manifest(repository_id=repository, digest=digest))
        if event.kind in SCANS:
            # Not the effective id: the event is looked up by its id.
            manifest.last_scan = max(manifest.last_scan, event.pk)
            continue
        field = "last_push" if event.kind == "create_manifest" else "last_deletion"
        setattr(manifest, field, max(getattr(manifest, field), _effective_id(event)))
    _merge(manifests, MERGE_MANIFEST)


def _append_pulls(events: list[Event]) -> None:
    times_by_tag: dict[Key, list[datetime]] = {}
    for event in events:
        times_by_tag.setdefault(_key(event), []).append(event.effective_at)
    rows = [
        build(TagPull, repository_id=repository, name=name, pulls=len(times), pulled_at=max(times))
        for (repository, name), times in times_by_tag.items()
    ]
    insert_rows(rows)


def _effective_id(event: Event) -> UUID:
    """Return the id of an event, with the time of its receipt if the clock of its node is ahead."""
    return with_time(event.pk, event.effective_at) if event.is_ahead else event.pk


def _tag(repository_id: Any, name: str) -> Tag:
    """Return a new row for a tag."""
    return build(Tag, repository_id=repository_id, name=name, image=names.image_of_tag(name))


def _key(event: Event, field: str = "tag") -> Key:
    return event.repository_id, getattr(event, field)


def _merge(rows: Mapping[Key, Model], ending: str) -> None:
    """Insert rows or merge them into existing rows, in sorted order, so that two messages can't deadlock."""
    insert_rows([rows[key] for key in sorted(rows)], ending)
