"""What is done to policies, told to whoever wants to know. Site and admin do it all through here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from repositories import signals
from repositories.policies.models import Policy

FIELDS = ["enabled", "target", "remote_registry", "remote_repository", "tag_template", "interval"]

Facts = dict[str, Any]


def facts_of(policy: Policy) -> Facts:
    """Lock a policy, and return what is stored of it as JSON; nothing of one that isn't stored.

    The target is told by its number, as not everybody who sees the policy may see its name.
    """
    facts: Facts = Policy.objects.select_for_update().filter(pk=policy.pk).values(*FIELDS).first() or {}
    if facts:
        facts["criteria"] = [str(criterion) for criterion in policy.criteria.order_by("pk")]
    return {name: value for name, value in facts.items() if value not in (None, "", [])}


def tell(policy: Policy, before: Facts) -> None:
    """Tell that a policy was made, or changed from what it was `before`."""
    changes = changes_between(before, facts_of(policy))
    if not before:
        signals.policy_created.send(Policy, policy=policy, changes=changes)
    elif changes:
        signals.policy_updated.send(Policy, policy=policy, changes=changes)


@contextmanager
def told(policy: Policy) -> Iterator[None]:
    """Tell of what is done to a policy within, if that changes anything; all of it happens, or nothing."""
    with transaction.atomic():
        before = facts_of(policy)
        yield
        tell(policy, before)


def delete(policy: Policy) -> None:
    """Delete a policy. Its events stay."""
    with transaction.atomic():
        changes = changes_between(facts_of(policy), {})
        signals.policy_deleted.send(Policy, policy=policy, changes=changes)
        policy.delete()


def changes_between(before: Facts, after: Facts) -> dict[str, Facts]:
    """Return what differs, by field, as `{"before": …, "after": …}`; a side that had nothing lacks it."""
    sides = {"before": before, "after": after}
    return {
        name: {side: facts[name] for side, facts in sides.items() if name in facts}
        for name in [*FIELDS, "criteria"]
        if before.get(name) != after.get(name)
    }
