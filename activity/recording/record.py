"""Records events. All new events go through `record_events`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q

from activity.identity import by_number
from activity.models import ActorType, Event
from activity.recording.drafts import Draft
from activity.recording.repositories import RepositoryFinder
from activity.storage import tags
from activity.storage.events import insert
from activity.storage.rows import build
from repositories.models import Policy, Repository

POLICY_ACTOR_TYPES = frozenset(Policy.Kind.values)
"""The actor types of policies. They are stored here because Django computes `values` on every access."""


@transaction.atomic(savepoint=False)
def record_events(drafts: Sequence[Draft], requests: Sequence[Draft] = ()) -> list[UUID]:
    """Record the events that don't exist yet, and return the ids of all events, in the order of the drafts.

    `requests` are tags that were asked for, but not pulled, which are no events. Those of unknown
    repositories are ignored. Either everything is committed or nothing is. Existing events are left
    unchanged. Of several drafts of the same event, the first one counts.
    """
    ids = [draft.event_id for draft in drafts]
    first: dict[UUID, Draft] = {}
    for id, draft in zip(ids, drafts, strict=True):
        first.setdefault(id, draft)
    finder = RepositoryFinder(
        draft.repository_name
        for draft in chain(first.values(), requests)
        if draft.repository_name and not draft.repository
    )
    resolved = _resolve_repositories(first, finder)
    users = _user_ids(resolved.values())
    policies = _policy_ids(resolved.values())
    # Sorted, so that two messages with the same events can't deadlock.
    events = [_build_event(id, resolved[id], users, policies) for id in sorted(resolved, key=by_number)]
    new = insert(events)
    tags.update_tags(new)
    _mark_deleted(new)
    tags.update_requests(
        (repository, draft.tag, draft.effective_at)
        for draft in requests
        if (repository := finder.find_at(draft)) is not None
    )
    return ids


def _resolve_repositories(drafts: dict[UUID, Draft], finder: RepositoryFinder) -> dict[UUID, Draft]:
    """Set the repository of each draft, and add a draft for each newly registered repository."""
    resolved: dict[UUID, Draft] = {}
    unresolved: dict[UUID, Draft] = {}
    for id, draft in drafts.items():
        if not draft.repository_name:  # for example, a change to the system settings
            resolved[id] = draft
            continue
        repository = draft.repository or finder.find(draft.repository_name, draft.occurred_at)
        (resolved if repository else unresolved)[id] = draft.changed(repository=repository)
    if not unresolved:
        return resolved
    # A message that is redelivered after its repository was deleted must not register a new repository.
    for id in Event.objects.filter(pk__in=unresolved).values_list("pk", flat=True):
        del unresolved[id]
    first_seen: dict[str, Draft] = {}
    for draft in sorted(unresolved.values(), key=_order):
        first_seen.setdefault(draft.repository_name, draft)
    for draft in finder.register(first_seen):
        resolved[draft.event_id] = draft
    for id, draft in unresolved.items():
        resolved[id] = draft.changed(repository=finder.find(draft.repository_name, draft.occurred_at))
    return resolved


def _order(draft: Draft) -> tuple[int, datetime, int]:
    """Return the position of a draft among those that are recorded at once: message by message, by time."""
    return draft.delivery.number, draft.occurred_at, draft.ordinal


def _mark_deleted(events: Iterable[Event]) -> None:
    """Set the deletion time of repositories that were deleted in the registry.

    Events may arrive in any order. A repository that was used later exists, or exists again.
    """
    for event in events:
        if event.kind == "delete_repository" and event.repository_id:
            unused = Q(last_pull=None) | Q(last_pull__lte=event.effective_at)
            live = Repository.objects.filter(unused, pk=event.repository_id, deleted_at=None)
            if not tags.pushed_after(event.repository_id, event.effective_at):
                live.update(deleted_at=event.effective_at)


def _user_ids(drafts) -> dict[str, int]:
    """Return the primary keys of the users who are actors in the drafts, keyed by username."""
    names = {draft.actor_name for draft in drafts if draft.actor_type == ActorType.USER}
    field = get_user_model().USERNAME_FIELD
    return dict(get_user_model()._default_manager.filter(**{f"{field}__in": names}).values_list(field, "pk"))


def _policy_ids(drafts) -> dict[str, int]:
    """Return the primary keys of the policies that are actors in the drafts, keyed by public id."""
    public_ids = {draft.actor_name for draft in drafts if draft.actor_type in POLICY_ACTOR_TYPES}
    if not public_ids:
        return {}
    return dict(Policy.objects.filter(public_id__in=public_ids).values_list("public_id", "pk"))


def _build_event(id: UUID, draft: Draft, users: dict[str, int], policies: dict[str, int]) -> Event:
    return build(
        Event,
        id=id,
        occurred_at=draft.occurred_at,
        received_at=draft.received_at or draft.delivery.received_at,
        kind=draft.kind,
        repository_id=draft.repository and draft.repository.pk,
        repository_name=draft.repository_name,
        tag=draft.tag,
        digest=draft.digest,
        pull=draft.pull,
        actor_type=draft.actor_type,
        actor_name=draft.actor_name,
        actor_user_id=users.get(draft.actor_name) if draft.actor_type == ActorType.USER else None,
        subject_user_id=draft.subject_user_id,
        policy_id=_policy_id(draft, policies),
        details=draft.details,
        delivered_by_id=draft.delivery.account_id,
        delivered_with=draft.delivery.token_key,
    )


def _policy_id(draft: Draft, policies: dict[str, int]) -> int | None:
    """Return the primary key of the policy that the event is about, or else of the policy that acted."""
    if draft.policy:
        return draft.policy.pk
    return policies.get(draft.actor_name) if draft.actor_type in POLICY_ACTOR_TYPES else None
