"""Drafts: events as their source describes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from activity.models import ActorType
from repositories.models import Policy, Repository


@dataclass(frozen=True)
class Draft:
    """An event before it is recorded. It has names instead of foreign keys, and no id."""

    kind: str
    repository_name: str
    """Empty for events that aren't about a repository."""
    occurred_at: datetime
    source_id: str
    """The id of the message at its source. A redelivered message has the same id, so its events do too."""
    ordinal: int = 1
    """Distinguishes the events of one message: 1 to 7, or 0 for the registration of the repository."""
    tag: str = ""
    digest: str = ""
    actor_type: ActorType = ActorType.ANONYMOUS
    actor_name: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    repository: Repository | None = None
    """The repository, if known. Otherwise it is looked up by name, or registered."""
    policy: Policy | None = None
    """The policy that is the subject. A policy that is the actor is looked up by its id instead."""

    def with_kind(self, kind: str, **changes: Any) -> Draft:
        """Return a copy with another kind, and with changes to other fields."""
        return replace(self, kind=kind, **changes)
