"""The newest events of each repository."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db import models


class NewestEvents(models.Model):
    """The ids of a repository's newest events: of those that readers see, of the others, and of its pulls.

    Lists find with it which repositories can have events on a page. No event of the repository has a higher
    id, but the event with this id may have been deleted. See `activity.storage.newest`.
    """

    NEVER: ClassVar[UUID] = UUID(int=0)
    """A placeholder for the id of an event that never happened. It is lower than any event id."""
    COLUMNS: ClassVar[tuple[str, ...]] = ("readable", "restricted", "pull")

    repository_id = models.BigIntegerField(primary_key=True)
    readable = models.UUIDField(default=NEVER)
    """The newest event in a category that every reader of the repository sees."""
    restricted = models.UUIDField(default=NEVER)
    """The newest event in any other category, except pulls."""
    pull = models.UUIDField(default=NEVER)

    class Meta:
        verbose_name_plural = "newest events"
        default_permissions: ClassVar[list[str]] = []
        # 48 bytes a repository for each index. Index-only scans find the newest repositories of a viewer.
        indexes = [
            models.Index(fields=[f"-{column}", "repository_id"], name=f"newest_{column}")
            for column in ("readable", "restricted", "pull")
        ]

    def __str__(self) -> str:
        return f"Newest events of repository {self.repository_id}"
