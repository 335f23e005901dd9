"""Records what happens to repositories and policies in this application itself."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from django.dispatch import receiver
from django.utils import timezone

from activity.auditing import who
from activity.drafts import Draft
from activity.models import ActorType
from activity.recording import record_events
from repositories import acting, signals
from repositories.models import Policy, Repository


def record_own(
    kind: str,
    repository: Repository,
    actor: Any,
    at: datetime | None = None,
    policy: Policy | None = None,
    **details: Any,
) -> None:
    """Record that `actor`, a user or None, did something to a repository here."""
    actor_type, actor_name = (ActorType.USER, actor.get_username()) if actor else who()
    record_events(
        [
            Draft(
                kind=kind,
                repository=repository,
                repository_name=repository.full_name,
                actor_type=actor_type,
                actor_name=actor_name,
                occurred_at=at or timezone.now(),
                source_id=str(uuid4()),
                policy=policy,
                details={**details, **acting.client()},
            )
        ]
    )


@receiver(signals.repository_created)
def record_repository_created(repository: Repository, actor: Any, **_: Any) -> None:
    record_own("create_repository", repository, actor)


@receiver(signals.repository_deleted)
def record_repository_deleted(repository: Repository, actor: Any, **_: Any) -> None:
    record_own("delete_repository", repository, actor, at=repository.deleted_at)


@receiver(signals.policy_created)
def record_policy_created(policy: Policy, **told: Any) -> None:
    record_policy_event("create", policy, **told)


@receiver(signals.policy_updated)
def record_policy_updated(policy: Policy, **told: Any) -> None:
    record_policy_event("update", policy, **told)


@receiver(signals.policy_deleted)
def record_policy_deleted(policy: Policy, **told: Any) -> None:
    record_policy_event("delete", policy, **told)


def record_policy_event(verb: str, policy: Policy, actor: Any, changes: dict[str, Any], **_: Any) -> None:
    record_own(
        f"{verb}_{policy.kind}_policy",
        policy.repository,
        actor,
        policy=policy,
        policy_id=policy.public_id,
        changes=changes,
    )
