"""Finds the repositories that events speak of, and registers those seen for the first time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db.models import F

from activity.recording.drafts import Draft
from repositories import names
from repositories.models import Namespace, Repository


class RepositoryFinder:
    """Tells which repository bore a name at a moment: an event belongs to that one.

    An event dated before a deletion, and the deletion itself, belongs to the deleted repository, even
    if it arrives when another has taken the name: else the one's events would leak into the other.
    """

    def __init__(self, full_names: Iterable[str]) -> None:
        self.full_names = set(full_names)
        self.by_name: dict[str, list[Repository]] = defaultdict(list)
        pairs = [names.split_name(name) for name in self.full_names]
        found = Repository.objects.select_related("namespace").filter(
            namespace__name__in={namespace for namespace, _ in pairs}, name__in={name for _, name in pairs}
        )
        # Those deleted first come first, the live one, if any, last.
        for repository in found.order_by(F("deleted_at").asc(nulls_last=True)):
            self.by_name[repository.full_name].append(repository)

    def at(self, full_name: str, moment: datetime) -> Repository | None:
        """Return the repository that bore the name then."""
        for repository in self.by_name.get(full_name, ()):
            if repository.deleted_at is None or repository.deleted_at >= moment:
                return repository
        return None

    def register(self, first_seen: dict[str, Draft]) -> list[Draft]:
        """Register repositories, privately, and return the Create Repository events of the new ones.

        `first_seen` gives, for each name, the event that it was first seen in. Rows are made in one
        order (namespaces, then repositories, by name), so that two messages can't deadlock.
        """
        made = []
        namespaces = {}
        for name in sorted({names.split_name(full_name)[0] for full_name in first_seen}):
            namespaces[name], _ = Namespace.objects.get_or_create(name=name)
        for full_name in sorted(first_seen):
            namespace, name = names.split_name(full_name)
            repository, created = Repository.objects.get_or_create(
                namespace=namespaces[namespace], name=name, deleted_at=None
            )
            self.by_name[full_name].append(repository)
            draft = first_seen[full_name]
            if created and draft.kind != "create_repository":
                made.append(
                    draft.of_kind(
                        "create_repository",
                        ordinal=0,
                        tag="",
                        digest="",
                        repository=repository,
                        details={},  # what it was first seen in may not be for all who see this
                    )
                )
        return made
