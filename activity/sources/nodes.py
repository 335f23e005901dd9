"""Keeps track of the nodes of each registry: when a node has started, and how far off its clock is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Max, Q
from django.db.models.functions import Greatest

from activity.models import MAX_CLOCK_LEAD, ActorType, RegistryNode
from activity.recording.drafts import Delivery, Draft

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


@dataclass(frozen=True)
class Sighting:
    """A notification from a registry node."""

    instance_id: str
    """The id that the node has chosen at its start."""
    node: str
    """The address of the node."""
    occurred_at: datetime
    """The time of the notification, by the clock of the node."""


class RecentlyDone:
    """When something was last done about each node, and whether the clock of the node was off."""

    def __init__(self) -> None:
        self.done: dict[tuple[int | None, str], tuple[float, bool]] = {}

    def outdated(self, sightings: Iterable[Sighting], delivery: Delivery) -> list[Sighting]:
        """Return the newest sighting of each node about which something must be done again.

        That is the case once a minute, and if the clock of the node has become wrong, or right.
        """
        newest = {sighting.instance_id: sighting for sighting in sightings}
        outdated = []
        for instance_id, sighting in sorted(newest.items()):
            key = (delivery.account_id, instance_id)
            done_at, was_off = self.done.get(key, (-UPDATE_INTERVAL, False))
            is_off = _clock_offset(sighting, delivery) is not None
            if was_off != is_off or time.monotonic() >= done_at + UPDATE_INTERVAL:
                outdated.append(sighting)
        return outdated

    def remember(self, sightings: Iterable[Sighting], delivery: Delivery) -> None:
        if len(self.done) > MAX_REMEMBERED:
            self.done.clear()
        for sighting in sightings:
            is_off = _clock_offset(sighting, delivery) is not None
            self.done[delivery.account_id, sighting.instance_id] = (time.monotonic(), is_off)


_updated = RecentlyDone()
"""What this process has updated in the database."""


def update_nodes(messages: Iterable[tuple[Sequence[Sighting], Delivery]]) -> list[Draft]:
    """Update the rows of the nodes, and return a draft of an event for each node that has started.

    What a node had queued before it was restarted is lost, because registries keep their queue in memory. The
    first node of an account is an exception: there was nothing to lose.

    Call this in the transaction that records the drafts. Each process updates a row at most once a minute,
    unless the clock of the node becomes wrong, or right.
    """
    drafts, now_updated = [], RecentlyDone()
    for sightings, delivery in messages:
        outdated = now_updated.outdated(_updated.outdated(sightings, delivery), delivery)[:MAX_NODES]
        for sighting in outdated:
            drafts += _update(sighting, delivery)
        now_updated.remember(outdated, delivery)
    transaction.on_commit(lambda: _updated.done.update(now_updated.done))
    return drafts


def _update(sighting: Sighting, delivery: Delivery) -> list[Draft]:
    nodes = RegistryNode.objects.filter(account_id=delivery.account_id)
    offset = _clock_offset(sighting, delivery)
    known = nodes.filter(instance_id=sighting.instance_id)
    if known.update(last_event_at=Greatest("last_event_at", sighting.occurred_at), clock_offset=offset):
        return []
    account = get_user_model()._default_manager.filter(pk=delivery.account_id or 0).first()
    if account is None:  # deleted while its message waited in the journal
        return []
    # The node that was restarted has the same address. Behind a load balancer, addresses can change.
    before = nodes.exclude(instance_id=sighting.instance_id)
    times = before.aggregate(
        same=Max("last_event_at", filter=Q(address=sighting.node)), any=Max("last_event_at")
    )
    _, created = nodes.get_or_create(
        account=account,
        instance_id=sighting.instance_id,
        defaults={
            "address": sighting.node,
            "first_event_at": sighting.occurred_at,
            "last_event_at": sighting.occurred_at,
            "clock_offset": offset,
        },
    )
    last = times["same"] or times["any"]
    return [_draft(sighting, delivery, account.get_username(), last)] if created and last else []


def _draft(sighting: Sighting, delivery: Delivery, username: str, last_event_at: datetime) -> Draft:
    return Draft(
        kind="start_registry_node",
        repository_name="",
        occurred_at=sighting.occurred_at,
        source_id=f"node {sighting.instance_id}",
        ordinal=NODE_ORDINAL,
        actor_type=ActorType.USER,
        actor_name=username,
        delivery=delivery,
        details={
            "node": sighting.node,
            "instance_id": sighting.instance_id,
            "last_event_before": last_event_at.isoformat(),
            "first_event": sighting.occurred_at.isoformat(),
            "note": "Events that were queued when the node stopped may be lost.",
        },
    )


def _clock_offset(sighting: Sighting, delivery: Delivery) -> timedelta | None:
    """Return how far the clock of a node is ahead (negative if it is behind), or None if it is right."""
    offset = sighting.occurred_at - delivery.received_at
    return offset if offset > MAX_CLOCK_LEAD or offset < -MAX_DELAY else None
