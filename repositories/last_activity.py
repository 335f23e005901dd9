"""When something last happened in a repository. The application that records events tells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from repositories.access.resolving import Access
from repositories.models import Repository

Source = Callable[[Access, Collection[Repository]], Mapping[int, datetime]]
_sources: list[Source] = []


def register(source: Source) -> None:
    """Add who can tell; called when applications start."""
    if source not in _sources:
        _sources.append(source)


def of(access: Access, repositories: Collection[Repository]) -> dict[int, datetime]:
    """Return, by the ids of those repositories where the viewer may see any, the time of the last event."""
    found: dict[int, datetime] = {}
    for source in _sources:
        found |= source(access, repositories)
    return found
