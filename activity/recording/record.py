"""Records events: the one function through which every event enters the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction

from activity.catalogue import KINDS
from activity.identity import event_id
from activity.models import ActorType, Event
from activity.recording.drafts import Draft
from activity.recording.repositories import RepositoryFinder
from activity.storage import tags
from activity.storage.events import insert
from repositories.models import Policy, Repository

POLICIES = frozenset(Policy.Kind.values)
"""The types of actors that are policies; made once, as Django makes `values` anew each time."""


@transaction.atomic(savepoint=False)
def record_events(drafts: Sequence[Draft], account_id: int | None = None) -> list[UUID]:
    """Record events, once: those that are there already are left as they are.

    `account_id` is the user whose token delivered them, None for the application itself. Returns
    the id of each draft's event, in their order. All are committed, or none.
    """
    ids = [_id(draft, account_id) for draft in drafts]
    placed = _place(dict(zip(ids, drafts, strict=True)), account_id)
    _mark_deleted(placed.values())
    users = _users(placed.values())
    policies = _policies(placed.values())
    # Sorted, so that two messages with the same events can't deadlock.
    events = [_event(id, placed[id], users, policies) for id in sorted(placed)]
    tags.keep(insert(events))
    return ids


def _place(drafts: dict[UUID, Draft], account_id: int | None) -> dict[UUID, Draft]:
    """Give each draft its repository, and add the events of those that had to be registered."""
    finder = RepositoryFinder(
        draft.repository_name for draft in drafts.values() if draft.repository_name and not draft.repository
    )
    placed: dict[UUID, Draft] = {}
    unplaced: dict[UUID, Draft] = {}
    for id, draft in drafts.items():
        if not draft.repository_name:  # what happens to the system is in no repository
            placed[id] = draft
            continue
        repository = draft.repository or finder.at(draft.repository_name, draft.occurred_at)
        (placed if repository else unplaced)[id] = draft.of_kind(draft.kind, repository=repository)
    if not unplaced:
        return placed
    # A message that comes again after its repository's deletion must not bring the name back.
    for id in Event.objects.filter(pk__in=unplaced).values_list("pk", flat=True):
        del unplaced[id]
    first_seen: dict[str, Draft] = {}
    for draft in sorted(unplaced.values(), key=lambda draft: (draft.occurred_at, draft.ordinal)):
        first_seen.setdefault(draft.repository_name, draft)
    for draft in finder.register(first_seen):
        placed[_id(draft, account_id)] = draft
    for id, draft in unplaced.items():
        placed[id] = draft.of_kind(draft.kind, repository=finder.at(draft.repository_name, draft.occurred_at))
    return placed


def _mark_deleted(drafts: Iterable[Draft]) -> None:
    """Mark the repositories that were deleted in the registry, from the moment of their deletion on."""
    for draft in drafts:
        if draft.kind == "delete_repository" and draft.repository:
            live = Repository.objects.filter(pk=draft.repository.pk, deleted_at=None)
            live.update(deleted_at=draft.occurred_at)


def _id(draft: Draft, account_id: int | None) -> UUID:
    is_pull = KINDS[draft.kind].is_pull
    return event_id(draft.occurred_at, draft.ordinal, account_id, draft.source_id, is_pull=is_pull)


def _users(drafts) -> dict[str, int]:
    """Return the users whom actors are linked to, by name."""
    names = {draft.actor_name for draft in drafts if draft.actor_type == ActorType.USER}
    field = get_user_model().USERNAME_FIELD
    return dict(get_user_model()._default_manager.filter(**{f"{field}__in": names}).values_list(field, "pk"))


def _policies(drafts) -> dict[str, int]:
    """Return the policies that actors are linked to, by their ids."""
    ids = {draft.actor_name for draft in drafts if draft.actor_type in POLICIES}
    return dict(Policy.objects.filter(public_id__in=ids).values_list("public_id", "pk")) if ids else {}


def _event(id: UUID, draft: Draft, users: dict[str, int], policies: dict[str, int]) -> Event:
    return Event(
        id=id,
        occurred_at=draft.occurred_at,
        kind=draft.kind,
        category=KINDS[draft.kind].category.value,
        is_pull=KINDS[draft.kind].is_pull,
        repository=draft.repository,
        repository_name=draft.repository_name,
        tag=draft.tag,
        digest=draft.digest,
        actor_type=draft.actor_type,
        actor_name=draft.actor_name,
        actor_user_id=users.get(draft.actor_name) if draft.actor_type == ActorType.USER else None,
        policy_id=_policy(draft, policies),
        details=draft.details,
    )


def _policy(draft: Draft, policies: dict[str, int]) -> int | None:
    """Return the policy that an event is about: that to which it was done, or that which did it."""
    if draft.policy:
        return draft.policy.pk
    return policies.get(draft.actor_name) if draft.actor_type in POLICIES else None
