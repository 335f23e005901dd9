"""Find the time of the last visible event in each repository, using functions that other apps register."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from repositories.access.resolving import Access
from repositories.models import Repository

Source = Callable[[Access, Collection[Repository]], Mapping[int, datetime]]
_sources: list[Source] = []


def register(source: Source) -> None:
    """Add a source, unless it is already registered. Call this from `AppConfig.ready`."""
    if source not in _sources:
        _sources.append(source)


def by_repository(access: Access, repositories: Collection[Repository]) -> dict[int, datetime]:
    """Return the time of the last event that the viewer can see in each repository, keyed by repository id.

    Repositories without visible events are omitted.
    """
    times: dict[int, datetime] = {}
    for source in _sources:
        times |= source(access, repositories)
    return times
