"""Finds the repositories that events refer to, and registers new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db.models import F, Q
from django.utils import timezone

from activity.catalogue import KINDS
from activity.recording.drafts import Draft
from repositories import names
from repositories.access.levels import Category
from repositories.accounts import current_request
from repositories.models import Namespace, Repository


class RepositoryFinder:
    """Finds the repository that had a given name at a given time.

    An event that occurred before a repository was deleted belongs to the deleted repository, even if the
    event arrives after a new repository has taken the name. Otherwise, viewers of the new repository could
    see events of the deleted repository.
    """

    def __init__(self, full_names: Iterable[str]) -> None:
        self.full_names = set(full_names)
        self.registered: dict[str, int] = {}
        """The number of the message that registered a repository, by its name."""
        self.by_name: dict[str, list[Repository]] = defaultdict(list)
        # There is an index for live repositories, and another for deleted ones.
        named = Q(full_name__in=self.full_names)
        found = Repository.objects.filter(
            named & Q(deleted_at__isnull=True) | named & Q(deleted_at__isnull=False)
        ).only("full_name", "deleted_at", "last_pull")
        # Deleted repositories come first, in order of deletion. The live repository, if any, comes last.
        for repository in found.order_by(F("deleted_at").asc(nulls_last=True)):
            self.by_name[repository.full_name].append(repository)

    def find(self, full_name: str, moment: datetime) -> Repository | None:
        """Return the repository that had the name at the given moment, or None."""
        for repository in self.by_name.get(full_name, ()):
            if repository.deleted_at is None or repository.deleted_at >= moment:
                return repository
        return None

    def find_at(self, draft: Draft) -> Repository | None:
        """Return the repository of a draft, or None if it was unknown when the draft's message arrived."""
        if self.registered.get(draft.repository_name, 0) > draft.delivery.number:
            return None
        return self.find(draft.repository_name, draft.occurred_at)

    def register(self, first_seen: dict[str, Draft]) -> list[Draft]:
        """Register repositories as private, and return drafts for their Create Repository events.

        `first_seen` maps each name to the earliest draft that mentions it. Only a push creates a repository.
        A repository that is first seen in, for example, a pull existed before its registry was connected, so
        it has no creation time, and no draft is returned for it.

        Rows are created in a fixed order (namespaces first, then repositories, each sorted by name), so that
        two messages can't deadlock. No draft is returned for a repository that another transaction has
        registered in the meantime, or for a repository whose earliest draft is already a Create Repository
        event.
        """
        registrations = []
        namespaces = {}
        for name in sorted({names.split_name(full_name)[0] for full_name in first_seen}):
            namespaces[name], _ = Namespace.objects.get_or_create(name=name)
        for full_name in sorted(first_seen):
            namespace, name = names.split_name(full_name)
            # The draft below records the registration, with the time and actor of the earliest draft.
            with current_request.auditing_disabled():
                draft = first_seen[full_name]
                category = KINDS[draft.kind].category
                created_at = timezone.now() if category in (Category.PUSH, Category.CREATE_REPO) else None
                repository, registered = Repository.objects.get_or_create(
                    {"created_at": created_at}, namespace=namespaces[namespace], name=name, deleted_at=None
                )
            self.by_name[full_name].append(repository)
            self.registered[full_name] = draft.delivery.number
            if registered and category == Category.PUSH:
                registrations.append(
                    draft.changed(
                        kind="create_repository",
                        ordinal=0,
                        tag="",
                        digest="",
                        repository=repository,
                        # Some users who can see this event must not see the details of the earliest draft.
                        details={},
                    )
                )
        return registrations
