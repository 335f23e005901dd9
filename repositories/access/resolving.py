"""Who may do what: resolves a viewer's grants. Every reader of repositories and events asks here.

A right comes from one of: being an MSR admin or auditor, owning the namespace or the organization,
a grant on the namespace or on the repository (to the user or to one of their teams), or the
repository being public. Levels are additive: a viewer has the sum of what each of these gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils.functional import cached_property

from repositories.access import levels
from repositories.models import (
    Membership,
    Namespace,
    NamespaceGroupPermission,
    NamespaceUserPermission,
    Repository,
    RepositoryGroupPermission,
    RepositoryQuerySet,
    RepositoryUserPermission,
)
from repositories.utils.among import FEW, among

NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Access:
    """What one viewer may do, in every repository."""

    everywhere: frozenset[str] = frozenset()
    """Permissions of MSR admins and auditors, which hold in every repository, even unclaimed ones."""
    in_public: frozenset[str] = frozenset()
    by_repository: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """For each permission, the repositories that a grant names."""
    by_namespace: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """For each permission, the namespaces that are owned, or that a grant names."""
    viewer_id: int | None = None
    """The user; None for nobody."""

    @classmethod
    def of(cls, viewer: Any) -> Access:
        """Resolve a viewer's rights in at most three queries, however many grants they have."""
        if not viewer.is_authenticated or not viewer.is_active:
            return cls()
        if viewer.has_perm("registry_repositories.administer_registry"):
            return cls(everywhere=levels.OVERSIGHT["administer_registry"], viewer_id=viewer.pk)
        if viewer.has_perm("registry_repositories.audit_registry"):
            everywhere = levels.OVERSIGHT["audit_registry"]
        else:
            everywhere = frozenset()
        found: dict[str, dict[str, set[int]]] = {
            "repository": defaultdict(set),
            "namespace": defaultdict(set),
        }
        for scope, pk, codename in grants_of(viewer):
            for permission in levels.expand(codename):
                found[scope][permission].add(pk)
        return cls(
            everywhere=everywhere,
            in_public=levels.ALLOWED_BY[levels.Level.READ],
            by_repository={key: frozenset(ids) for key, ids in found["repository"].items()},
            by_namespace={key: frozenset(ids) for key, ids in found["namespace"].items()},
            viewer_id=viewer.pk,
        )

    @property
    def sees_everything(self) -> bool:
        """Whether the viewer is an MSR admin or an auditor."""
        return levels.VIEW_UNKNOWN_EVENTS in self.everywhere

    def permissions_on(self, repository: Repository) -> frozenset[str]:
        """Return all that the viewer may do in one repository; its namespace should be loaded."""
        permissions = set(self.everywhere)
        if grants_count_in(repository):
            if repository.visibility == Repository.Visibility.PUBLIC:
                permissions |= self.in_public
            permissions |= {p for p, ids in self.by_repository.items() if repository.pk in ids}
            permissions |= {p for p, ids in self.by_namespace.items() if repository.namespace_id in ids}
        return frozenset(permissions)

    def repositories(self, permissions: Iterable[str] = levels.ALL_PERMISSIONS) -> RepositoryQuerySet:
        """Return the live repositories in which the viewer has at least one of `permissions`."""
        wanted = frozenset(permissions)
        live = Repository.objects.live()
        if wanted & self.everywhere:
            return live
        repository_ids, namespace_ids = self.scope(wanted)
        reached = Q(pk__in=among(repository_ids)) | Q(namespace__in=among(namespace_ids))
        if wanted & self.in_public:
            reached |= Q(visibility=Repository.Visibility.PUBLIC)
        claimed = ~Q(namespace__in=Namespace.objects.filter(Namespace.UNCLAIMED).values("pk"))
        return live.filter(reached, claimed)

    def namespaces(self, permission: str) -> QuerySet[Namespace]:
        """Return the namespaces in all of which the viewer has a permission, now and in what is to come."""
        if permission in self.everywhere:
            return Namespace.objects.all()
        owned = Namespace.objects.filter(pk__in=self.by_namespace.get(permission, NOTHING))
        return owned.exclude(Namespace.UNCLAIMED)

    @cached_property
    def few_repositories(self) -> list[Repository] | None:
        """The live repositories in which the viewer has any permission; None if they aren't few."""
        seen = list(self.repositories().select_related("namespace").order_by()[: FEW + 1])
        return seen if len(seen) <= FEW else None

    @cached_property
    def sees_pulls_somewhere(self) -> bool:
        """Whether there is a live repository whose pulls the viewer may see.

        Grants alone don't tell: everybody owns a namespace, mostly an empty one.
        """
        permission = levels.Category.PULL.permission
        return permission in self.everywhere or self.repositories([permission]).exists()

    def scope(self, permissions: frozenset[str]) -> tuple[frozenset[int], frozenset[int]]:
        """Return the repositories and the namespaces whose grants give at least one of `permissions`."""
        return (
            NOTHING.union(*(self.by_repository.get(p, NOTHING) for p in permissions)),
            NOTHING.union(*(self.by_namespace.get(p, NOTHING) for p in permissions)),
        )


def repository_or_404(access: Access, namespace: str, name: str) -> Repository:
    """Return a repository that the viewer can see. Raises Http404 for any other, there or not."""
    if "\0" in namespace + name:  # which no database takes
        raise Http404
    repositories = access.repositories().select_related("namespace")
    return get_object_or_404(repositories, namespace__name=namespace, name=name)


def grants_count_in(repository: Repository) -> bool:
    """Tell whether ownership, grants and visibility give anything; its namespace should be loaded.

    In a deleted repository, and in one of an unclaimed namespace, they don't.
    """
    return repository.deleted_at is None and not repository.namespace.is_unclaimed


def grants_of(viewer: Any) -> Iterable[tuple[str, int, str]]:
    """Yield (`repository` or `namespace`, its id, granted codename) for all that a viewer holds."""
    owned = (
        Namespace.objects.order_by()
        .filter(
            Q(user=viewer)
            | Q(
                organization__in=Membership.objects.filter(user=viewer, role=Membership.Role.OWNER).values(
                    "organization"
                )
            )
        )
        .values_list(Value("namespace"), "pk", Value(levels.Level.ADMIN.value, output_field=TextField()))
    )

    def rows(scope: str, model: Any, **holder: Any) -> QuerySet:
        return model.objects.filter(**holder).values_list(
            Value(scope), "content_object_id", Cast("permission__codename", TextField())
        )

    return owned.union(
        rows("namespace", NamespaceUserPermission, user=viewer),
        rows("namespace", NamespaceGroupPermission, group__user=viewer),
        rows("repository", RepositoryUserPermission, user=viewer),
        rows("repository", RepositoryGroupPermission, group__user=viewer),
    )
