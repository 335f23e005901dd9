"""Finds the repositories that events refer to, and registers new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db.models import F

from activity.recording.drafts import Draft
from repositories import names
from repositories.accounts import current_request
from repositories.models import Namespace, Repository


class RepositoryFinder:
    """Finds the repository that had a name at a given time.

    Events up to the deletion of a repository belong to the deleted repository, even if they arrive after a
    new repository has taken the name. Otherwise viewers of the new repository could see them.
    """

    def __init__(self, full_names: Iterable[str]) -> None:
        self.full_names = set(full_names)
        self.by_name: dict[str, list[Repository]] = defaultdict(list)
        pairs = [names.split_name(name) for name in self.full_names]
        found = Repository.objects.select_related("namespace").filter(
            namespace__name__in={namespace for namespace, _ in pairs}, name__in={name for _, name in pairs}
        )
        # Deleted repositories in the order of their deletion, then the live one, if any.
        for repository in found.order_by(F("deleted_at").asc(nulls_last=True)):
            self.by_name[repository.full_name].append(repository)

    def find(self, full_name: str, moment: datetime) -> Repository | None:
        """Return the repository that had the name at that time, or None."""
        for repository in self.by_name.get(full_name, ()):
            if repository.deleted_at is None or repository.deleted_at >= moment:
                return repository
        return None

    def register(self, first_seen: dict[str, Draft]) -> list[Draft]:
        """Register repositories as private, and return drafts of their Create Repository events.

        `first_seen` maps each name to the draft that mentions it first. Rows are created in a fixed order
        (namespaces, then repositories, by name), so that two messages can't deadlock. There is no draft for a
        repository that exists by now, or whose first draft is its Create Repository event.
        """
        registrations = []
        namespaces = {}
        for name in sorted({names.split_name(full_name)[0] for full_name in first_seen}):
            namespaces[name], _ = Namespace.objects.get_or_create(name=name)
        for full_name in sorted(first_seen):
            namespace, name = names.split_name(full_name)
            # The draft below records the registration, with the time and actor of the first draft.
            with current_request.auditing_disabled():
                repository, created = Repository.objects.get_or_create(
                    namespace=namespaces[namespace], name=name, deleted_at=None
                )
            self.by_name[full_name].append(repository)
            draft = first_seen[full_name]
            if created and draft.kind != "create_repository":
                registrations.append(
                    draft.with_kind(
                        "create_repository",
                        ordinal=0,
                        tag="",
                        digest="",
                        repository=repository,
                        # Not everyone who can see this event can see the details of the first one.
                        details={},
                    )
                )
        return registrations
