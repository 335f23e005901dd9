"""Send signals when policies are created, updated or deleted. The site and the admin both use this module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from repositories import signals
from repositories.policies.models import Policy

FIELDS = ["enabled", "target", "remote_registry", "remote_repository", "tag_template", "interval"]

Snapshot = dict[str, Any]


def snapshot(policy: Policy) -> Snapshot:
    """Lock a policy, and return its stored values as JSON-serializable data: nothing if it isn't stored.

    The target is represented by its primary key, because not everybody who sees the policy may see its name.
    """
    values: Snapshot = Policy.objects.select_for_update().filter(pk=policy.pk).values(*FIELDS).first() or {}
    if values:
        values["criteria"] = [str(criterion) for criterion in policy.criteria.order_by("pk")]
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def send_changes(policy: Policy, before: Snapshot) -> None:
    """Send `policy_created` or `policy_updated`, comparing a policy with its earlier snapshot `before`."""
    changes = changes_between(before, snapshot(policy))
    if not before:
        signals.policy_created.send(Policy, policy=policy, changes=changes)
    elif changes:
        signals.policy_updated.send(Policy, policy=policy, changes=changes)


@contextmanager
def tracking_changes(policy: Policy) -> Iterator[None]:
    """Run the block in a transaction, and send a signal if it changes the policy."""
    with transaction.atomic():
        before = snapshot(policy)
        yield
        send_changes(policy, before)


def delete(policy: Policy) -> None:
    """Delete a policy. Its events are kept."""
    with transaction.atomic():
        changes = changes_between(snapshot(policy), {})
        signals.policy_deleted.send(Policy, policy=policy, changes=changes)
        policy.delete()


def changes_between(before: Snapshot, after: Snapshot) -> dict[str, Snapshot]:
    """Return the differences by field, as `{"before": …, "after": …}`, without a side that has no value."""
    sides = {"before": before, "after": after}
    return {
        name: {side: values[name] for side, values in sides.items() if name in values}
        for name in [*FIELDS, "criteria"]
        if before.get(name) != after.get(name)
    }
