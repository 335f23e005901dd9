"""Resolve a viewer's permissions. All code that reads repositories or events uses this module.

A viewer's permissions on a repository are the union of the permissions that they have

- as an MSR admin or auditor,
- as the owner of the namespace, or an owner of the organization that the namespace belongs to,
- through a grant on the namespace or the repository, either to the user or to one of their teams,
- because the repository is public.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import Q, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.utils.functional import cached_property

from repositories import names
from repositories.access import levels
from repositories.accounts.restrictions import Restriction
from repositories.accounts.tokens import token_of
from repositories.models import (
    Membership,
    Namespace,
    NamespaceGroupPermission,
    NamespaceUserPermission,
    Organization,
    Repository,
    RepositoryGroupPermission,
    RepositoryQuerySet,
    RepositoryUserPermission,
)
from repositories.utils.among import among
from repositories.utils.text import get_named_or_404

NO_IDS: frozenset[int] = frozenset()
MAX_IDS = 5_000
"""The maximum number of repositories whose ids are fetched to look for events in them. That takes 4 ms."""

GRANTS: list[tuple[str, Any, str]] = [
    ("namespace", NamespaceUserPermission, "user"),
    ("namespace", NamespaceGroupPermission, "group__user"),
    ("repository", RepositoryUserPermission, "user"),
    ("repository", RepositoryGroupPermission, "group__user"),
]
"""The scope of each kind of grant, its model, and the lookup of the users who have the grant."""


@dataclass(frozen=True)
class Places:
    """The ids of namespaces, and of single repositories."""

    namespaces: frozenset[int]
    repositories: frozenset[int]

    @classmethod
    def of(cls, restriction: Restriction) -> Places:
        """Find the namespaces and the live repositories that a token is restricted to."""
        named = Q(pk__in=[])
        for full_name in restriction.repositories:
            namespace, name = names.split_name(full_name)
            named |= Q(namespace__name=namespace, name=name)
        return cls(
            frozenset(Namespace.objects.filter(name__in=restriction.namespaces).values_list("pk", flat=True)),
            frozenset(Repository.objects.live().filter(named).values_list("pk", flat=True)),
        )

    def contain(self, repository: Repository) -> bool:
        return repository.pk in self.repositories or repository.namespace_id in self.namespaces

    @property
    def condition(self) -> Q:
        """The condition for the repositories."""
        return Q(pk__in=self.repositories) | Q(namespace__in=self.namespaces)


@dataclass(frozen=True)
class Access:
    """One viewer's permissions on all repositories."""

    everywhere: frozenset[str] = frozenset()
    """The viewer's permissions as an MSR admin or auditor. They apply even in unclaimed namespaces."""
    in_public: frozenset[str] = frozenset()
    """The viewer's permissions on every public repository."""
    by_repository: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """For each permission, the ids of the repositories that it is granted on."""
    by_namespace: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """For each permission, the ids of the namespaces that it is granted on, or that the viewer owns."""
    viewer_id: int | None = None
    """The user's id. None for anonymous and inactive users, and with a restricted token."""
    within: Places | None = None
    """The only places where the permissions apply. None if they apply everywhere."""
    _ids: dict[tuple, list[int] | None] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What `repository_ids` found."""

    @classmethod
    def for_user(cls, viewer: Any) -> Access:
        """Resolve a viewer's permissions in at most three queries, regardless of the number of grants.

        A viewer who has authenticated with an access token has only the permissions of the token: none if it
        can't read events, and two more queries find the places that it is restricted to.
        """
        if not viewer.is_authenticated or not viewer.is_active:
            return cls()
        token = token_of(viewer)
        if token is not None and not token.can_read:
            return cls()
        access = cls._of_account(viewer)
        if token is None or token.restriction is None:
            return access
        return replace(access, viewer_id=None, within=Places.of(token.restriction))

    @classmethod
    def _of_account(cls, viewer: Any) -> Access:
        role = registry_role(viewer)
        everywhere = levels.REGISTRY_ROLES.get(role, frozenset())
        if role == "administer_registry":
            return cls(everywhere, viewer_id=viewer.pk)
        granted: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for scope, pk, codename in grants_of(viewer):
            granted[scope][codename].add(pk)
        return cls(
            everywhere=everywhere,
            in_public=levels.PERMISSIONS_BY_LEVEL[levels.Level.READ],
            by_repository=_by_permission(granted["repository"]),
            by_namespace=_by_permission(granted["namespace"]),
            viewer_id=viewer.pk,
        )

    @property
    def sees_everything(self) -> bool:
        """Whether the viewer is an MSR admin or an auditor, without a restriction."""
        return self.within is None and levels.VIEW_UNKNOWN_EVENTS in self.everywhere

    def permissions_on(self, repository: Repository) -> frozenset[str]:
        """Return the viewer's permissions on a repository. Load its namespace beforehand to save a query."""
        if self.within is not None and not self.within.contain(repository):
            return frozenset()
        permissions = set(self.everywhere)
        if grants_apply_to(repository):
            if repository.visibility == Repository.Visibility.PUBLIC:
                permissions |= self.in_public
            permissions |= {p for p, ids in self.by_repository.items() if repository.pk in ids}
            permissions |= {p for p, ids in self.by_namespace.items() if repository.namespace_id in ids}
        return frozenset(permissions)

    def repositories(self, permissions: Iterable[str] = levels.ALL_PERMISSIONS) -> RepositoryQuerySet:
        """Return the live repositories on which the viewer has at least one of `permissions`."""
        wanted = frozenset(permissions)
        live = Repository.objects.live()
        if self.within is not None:
            live = live.filter(self.within.condition)
        if wanted & self.everywhere:
            return live
        repository_ids, namespace_ids = self.granted_ids(wanted)
        visible = Q(pk__in=among(repository_ids)) | Q(namespace__in=among(namespace_ids))
        if wanted & self.in_public:
            visible |= Q(visibility=Repository.Visibility.PUBLIC)
        claimed = ~Q(namespace__in=Namespace.objects.filter(Namespace.UNCLAIMED).values("pk"))
        return live.filter(visible, claimed)

    def namespaces(self, permission: str) -> QuerySet[Namespace]:
        """Return the namespaces where the viewer has a permission on all current and future repositories."""
        places = Namespace.objects.all()
        if self.within is not None:
            places = places.filter(pk__in=self.within.namespaces)
        if permission in self.everywhere:
            return places
        granted = places.filter(pk__in=self.by_namespace.get(permission, NO_IDS))
        return granted.exclude(Namespace.UNCLAIMED)

    def organizations(self) -> QuerySet[Organization]:
        """Return the organizations that the viewer can see.

        MSR admins and auditors can see all organizations. Other users can see those that they belong to. With
        a restricted token, nobody can see any.
        """
        if self.sees_everything:
            return Organization.objects.all()
        # A user of None would match organizations without members.
        return Organization.objects.filter(memberships__user=self.viewer_id or 0)

    def repository_ids(self, permissions: Iterable[str]) -> list[int] | None:
        """Return the ids of the repositories that `repositories` returns, or None if they exceed MAX_IDS.

        All permissions share a query, unless the viewer has any permission on more repositories than that.
        """
        wanted = frozenset(permissions)
        granted, in_namespaces = self.granted_ids(wanted)
        everywhere, in_public = bool(wanted & self.everywhere), bool(wanted & self.in_public)
        key = granted, in_namespaces, everywhere, in_public
        if key in self._ids:
            return self._ids[key]
        if self._visible is not None:
            self._ids[key] = [
                pk
                for pk, namespace, is_public in self._visible
                if everywhere or pk in granted or namespace in in_namespaces or (in_public and is_public)
            ]
        else:
            found = self.repositories(wanted).order_by().values_list("pk", flat=True)[: MAX_IDS + 1]
            self._ids[key] = sorted(found) if len(found) <= MAX_IDS else None
        return self._ids[key]

    def has_any(self, permission: str) -> bool:
        """Return whether there is a live repository on which the viewer has a permission.

        Checking grants isn't enough, because every user is an admin of their own namespace, and most of these
        namespaces contain no repositories.
        """
        if self.within is None and permission in self.everywhere:
            return True
        return self.repository_ids([permission]) != []

    @cached_property
    def _visible(self) -> list[tuple[int, int, bool]] | None:
        """The ids of the live repositories on which the viewer has any permission, with the ids of their
        namespaces and whether they are public. None if they exceed MAX_IDS.
        """
        found = self.repositories().order_by().values_list("pk", "namespace", "visibility")[: MAX_IDS + 1]
        if len(found) > MAX_IDS:
            return None
        public = Repository.Visibility.PUBLIC.value
        return sorted((pk, namespace, visibility == public) for pk, namespace, visibility in found)

    def granted_ids(self, permissions: frozenset[str]) -> tuple[frozenset[int], frozenset[int]]:
        """Return the ids of the repositories and namespaces on which any of `permissions` is granted.

        The first set contains the repositories, and the second set the namespaces.
        """
        return _union(self.by_repository, permissions), _union(self.by_namespace, permissions)


def _by_permission(granted: Mapping[str, set[int]]) -> dict[str, frozenset[int]]:
    """Return the ids for each permission, given those for each codename of a grant.

    Permissions from the same grants share a set, because a viewer can have thousands of grants.
    """
    codenames: dict[str, list[str]] = defaultdict(list)
    for codename in granted:
        for permission in levels.expand(codename):
            codenames[permission].append(codename)
    sets = {key: NO_IDS.union(*map(granted.__getitem__, key)) for key in map(tuple, codenames.values())}
    return {permission: sets[tuple(key)] for permission, key in codenames.items()}


def _union(by_permission: Mapping[str, frozenset[int]], permissions: Iterable[str]) -> frozenset[int]:
    """Return the ids for any of the permissions. A set that several permissions share isn't copied."""
    sets = {by_permission.get(permission, NO_IDS) for permission in permissions} - {NO_IDS}
    return sets.pop() if len(sets) == 1 else NO_IDS.union(*sets)


def registry_role(viewer: Any) -> str:
    """Return the codename of the viewer's role: MSR admin, security auditor, or "" for other users."""
    roles = (role for role in levels.REGISTRY_ROLES if viewer.has_perm(f"registry_repositories.{role}"))
    return next(roles, "")


def repository_or_404(access: Access, namespace: str, name: str) -> Repository:
    """Return a live repository. Raises Http404 if it doesn't exist or the viewer can't see it."""
    repositories = access.repositories().select_related("namespace")
    return get_named_or_404(repositories, namespace__name=namespace, name=name)


def grants_apply_to(repository: Repository) -> bool:
    """Return whether ownership, grants and visibility have any effect in a repository.

    They have no effect in deleted repositories or in unclaimed namespaces. Load the repository's namespace
    beforehand to save a query.
    """
    return repository.deleted_at is None and not repository.namespace.is_unclaimed


def grants_of(viewer: Any) -> Iterable[tuple[str, int, str]]:
    """Return the viewer's grants as `(scope, id, codename)` tuples.

    The scope is "repository" or "namespace", and the id is that of the repository or namespace. Ownership of
    a namespace counts as a grant of the admin level.
    """
    organizations = Membership.objects.filter(user=viewer, role=Membership.Role.OWNER).values("organization")
    owned = Namespace.objects.filter(Q(user=viewer) | Q(organization__in=organizations)).order_by()
    admin = Value(levels.Level.ADMIN.value, output_field=TextField())
    codename = Cast("permission__codename", TextField())
    return owned.values_list(Value("namespace"), "pk", admin).union(
        *(
            model.grants.in_force()
            .filter(**{holder: viewer})
            .values_list(Value(scope), "content_object_id", codename)
            for scope, model, holder in GRANTS
        )
    )
