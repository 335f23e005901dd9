"""What is deleted or changed along with an object: grants, memberships, ownerships and access tokens.

The admin and the site show it before a deletion. Each row is recorded as an event, so that the events answer
until when somebody had access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from guardian.models import UserObjectPermissionBase

from repositories.access.grants import describe
from repositories.models import (
    AccessToken,
    Membership,
    Namespace,
    NamespaceGroupPermission,
    NamespaceUserPermission,
    Organization,
    Repository,
    RepositoryGroupPermission,
    RepositoryUserPermission,
    Team,
)

MAX_SHOWN = 100
"""The maximum number of rows of each kind to show."""


@dataclass(frozen=True)
class Dependents:
    """The rows that are deleted or changed along with an object."""

    deleted: list[Any] = field(default_factory=list)
    """Grants, memberships, teams and access tokens. They are deleted."""
    unclaimed: list[Namespace] = field(default_factory=list)
    """Namespaces that lose their owner, and are unclaimed from then on."""
    members: list[tuple[Group, list[Any]]] = field(default_factory=list)
    """The users who are removed from groups, by group."""

    def in_words(self) -> dict[str, list[str]]:
        """Return descriptions of the rows by kind, at most MAX_SHOWN of each kind."""
        kinds: dict[str, list[str]] = {}
        for row in self.deleted:
            title, text = TITLES_AND_FORMATS[type(row)]
            kinds.setdefault(str(title), []).append(text(row))
        unclaimed = gettext(
            "Namespaces that become unclaimed, so that only MSR admins and auditors see their repositories"
        )
        kinds[unclaimed] = [str(namespace) for namespace in self.unclaimed]
        kinds[gettext("Members of teams and groups")] = [
            gettext("%(user)s in %(group)s") % {"user": user, "group": group}
            for group, users in self.members
            for user in users
        ]
        return {f"{kind} ({len(rows)})": _first(rows) for kind, rows in kinds.items() if rows}


def _first(rows: list[str]) -> list[str]:
    more = len(rows) - MAX_SHOWN
    return [*rows[:MAX_SHOWN], gettext("and %(number)s more") % {"number": more}] if more > 0 else rows


def _token_of_user(token: AccessToken) -> str:
    return gettext("%(token)s of %(user)s") % {"token": token, "user": token.user}


GRANTS_TO_USER: list[Any] = [RepositoryUserPermission, NamespaceUserPermission]
GRANTS_TO_GROUP: list[Any] = [RepositoryGroupPermission, NamespaceGroupPermission]
TITLES_AND_FORMATS: dict[type, tuple[Promise, Callable[[Any], str]]] = {
    **dict.fromkeys([*GRANTS_TO_USER, *GRANTS_TO_GROUP], (_("Grants"), describe)),
    Membership: (_("Memberships in organizations"), str),
    Team: (_("Teams"), str),
    AccessToken: (_("Access tokens"), _token_of_user),
}


def dependents_of(row: Any) -> Dependents:
    """Return what is deleted or changed along with a row, in a number of queries that is always the same."""
    find = FINDERS.get(type(row))
    return find(row) if find else Dependents()


def _of_user(user: Any) -> Dependents:
    valid = Q(expiry=None) | Q(expiry__gte=timezone.now())
    return Dependents(
        [
            *_grants(GRANTS_TO_USER, user=user),
            *user.memberships.select_related("user", "organization"),
            *user.access_tokens.filter(valid).select_related("user"),
        ],
        list(user.namespaces.all()),
        [(group, [user]) for group in user.groups.select_related("team__organization").order_by("name")],
    )


def _of_organization(organization: Organization) -> Dependents:
    teams = organization.teams.select_related("organization", "group")
    return Dependents(
        [
            *_grants(GRANTS_TO_GROUP, group__team__organization=organization),
            *teams,
            *organization.memberships.select_related("user", "organization"),
        ],
        list(organization.namespaces.all()),
        _members(team.group for team in teams.prefetch_related("group__user_set")),
    )


def _of_team(team: Team) -> Dependents:
    return Dependents(_grants(GRANTS_TO_GROUP, group=team.group_id), members=_members([team.group]))


def _of_group(group: Group) -> Dependents:
    teams = Team.objects.filter(group=group).select_related("organization")
    return Dependents([*_grants(GRANTS_TO_GROUP, group=group), *teams], members=_members([group]))


def _of_namespace(namespace: Namespace) -> Dependents:
    return Dependents(_grants([NamespaceUserPermission, NamespaceGroupPermission], content_object=namespace))


def _of_repository(repository: Repository) -> Dependents:
    return Dependents(
        _grants([RepositoryUserPermission, RepositoryGroupPermission], content_object=repository)
    )


FINDERS: dict[type, Callable[[Any], Dependents]] = {
    get_user_model(): _of_user,
    Organization: _of_organization,
    Team: _of_team,
    Group: _of_group,
    Namespace: _of_namespace,
    Repository: _of_repository,
}


def _members(groups: Iterable[Group]) -> list[tuple[Group, list[Any]]]:
    found = [(group, list(group.user_set.all())) for group in groups]
    return [(group, users) for group, users in found if users]


def _grants(models: Iterable[Any], **lookup: Any) -> list[Any]:
    found: list[Any] = []
    for model in models:
        holder = "user" if issubclass(model, UserObjectPermissionBase) else "group"
        grants = model.objects.filter(**lookup).select_related("permission", "content_object", holder)
        found += grants.order_by("pk")
    return found
