"""Drafts: events as their sources describe them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from activity import identity
from activity.catalogue import KINDS
from activity.models import ActorType, effective_time
from repositories.access.levels import Category
from repositories.models import Policy, Repository


@dataclass(frozen=True)
class Draft:
    """An event before it is recorded. It has no id yet, and it can refer to objects by name."""

    kind: str
    repository_name: str
    """Empty for events that aren't about a repository."""
    occurred_at: datetime
    source_id: str
    """The id of the message at its source.

    A redelivered message has the same id, so its events get the same ids as before.
    """
    ordinal: int = 1
    """Distinguishes the events from one message: 1 to 7, or 0 for the event that registers the repository."""
    tag: str = ""
    digest: str = ""
    actor_type: ActorType = ActorType.ANONYMOUS
    actor_name: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    received_at: datetime | None = None
    """When the event was received, by default now."""
    pull: UUID | None = None
    """The id of the pull that the event is a part of. See `Event.pull`."""
    repository: Repository | None = None
    """The repository, if known. Otherwise it is looked up by name, or registered."""
    policy: Policy | None = None
    """The policy that the event is about. If a policy is the actor, it is looked up by `actor_name`."""

    def with_kind(self, kind: str, **changes: Any) -> Draft:
        """Return a copy with a different kind and, optionally, with other fields changed."""
        return replace(self, kind=kind, **changes)

    def effective_at(self, received_at: datetime) -> datetime:
        """Return when the event happened, or when it was received if the clock of its node is ahead."""
        return effective_time(self.occurred_at, received_at)

    def event_id(self, account_id: int | None) -> UUID:
        """Return the id of the event. `account_id` is the id of the user whose token delivered the draft."""
        is_pull = KINDS[self.kind].category == Category.PULL
        return identity.event_id(self.occurred_at, self.ordinal, account_id, self.source_id, is_pull=is_pull)
