"""Keeps track of the nodes of each registry: when a node has started, and how far off its clock is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Max, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from activity.models import MAX_CLOCK_LEAD, ActorType, RegistryNode
from activity.recording.drafts import Draft

MAX_NODE_LENGTH = 255
MAX_DELAY = timedelta(days=1)
"""An event that arrives later than this suggests that the clock of its node is behind."""
UPDATE_INTERVAL = 60.0
"""The minimum time in seconds between updates of a node's row by one process."""

MAX_NODES = 20
"""The maximum number of nodes to update per message. Registries send one notification per message."""

MAX_REMEMBERED = 10_000
NODE_ORDINAL = 7
"""The ordinal of the event of a start, which no event from a notification has."""

_updated: dict[tuple[int, str], tuple[float, bool]] = {}
"""When this process last updated each node, and whether its clock was off, by account and instance id."""


@dataclass(frozen=True)
class Sighting:
    """A notification from a registry node."""

    instance_id: str
    """The id that the node has chosen at its start."""
    node: str
    """The address of the node."""
    occurred_at: datetime
    """The time of the notification, by the clock of the node."""


def update_nodes(sightings: Iterable[Sighting], account_id: int) -> list[Draft]:
    """Update the rows of the nodes, and return a draft of an event for each node that has started.

    What a node had queued before it was restarted is lost, because registries keep their queue in memory. The
    first node of an account is an exception: there was nothing to lose.

    Call this in the transaction that records the drafts. Each process updates a row at most once a minute,
    unless the clock of the node becomes wrong, or right.
    """
    drafts = []
    for sighting in _outdated(sightings, account_id)[:MAX_NODES]:
        drafts += _update(sighting, account_id)
        _remember_on_commit(sighting, account_id)
    return drafts


def are_up_to_date(sightings: Iterable[Sighting], account_id: int) -> bool:
    """Return whether `update_nodes` would change nothing."""
    return not _outdated(sightings, account_id)


def _outdated(sightings: Iterable[Sighting], account_id: int) -> list[Sighting]:
    """Return the newest sighting of each node whose row must be updated."""
    newest = {sighting.instance_id: sighting for sighting in sightings}
    outdated = []
    for instance_id, sighting in sorted(newest.items()):
        updated_at, was_off = _updated.get((account_id, instance_id), (-UPDATE_INTERVAL, False))
        is_off = _clock_offset(sighting.occurred_at) is not None
        if was_off != is_off or time.monotonic() >= updated_at + UPDATE_INTERVAL:
            outdated.append(sighting)
    return outdated


def _update(sighting: Sighting, account_id: int) -> list[Draft]:
    nodes = RegistryNode.objects.filter(account_id=account_id)
    offset = _clock_offset(sighting.occurred_at)
    known = nodes.filter(instance_id=sighting.instance_id)
    if known.update(last_event_at=Greatest("last_event_at", sighting.occurred_at), clock_offset=offset):
        return []
    # The node that was restarted has the same address. Behind a load balancer, addresses can change.
    before = nodes.exclude(instance_id=sighting.instance_id)
    times = before.aggregate(
        same=Max("last_event_at", filter=Q(address=sighting.node)), any=Max("last_event_at")
    )
    _, created = nodes.get_or_create(
        account_id=account_id,
        instance_id=sighting.instance_id,
        defaults={
            "address": sighting.node,
            "first_event_at": sighting.occurred_at,
            "last_event_at": sighting.occurred_at,
            "clock_offset": offset,
        },
    )
    last = times["same"] or times["any"]
    return [_draft(sighting, account_id, last)] if created and last else []


def _draft(sighting: Sighting, account_id: int, last_event_at: datetime) -> Draft:
    account = get_user_model()._default_manager.get(pk=account_id)
    return Draft(
        kind="start_registry_node",
        repository_name="",
        occurred_at=sighting.occurred_at,
        source_id=f"node {sighting.instance_id}",
        ordinal=NODE_ORDINAL,
        actor_type=ActorType.USER,
        actor_name=account.get_username(),
        details={
            "node": sighting.node,
            "instance_id": sighting.instance_id,
            "last_event_before": last_event_at.isoformat(),
            "first_event": sighting.occurred_at.isoformat(),
            "note": "Events that were queued when the node stopped may be lost.",
        },
    )


def _clock_offset(occurred_at: datetime) -> timedelta | None:
    """Return how far the clock of a node is ahead (negative if it is behind), or None if it is right."""
    offset = occurred_at - timezone.now()
    return offset if offset > MAX_CLOCK_LEAD or offset < -MAX_DELAY else None


def _remember_on_commit(sighting: Sighting, account_id: int) -> None:
    key, is_off = (account_id, sighting.instance_id), _clock_offset(sighting.occurred_at) is not None
    if len(_updated) > MAX_REMEMBERED:
        _updated.clear()
    transaction.on_commit(lambda: _updated.update({key: (time.monotonic(), is_off)}))
