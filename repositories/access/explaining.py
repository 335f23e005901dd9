"""Explains who may do what, and why: each right traced to the grant that gives it, in both directions.

`access.py` decides; this tells where its decisions come from, by the same tables of `levels.py`, for
pages of people or places. The rights explained always add up to what `Access.permissions_on` says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Case, F, Q, QuerySet, When

from repositories.access import levels
from repositories.access.levels import Category, Level
from repositories.access.resolving import grants_count_in, grants_of
from repositories.models import (
    Membership,
    Namespace,
    NamespaceGroupPermission,
    NamespaceUserPermission,
    Repository,
    RepositoryGroupPermission,
    RepositoryUserPermission,
)
from repositories.utils.keyset import BY_NAME, Key, Keyset, Page

User = get_user_model()
PAGE_SIZE = 50

PEOPLE_BY_NAME = Keyset([Key(User.USERNAME_FIELD)])
NAMESPACES_BY_NAME = Keyset([Key("name")])

_ON_NAMESPACES: tuple[Any, Any] = (NamespaceUserPermission, NamespaceGroupPermission)
_ON_REPOSITORIES: tuple[Any, Any] = (RepositoryUserPermission, RepositoryGroupPermission)
_GIVES_SOMETHING = Q(permission__codename__in=[codename for codename, _ in levels.GRANTABLE])
_OVERSEES = Q(content_type__app_label="registry_repositories", codename__in=levels.OVERSIGHT)


@dataclass(frozen=True)
class Right:
    """Something that somebody may do, and what gives it to them."""

    holder: Any
    """A user, or None for everybody who is logged in."""
    place: Repository | Namespace | None
    """Where it holds: in a repository, in all of a namespace, or, if None, everywhere."""
    codename: str
    """What was given: a level, the permission of one category, or oversight of the registry."""
    permissions: frozenset[str]
    reason: str
    """Where it comes from, such as `team acme/dev, granted on the namespace acme`."""
    source: Any
    """What to change to take it away: a grant, a membership, a namespace, a group, a user, a repository."""

    @property
    def label(self) -> str:
        """The level, `MSR admin`, `security auditor`, or the category, such as `pull events`."""
        return label_of(self.codename)


_LABELS: dict[str, str] = {
    **{level.value: str(level.label) for level in Level},
    "administer_registry": "MSR admin",
    "audit_registry": "security auditor",
    **{category.permission: f"{category.label.lower()} events" for category in levels.REPOSITORY_CATEGORIES},
}


def label_of(codename: str) -> str:
    """Return what people call a level, oversight, or the permission of a category."""
    return _LABELS[codename]


@dataclass(frozen=True)
class EffectiveAccess:
    """All the rights that somebody has in one place, and what they come to."""

    holder: Any
    place: Repository | Namespace
    rights: list[Right]

    @property
    def permissions(self) -> frozenset[str]:
        return frozenset().union(*(right.permissions for right in self.rights))

    @property
    def level(self) -> Level | None:
        """The highest level whose permissions they all have; auditors and single categories have none."""
        held = [level for level in Level if levels.ALLOWED_BY[level] <= self.permissions]
        return held[-1] if held else None

    @property
    def categories(self) -> list[Category]:
        """The categories of events that they see here."""
        return [
            category for category in levels.REPOSITORY_CATEGORIES if category.permission in self.permissions
        ]


@dataclass(frozen=True)
class UserAccess:
    """What one user may do."""

    everywhere: list[Right]
    """Oversight of the whole registry, and reading what is public."""
    namespaces: Page
    """An EffectiveAccess for each namespace that they own, or that a grant names, by name."""
    repositories: Page
    """An EffectiveAccess for each live repository that a grant names, by name."""


def rights_on(
    repository: Repository, cursor: str | None = None, search: str = "", *, overseers: bool = True
) -> Page:
    """Return a page of the people with rights of their own in a repository, an EffectiveAccess for each.

    By name, in nine queries at most; `search` is a part of their names. Without `overseers`, what makes
    MSR admins and auditors is left out: not everybody needs to know who they are. What everybody may do
    in a public repository is among each one's rights; `public_right` tells it where nobody is listed.
    The repository's namespace, with its owner, should be loaded.
    """
    people = _holders(repository, overseers)
    if search:
        people = people.filter(**{f"{User.USERNAME_FIELD}__icontains": search})
    page = _page(PEOPLE_BY_NAME, people, cursor)
    rights = _by_holder(_oversight(page.rows) if overseers else ())
    if grants_count_in(repository):
        public = public_right(repository)
        for right in _granted(page.rows, [repository.namespace], [repository]):
            rights[right.holder.pk].append(right)
        for person in page.rows:
            rights[person.pk] += [replace(public, holder=person)] if public else []
    return replace(
        page, rows=[EffectiveAccess(person, repository, rights[person.pk]) for person in page.rows]
    )


def public_right(repository: Repository) -> Right | None:
    """Return what everybody who is logged in may do in a repository, None where it isn't public."""
    if not grants_count_in(repository) or repository.visibility != Repository.Visibility.PUBLIC:
        return None
    return _read_by_everybody(repository, "everybody who is logged in, as the repository is public")


def rights_of(
    user: Any, namespaces_cursor: str | None = None, repositories_cursor: str | None = None
) -> UserAccess:
    """Return what a user may do: everywhere, and pages of the namespaces and the repositories.

    A repository is listed where it was granted itself; those of a namespace go by the namespace.
    What is granted in an unclaimed namespace is left out of the rights, as it gives nothing.
    """
    if not user.is_active:
        nothing = Page([], None, None)
        return UserAccess([], nothing, nothing)
    ids: dict[str, set[int]] = defaultdict(set)
    for scope, pk, codename in grants_of(user):
        if levels.expand(codename):
            ids[scope].add(pk)
    everywhere = list(_oversight([user]))
    namespaces = _page(
        NAMESPACES_BY_NAME,
        Namespace.objects.filter(pk__in=ids["namespace"]).select_related("user", "organization"),
        namespaces_cursor,
    )
    repositories = _page(
        BY_NAME,
        Repository.objects.live()
        .filter(pk__in=ids["repository"])
        .with_names()
        .select_related("namespace__user", "namespace__organization"),
        repositories_cursor,
    )
    claimed = [namespace for namespace in namespaces.rows if not namespace.is_unclaimed]
    counted = [repository for repository in repositories.rows if grants_count_in(repository)]
    rights: dict[Any, list[Right]] = defaultdict(list)
    for right in _granted([user], {*claimed, *(repository.namespace for repository in counted)}, counted):
        rights[right.place].append(right)

    def in_repository(repository: Repository) -> list[Right]:
        public = public_right(repository)
        above = rights[repository.namespace] if grants_count_in(repository) else []
        return [*everywhere, *rights[repository], *above, *([replace(public, holder=user)] if public else [])]

    in_public = _read_by_everybody(None, "everybody who is logged in, in every public repository")
    return UserAccess(
        everywhere=[*everywhere, replace(in_public, holder=user)],
        namespaces=replace(
            namespaces,
            rows=[EffectiveAccess(user, row, [*everywhere, *rights[row]]) for row in namespaces.rows],
        ),
        repositories=replace(
            repositories, rows=[EffectiveAccess(user, row, in_repository(row)) for row in repositories.rows]
        ),
    )


def _page(keyset: Keyset, queryset: QuerySet, cursor: str | None) -> Page:
    return keyset.page_or_first(queryset, PAGE_SIZE, cursor)


def _by_holder(rights: Iterable[Right]) -> dict[int, list[Right]]:
    found: dict[int, list[Right]] = defaultdict(list)
    for right in rights:
        found[right.holder.pk].append(right)
    return found


def _holders(repository: Repository, overseers: bool) -> QuerySet:
    """Return the active users with a right in a repository that not everybody has."""
    overseeing = Permission.objects.filter(_OVERSEES)
    ids: list[QuerySet] = [User._default_manager.none().values_list("pk")]
    if overseers:
        ids += [
            User._default_manager.filter(is_superuser=True).values_list("pk"),
            User.user_permissions.through.objects.filter(permission__in=overseeing).values_list("user"),
            User._default_manager.filter(groups__permissions__in=overseeing).values_list("pk"),
        ]
    if grants_count_in(repository):
        namespace = repository.namespace
        ids += [
            User._default_manager.filter(namespaces=namespace).values_list("pk"),
            Membership.objects.filter(
                organization=namespace.organization_id, role=Membership.Role.OWNER
            ).values_list("user"),
        ]
        for (to_users, to_groups), place in ((_ON_NAMESPACES, namespace), (_ON_REPOSITORIES, repository)):
            ids += [
                to_users.objects.filter(_GIVES_SOMETHING, content_object=place).values_list("user"),
                to_groups.objects.filter(
                    _GIVES_SOMETHING, content_object=place, group__user__isnull=False
                ).values_list("group__user"),
            ]
    first, *others = ids
    return User._default_manager.filter(is_active=True, pk__in=first.union(*others))


def _oversight(people: Iterable[Any]) -> Iterator[Right]:
    """Yield what makes these people MSR admins or auditors, in two queries."""
    by_id = {person.pk: person for person in people}
    for person in by_id.values():
        if person.is_superuser:
            yield _oversees(person, "administer_registry", "superuser", person)
    own = Permission.objects.filter(_OVERSEES, user__in=by_id).annotate(holder=F("user"))
    for permission in own:
        holder = by_id[permission.holder]
        yield _oversees(holder, permission.codename, "permission of their own", holder)
    memberships: Any = User.groups.through.objects.filter(
        user__in=by_id, group__permissions__in=Permission.objects.filter(_OVERSEES)
    )
    # Who is an MSR admin by a group is an auditor by it as well, which goes without saying.
    strongest = {
        (row.user_id, row.group_id): row
        for row in memberships.select_related("group")
        .annotate(codename=F("group__permissions__codename"))
        .order_by(Case(When(codename="administer_registry", then=1), default=0))
    }
    for row in strongest.values():
        yield _oversees(by_id[row.user_id], row.codename, f"member of the group {row.group}", row.group)


def _granted(
    people: Iterable[Any], namespaces: Iterable[Namespace], repositories: Iterable[Repository]
) -> Iterator[Right]:
    """Yield what these people own, and what they were granted, in these places, in five queries."""
    by_id: dict[int | None, Any] = {person.pk: person for person in people}
    namespaces = list(namespaces)
    yield from _owned(by_id, namespaces)
    for (to_users, to_groups), places in ((_ON_NAMESPACES, namespaces), (_ON_REPOSITORIES, repositories)):
        place_by_id: dict[int, Any] = {place.pk: place for place in places}
        given = {"content_object__in": place_by_id}
        for grant in to_users.objects.filter(_GIVES_SOMETHING, user__in=by_id, **given).select_related(
            "permission"
        ):
            place = place_by_id[grant.content_object_id]
            yield _grant(by_id[grant.user_id], place, grant, f"granted to them on the {_kind(place)} {place}")
        to_members = to_groups.objects.filter(_GIVES_SOMETHING, group__user__in=by_id, **given)
        for grant in to_members.annotate(member=F("group__user")).select_related(
            "permission", "group__team__organization"
        ):
            place = place_by_id[grant.content_object_id]
            reason = f"{name_of_group(grant.group)}, granted on the {_kind(place)} {place}"
            yield _grant(by_id[grant.member], place, grant, reason)


def name_of_group(group: Group) -> str:
    """Return `team acme/dev`, or, for a group that is no team's, `group Security auditors`."""
    return f"team {group.team}" if hasattr(group, "team") else f"group {group.name}"


def _owned(by_id: Mapping[int | None, Any], namespaces: Iterable[Namespace]) -> Iterator[Right]:
    """Yield what owning the namespaces, or the organizations that they belong to, gives."""
    of_organization: dict[int | None, list[Namespace]] = defaultdict(list)
    for namespace in namespaces:
        if namespace.user_id in by_id:
            yield _owns(by_id[namespace.user_id], namespace, f"owner of the namespace {namespace}", namespace)
        elif namespace.organization_id:
            of_organization[namespace.organization_id].append(namespace)
    ownerships = Membership.objects.filter(
        user__in=by_id, organization__in=of_organization, role=Membership.Role.OWNER
    )
    for membership in ownerships.select_related("organization"):
        for namespace in of_organization[membership.organization_id]:
            reason = f"owner of the organization {membership.organization}"
            yield _owns(by_id[membership.user_id], namespace, reason, membership)


def _oversees(holder: Any, codename: str, reason: str, source: Any) -> Right:
    return Right(holder, None, codename, levels.OVERSIGHT[codename], reason, source)


def _owns(holder: Any, namespace: Namespace, reason: str, source: Any) -> Right:
    return Right(holder, namespace, Level.ADMIN.value, levels.ALLOWED_BY[Level.ADMIN], reason, source)


def _grant(holder: Any, place: Repository | Namespace, grant: Any, reason: str) -> Right:
    codename = grant.permission.codename
    return Right(holder, place, codename, levels.expand(codename), reason, grant)


def _read_by_everybody(repository: Repository | None, reason: str) -> Right:
    return Right(None, repository, Level.READ.value, levels.ALLOWED_BY[Level.READ], reason, repository)


def _kind(place: Repository | Namespace) -> str:
    return str(place._meta.verbose_name)
