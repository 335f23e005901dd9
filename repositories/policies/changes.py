"""Send a signal when a policy is created, updated or deleted. The site and the admin both use this module.

Django's own signals are sent too early, because a policy's criteria are stored after the policy itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from repositories.policies.models import Policy
from repositories.signals import policy_changed
from repositories.utils.diff import diff
from repositories.utils.text import untranslated

FIELDS = ["enabled", "target", "remote_registry", "remote_repository", "tag_template", "interval"]

Snapshot = dict[str, Any]


def snapshot(policy: Policy) -> Snapshot:
    """Lock a policy, and return its stored values as JSON-serializable data, or {} if it isn't stored yet.

    The target is represented by its primary key, because some people can see the policy but not the target.
    """
    values: Snapshot = Policy.objects.select_for_update().filter(pk=policy.pk).values(*FIELDS).first() or {}
    if values:
        values["criteria"] = [untranslated(criterion) for criterion in policy.criteria.order_by("pk")]
    return values


def send_changes(policy: Policy, before: Snapshot) -> None:
    """Send `policy_changed` if a policy differs from `before`, an earlier snapshot of it."""
    if changes := diff(before, snapshot(policy)):
        verb = "update" if before else "create"
        policy_changed.send(Policy, policy=policy, verb=verb, changes=changes)


@contextmanager
def tracking_changes(policy: Policy) -> Iterator[None]:
    """Run the block in a transaction, and send `policy_changed` if it creates or changes the policy."""
    with transaction.atomic():
        before = snapshot(policy)
        yield
        send_changes(policy, before)


def delete(policy: Policy) -> None:
    """Delete a policy, after sending `policy_changed`. The policy's events are kept."""
    with transaction.atomic():
        policy_changed.send(Policy, policy=policy, verb="delete", changes=diff(snapshot(policy), {}))
        policy.delete()
