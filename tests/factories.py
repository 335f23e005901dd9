"""Factories for the users, repositories and events that tests need.

A test passes only the values that matter to it; all other values have defaults.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import factory
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.utils import timezone
from factory.django import DjangoModelFactory
from guardian.shortcuts import assign_perm

from activity.catalogue import category_of, kinds_of
from activity.identity import event_id
from activity.models import ActorType, Event
from activity.recording.drafts import Draft
from activity.recording.record import record_events
from activity.sources.registries import grant_add_event_permission
from repositories import names
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.levels import AUDITOR_PERMISSIONS
from repositories.access.resolving import Access
from repositories.models import (
    AccessToken,
    Membership,
    Namespace,
    Organization,
    Policy,
    RegistrySettings,
    Repository,
    Team,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SEES_EVERYTHING = Access(AUDITOR_PERMISSIONS)
"""The access of a security auditor."""
UNKNOWN_KIND = "unknown_300"
DIGEST = "sha256:" + "bbf09ba3" * 8

# Media types
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
LAYER = "application/octet-stream"

_sequence = itertools.count()


class UserFactory(DjangoModelFactory):
    username = factory.Sequence(lambda number: f"user{number}")

    class Meta:
        model = get_user_model()


class OrganizationFactory(DjangoModelFactory):
    name = factory.Sequence(lambda number: f"org{number}")

    class Meta:
        model = Organization


class TeamFactory(DjangoModelFactory):
    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda number: f"team{number}")

    class Meta:
        model = Team


class PolicyFactory(DjangoModelFactory):
    kind = Policy.Kind.PROMOTION

    class Meta:
        model = Policy


def msr_admin(**values: Any) -> Any:
    """Create an MSR admin, who can see and do everything without being a superuser."""
    user = UserFactory(is_staff=True, **values)
    user.groups.add(Group.objects.get(name=MSR_ADMINS))
    return user


def auditor(**values: Any) -> Any:
    """Create a security auditor, who can see everything and change nothing."""
    user = UserFactory(is_staff=True, **values)
    user.groups.add(Group.objects.get(name=AUDITORS))
    return user


def enable_scanning() -> None:
    """Turn scanning on in the registry settings."""
    settings = RegistrySettings.get_solo()
    settings.scanning_enabled = True
    settings.save()


def repository(full_name: str = "acme/web", *, public: bool = False) -> Repository:
    """Create a repository. If its namespace is new and not `_`, also create an organization that owns it."""
    namespace, name = names.split_name(full_name)
    if namespace != names.LIBRARY and not Namespace.objects.filter(name=namespace).exists():
        OrganizationFactory(name=namespace)
    return Repository.objects.create(
        namespace=Namespace.objects.get_or_create(name=namespace)[0],
        name=name,
        visibility=Repository.Visibility.PUBLIC if public else Repository.Visibility.PRIVATE,
    )


def add_member(organization: Any, user: Any, role: str = "member") -> Membership:
    """Add a user to an organization."""
    return Membership.objects.create(organization=organization, user=user, role=role)


def team_of(organization: Organization | None, *members: Any) -> Team:
    """Create a team, and add the members to it and, if necessary, to its organization."""
    team = TeamFactory(organization=organization)
    for member in members:
        Membership.objects.get_or_create(organization=organization, user=member)
        team.group.user_set.add(member)
    return team


def user_with(permission: str, target: Repository | Namespace) -> Any:
    """Create a user with a grant, e.g. `level_read` or `view_pull_events`, on a repository or namespace."""
    user = UserFactory()
    assign_perm(permission, user, target)
    return user


def permit(user: Any, permission: str) -> None:
    """Give a user a Django permission, e.g. `auth.view_user`."""
    app, codename = permission.split(".")
    user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))


def producer(**values: Any) -> Any:
    """Create an account that has the permission to add events."""
    account = UserFactory(**values)
    grant_add_event_permission(account)
    return account


def new_token(user: Any, name: str = "", expires_in: timedelta | None = None, **values: Any) -> str:
    """Create an access token for a user, by default with all scopes, and return the token."""
    return AccessToken.objects.create(user, expires_in, name=name, **{"can_write": True, **values})[1]


def bearer(user: Any, **values: Any) -> dict[str, str]:
    """Create an access token for a user, and return an Authorization header that contains the token."""
    return {"authorization": f"Bearer {new_token(user, **values)}"}


def draft(kind: str = "create_manifest", repository: Any = "acme/web", **values: Any) -> Draft:
    """Return the draft of an event. By default, the event is later than the events of all previous drafts."""
    number = next(_sequence)
    occurred_at = values.setdefault("occurred_at", NOON + timedelta(seconds=number))
    return Draft(
        kind=kind,
        repository=repository if isinstance(repository, Repository) else None,
        repository_name=getattr(repository, "full_name", repository),
        **{
            "received_at": min(occurred_at, timezone.now()),
            "source_id": f"event-{number}",
            "actor_type": ActorType.USER,
            "actor_name": "jane",
            **values,
        },
    )


def record(kind: str = "create_manifest", repository: Any = "acme/web", **values: Any) -> Event:
    """Record an event and return it. By default, the event is later than all previously recorded events."""
    (id,) = record_events([draft(kind, repository, **values)])
    return Event.objects.get(pk=id)


def event_row(**values: Any) -> Event:
    """Return an unsaved event of a kind, or of any kind in a category.

    Unlike a draft, an unsaved event can have an unknown kind.
    """
    number = next(_sequence)
    received_at = min(values.get("occurred_at", NOON), timezone.now())
    category = values.pop("category", "push")
    defaults = {
        "kind": next((kind.key for kind in kinds_of([category])), UNKNOWN_KIND),
        "occurred_at": NOON,
        "received_at": received_at,
    }
    values = {**defaults, "actor_type": ActorType.USER, "actor_name": "jane", **values}
    is_pull = category_of(values["kind"]) == "pull"
    id = event_id(values["occurred_at"], 1, None, f"row-{number}", is_pull=is_pull)
    return Event(id=id, is_pull=is_pull, **values)


def produced_event(kind: str, moment: datetime, actor: str, **values: Any) -> dict[str, Any]:
    """Return an event in the format that producers send."""
    return {
        "id": f"{kind} {moment.isoformat()} {actor} {values}",
        "kind": kind,
        "repository": "acme/web",
        "occurred_at": moment.isoformat(),
        "actor": {"type": "user", "id": actor},
        **values,
    }


def notification(**values: Any) -> dict[str, Any]:
    """Return a notification. By default, it reports that a manifest was pushed by tag.

    If an argument is a dict, it is merged into the default value, and keys that it sets to None are removed.
    """
    event: dict[str, Any] = {
        "id": f"notification-{next(_sequence)}",
        "timestamp": "2026-11-22T10:37:10.173601825Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": DIGEST,
            "size": 439,
            "repository": "acme/web",
            "tag": "latest",
        },
        "request": {"id": "r1", "addr": "10.0.0.7:56544", "method": "PUT", "useragent": "skopeo/1.9.3"},
        "actor": {"name": "jane"},
        "source": {"addr": "node1:5000"},
    }
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(event.get(key), dict):
            merged = {**event[key], **value}
            event[key] = {name: part for name, part in merged.items() if part is not None}
        else:
            event[key] = value
    return event
