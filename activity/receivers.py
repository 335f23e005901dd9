"""Records what happens to repositories and policies in this application itself."""

from typing import Any

from django.dispatch import receiver

from activity.auditing import record_act
from repositories import signals
from repositories.models import Policy, Repository


@receiver(signals.repository_created)
def record_repository_created(repository: Repository, **_: Any) -> None:
    record_act("create_repository", repository=repository)


@receiver(signals.repository_deleted)
def record_repository_deleted(repository: Repository, **_: Any) -> None:
    record_act("delete_repository", repository=repository, at=repository.deleted_at)


@receiver(signals.policy_created)
def record_policy_created(policy: Policy, **told: Any) -> None:
    record_policy_event("create", policy, **told)


@receiver(signals.policy_updated)
def record_policy_updated(policy: Policy, **told: Any) -> None:
    record_policy_event("update", policy, **told)


@receiver(signals.policy_deleted)
def record_policy_deleted(policy: Policy, **told: Any) -> None:
    record_policy_event("delete", policy, **told)


def record_policy_event(verb: str, policy: Policy, changes: dict[str, Any], **_: Any) -> None:
    record_act(
        f"{verb}_{policy.kind}_policy",
        repository=policy.repository,
        policy=policy,
        policy_id=policy.public_id,
        changes=changes,
    )
