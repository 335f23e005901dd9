"""Explain effective access: list people's rights, each with the grant, role or ownership that it comes from.

`resolving.py` decides what a viewer can do. This module explains those decisions for the
repository and user pages, and uses the same tables in `levels.py`. A person's listed rights on a repository
always add up to the result of `Access.permissions_on`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from repositories.access import levels
from repositories.access.levels import Category, Level
from repositories.access.resolving import GRANTS, grants_apply_to, grants_of
from repositories.models import Membership, Namespace, Repository
from repositories.utils.keyset import BY_NAME, Key, Keyset, Page
from repositories.utils.moments import format_end

User = get_user_model()
PAGE_SIZE = 50

PEOPLE_BY_NAME = Keyset([Key(User.USERNAME_FIELD)])
NAMESPACES_BY_NAME = Keyset([Key("name")])

_IS_GRANTABLE = Q(permission__codename__in=[codename for codename, _ in levels.GRANTABLE])
_IS_REGISTRY_ROLE = Q(content_type__app_label="registry_repositories", codename__in=levels.REGISTRY_ROLES)


@dataclass(frozen=True)
class Right:
    """A set of permissions that somebody has, and the reason why they have them."""

    holder: Any
    """A user, or None for all logged-in users."""
    place: Repository | Namespace | None
    """The repository or namespace where the permissions apply, or None if they apply everywhere."""
    codename: str
    """A level, the permission for one category, or the permission for a registry role."""
    reason: str
    """Why the holder has the permissions, e.g. `team acme/dev, granted on the namespace acme`."""
    source: Any
    """The object that gives the right: a grant, membership, namespace, group, user or repository."""

    @property
    def label(self) -> str:
        """The name of the level, the role (e.g. `MSR admin`) or the category (e.g. `pull events`)."""
        return str(levels.LABELS[self.codename])

    @property
    def permissions(self) -> frozenset[str]:
        return levels.REGISTRY_ROLES.get(self.codename) or levels.expand(self.codename)


@dataclass(frozen=True)
class EffectiveAccess:
    """All rights of one person on one repository or namespace, with the resulting permissions."""

    holder: Any
    place: Repository | Namespace
    rights: list[Right]

    @property
    def permissions(self) -> frozenset[str]:
        return frozenset().union(*(right.permissions for right in self.rights))

    @property
    def level(self) -> Level | None:
        """The highest level whose permissions the person has in full, or None if there is no such level."""
        included = [level for level in Level if levels.PERMISSIONS_BY_LEVEL[level] <= self.permissions]
        return included[-1] if included else None

    @property
    def categories(self) -> list[Category]:
        """The categories whose events the person can see in this repository or namespace."""
        permissions = self.permissions
        return [category for category in levels.REPOSITORY_CATEGORIES if category.permission in permissions]


@dataclass(frozen=True)
class UserAccess:
    """All rights of one user."""

    everywhere: list[Right]
    """Registry roles, and read access to public repositories."""
    namespaces: Page
    """One EffectiveAccess for each namespace that the user owns or has a grant on, sorted by name."""
    repositories: Page
    """One EffectiveAccess for each live repository that the user has a grant on, sorted by name."""


def rights_on(
    repository: Repository,
    cursor: str | None = None,
    search: str = "",
    *,
    include_registry_roles: bool = True,
) -> Page:
    """Return a page of the people with individual rights on a repository, as EffectiveAccess rows.

    The rows are sorted by name, and loaded in at most nine queries. `search` matches any part of a username.
    Not every viewer is allowed to know who the MSR admins and auditors are: without `include_registry_roles`,
    the rights that come from these roles are left out. If the repository is public, each person's rights
    include `public_right`, but people who have no other right aren't listed. Load the repository's namespace
    and the namespace's owner beforehand to save queries.
    """
    people = _holders(repository, include_registry_roles)
    if search:
        people = people.filter(**{f"{User.USERNAME_FIELD}__icontains": search})
    page = PEOPLE_BY_NAME.page_or_first(people, PAGE_SIZE, cursor)
    rights = list(_role_rights(page.rows)) if include_registry_roles else []
    if grants_apply_to(repository):
        rights += _granted_rights(page.rows, [repository.namespace], [repository])
    if public := public_right(repository):
        rights += [replace(public, holder=person) for person in page.rows]
    by_holder: dict[Any, list[Right]] = defaultdict(list)
    for right in rights:
        by_holder[right.holder].append(right)
    return replace(
        page, rows=[EffectiveAccess(person, repository, by_holder[person]) for person in page.rows]
    )


def public_right(repository: Repository) -> Right | None:
    """Return the right that a public repository gives to all logged-in users, or None if it isn't public."""
    if not grants_apply_to(repository) or repository.visibility != Repository.Visibility.PUBLIC:
        return None
    reason = gettext("everyone who is logged in, because the repository is public")
    return Right(None, repository, Level.READ.value, reason, repository)


def rights_of(
    user: Any, namespaces_cursor: str | None = None, repositories_cursor: str | None = None
) -> UserAccess:
    """Return the rights of a user, with one page of namespaces and one page of repositories.

    A repository is listed only if the user has a grant on the repository itself, not just on its namespace.
    The rights don't include grants in unclaimed namespaces, because such grants have no effect.
    """
    if not user.is_active:
        empty = Page([], None, None)
        return UserAccess([], empty, empty)
    ids: dict[str, set[int]] = defaultdict(set)
    for scope, pk, codename in grants_of(user):
        if levels.expand(codename):
            ids[scope].add(pk)
    everywhere = list(_role_rights([user]))
    namespaces = NAMESPACES_BY_NAME.page_or_first(
        Namespace.objects.filter(pk__in=ids["namespace"]).select_related("user", "organization"),
        PAGE_SIZE,
        namespaces_cursor,
    )
    repositories = BY_NAME.page_or_first(
        Repository.objects.live()
        .filter(pk__in=ids["repository"])
        .select_related("namespace__user", "namespace__organization"),
        PAGE_SIZE,
        repositories_cursor,
    )
    all_namespaces = {*namespaces.rows, *(repository.namespace for repository in repositories.rows)}
    rights: dict[Any, list[Right]] = defaultdict(list)
    for right in _granted_rights([user], all_namespaces, repositories.rows):
        rights[right.place].append(right)

    def rights_in(repository: Repository) -> list[Right]:
        public = public_right(repository)
        for_everyone = [replace(public, holder=user)] if public else []
        return [*everywhere, *rights[repository], *rights[repository.namespace], *for_everyone]

    in_public = gettext("everyone who is logged in, in every public repository")
    return UserAccess(
        everywhere=[*everywhere, Right(user, None, Level.READ.value, in_public, None)],
        namespaces=replace(
            namespaces,
            rows=[EffectiveAccess(user, row, [*everywhere, *rights[row]]) for row in namespaces.rows],
        ),
        repositories=replace(
            repositories, rows=[EffectiveAccess(user, row, rights_in(row)) for row in repositories.rows]
        ),
    )


def _holders(repository: Repository, include_registry_roles: bool) -> QuerySet:
    """Return the active users who have rights on a repository. `public_right` alone doesn't count."""
    role_permissions = Permission.objects.filter(_IS_REGISTRY_ROLE)
    ids: list[QuerySet] = []
    if include_registry_roles:
        ids += [
            User._default_manager.filter(is_superuser=True).values_list("pk"),
            User._default_manager.filter(user_permissions__in=role_permissions).values_list("pk"),
            User._default_manager.filter(groups__permissions__in=role_permissions).values_list("pk"),
        ]
    if grants_apply_to(repository):
        namespace = repository.namespace
        ids += [
            User._default_manager.filter(namespaces=namespace).values_list("pk"),
            Membership.objects.filter(
                organization=namespace.organization_id, role=Membership.Role.OWNER
            ).values_list("user"),
        ]
        places = {"namespace": namespace, "repository": repository}
        ids += [
            model.grants.in_force()
            .filter(_IS_GRANTABLE, content_object=places[scope], **{f"{holder}__isnull": False})
            .values_list(holder)
            for scope, model, holder in GRANTS
        ]
    return User._default_manager.filter(is_active=True, pk__in=User._default_manager.none().union(*ids))


def _role_rights(people: Iterable[Any]) -> Iterator[Right]:
    """Yield the rights that these people have as MSR admins or auditors. Makes two queries."""
    by_id = {person.pk: person for person in people}
    for person in by_id.values():
        if person.is_superuser:
            yield Right(person, None, "administer_registry", gettext("superuser"), person)
    direct = Permission.objects.filter(_IS_REGISTRY_ROLE, user__in=by_id).annotate(holder=F("user"))
    for permission in direct:
        holder = by_id[permission.holder]
        yield Right(holder, None, permission.codename, gettext("user permission"), holder)
    groups: Any = Group.objects.filter(
        user__in=by_id, permissions__in=Permission.objects.filter(_IS_REGISTRY_ROLE)
    )
    # The MSR admins group also has the auditors' permission. List only the stronger role for each group.
    strongest = {
        (group.holder, group.pk): group
        for group in groups.annotate(holder=F("user"), codename=F("permissions__codename")).order_by(
            "-codename"
        )  # `administer_registry` comes after `audit_registry`
    }
    for group in strongest.values():
        reason = gettext("member of the group %(group)s") % {"group": group}
        yield Right(by_id[group.holder], None, group.codename, reason, group)


def _granted_rights(
    people: Iterable[Any], namespaces: Iterable[Namespace], repositories: Iterable[Repository]
) -> Iterator[Right]:
    """Yield the rights that these people have through ownership and effective grants. Makes five queries."""
    by_id: dict[int | None, Any] = {person.pk: person for person in people}
    places: dict[str, list[Any]] = {
        "namespace": [namespace for namespace in namespaces if not namespace.is_unclaimed],
        "repository": [repository for repository in repositories if grants_apply_to(repository)],
    }
    yield from _owner_rights(by_id, places["namespace"])
    for scope, model, holder in GRANTS:
        place_by_id = {place.pk: place for place in places[scope]}
        in_force = model.grants.in_force()
        grants = in_force.filter(
            _IS_GRANTABLE, content_object__in=place_by_id, **{f"{holder}__in": by_id}
        ).select_related("permission")
        if holder != "user":
            grants = grants.select_related("group__team__organization")
        for grant in grants.annotate(holder=F(holder)):
            place = place_by_id[grant.content_object_id]
            yield Right(
                by_id[grant.holder], place, grant.permission.codename, _reason_of(grant, place), grant
            )


def _reason_of(grant: Any, place: Repository | Namespace) -> str:
    """Return what a grant was given to and on, and until when, in the viewer's time zone."""
    group = getattr(grant, "group", None)
    if isinstance(place, Repository):
        if group is None:
            means = gettext("granted directly on the repository %(place)s")
        else:
            means = gettext("%(group)s, granted on the repository %(place)s")
    elif group is None:
        means = gettext("granted directly on the namespace %(place)s")
    else:
        means = gettext("%(group)s, granted on the namespace %(place)s")
    reason = means % {"group": group and group_label(group), "place": place}
    if not grant.expires_at:
        return reason
    end = format_end(timezone.localtime(grant.expires_at))
    return gettext("%(reason)s until %(end)s") % {"reason": reason, "end": end}


def group_label(group: Group) -> str:
    """Return a label such as `team acme/dev`, or `group Security auditors` for a group without a team."""
    if hasattr(group, "team"):
        return gettext("team %(name)s") % {"name": group.team}
    return gettext("group %(name)s") % {"name": group.name}


def _owner_rights(by_id: Mapping[int | None, Any], namespaces: list[Namespace]) -> Iterator[Right]:
    """Yield the rights of people who own these namespaces, either directly or through an organization."""
    for namespace in namespaces:
        if namespace.user_id in by_id:
            reason = gettext("owner of the namespace %(name)s") % {"name": namespace}
            yield Right(by_id[namespace.user_id], namespace, Level.ADMIN.value, reason, namespace)
    organizations = {namespace.organization_id for namespace in namespaces}
    ownerships = Membership.objects.filter(
        user__in=by_id, organization__in=organizations, role=Membership.Role.OWNER
    )
    for membership in ownerships.select_related("organization"):
        reason = gettext("owner of the organization %(name)s") % {"name": membership.organization}
        for namespace in namespaces:
            if namespace.organization_id == membership.organization_id:
                yield Right(by_id[membership.user_id], namespace, Level.ADMIN.value, reason, membership)
