"""Drafts: events as their sources describe them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from activity.models import ActorType
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
    repository: Repository | None = None
    """The repository, if known. Otherwise it is looked up by name, or registered."""
    policy: Policy | None = None
    """The policy that the event is about. If a policy is the actor, it is looked up by `actor_name`."""

    def with_kind(self, kind: str, **changes: Any) -> Draft:
        """Return a copy with a different kind and, optionally, with other fields changed."""
        return replace(self, kind=kind, **changes)
