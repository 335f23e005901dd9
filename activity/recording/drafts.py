"""An event that is to be recorded, as its source tells it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from activity.models import ActorType
from repositories.models import Policy, Repository


@dataclass(frozen=True)
class Draft:
    """An event before it is recorded: names instead of references, and no id yet."""

    kind: str
    repository_name: str
    """Empty for what happens in no repository."""
    occurred_at: datetime
    source_id: str
    """The source's own id of the message: the same message has the same id, and so the same events."""
    ordinal: int = 1
    """Tells the events of one message apart, 1 to 7; 0 is that of the repository's registration."""
    tag: str = ""
    digest: str = ""
    actor_type: ActorType = ActorType.ANONYMOUS
    actor_name: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    repository: Repository | None = None
    """The repository, if it is known; else it is looked up by its name, or registered."""
    policy: Policy | None = None
    """The policy to which it was done. One that did it itself is the actor, looked up by its id."""

    def of_kind(self, kind: str, **changes: Any) -> Draft:
        return replace(self, kind=kind, **changes)
