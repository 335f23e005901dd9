"""Random worlds for property tests: repositories, their owners, grants on them, and events.

`worlds` is the Hypothesis strategy that generates a `World`, and `World.build` creates it in the database.
`World.can_see` reimplements the permission table without the application's code, so that tests can compare
its results with the application's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from django.contrib.auth.models import Permission
from django.db import transaction
from guardian.shortcuts import assign_perm
from hypothesis import strategies as st

from activity.storage.events import insert
from repositories.models import (
    Membership,
    Namespace,
    NamespaceUserPermission,
    Repository,
    RepositoryUserPermission,
)
from tests import factories

USERS = ["ann", "ben", "cat"]
NAMESPACES = ["ann", "acme", "globex", "newcorp", "_"]
LEVELS = ["level_read", "level_read_write", "level_admin"]
CATEGORIES = ["push", "scan", "delete", "create_repo", "promotion", "pull", "mirror", "pruning", "access"]
READER_CATEGORIES = ["push", "scan", "delete", "create_repo"]
KINDS = {
    "push": "create_manifest",
    "scan": "scan",
    "delete": "delete_tag",
    "create_repo": "create_repository",
    "promotion": "create_promotion_policy",
    "pull": "get_tag",
    "mirror": "push_mirror",
    "pruning": "create_pruning_policy",
    "access": "create_grant",
    "account": "create_session",
    "system": "delete_events",
    "unknown": factories.UNKNOWN_KIND,
}


SUBJECTS = {"ann": "ben", "ben": "cat"}
"""Whose account an account event of each actor is about, if it isn't the actor's own."""
DELIVERED_CATEGORIES = [*CATEGORIES[:-1], "unknown"]
"""The categories of the events that registries and other producers deliver."""
DETAILS_FOR_EVERYONE = {
    "media_type",
    "size",
    "subject",
    "changes",
    "members",
    "count",
    "policy_id",
    "critical",
}
DETAILS_FOR_ADMINS = {
    "client_address",
    "client_port",
    "client_address_sent",
    "user_agent",
    "node",
    "request_id",
    "instance_id",
    "notification_id",
    "source_id",
    "unheard_of",
}


@dataclass
class World:
    """Repositories, memberships, grants and events as plain data, independent of the models."""

    repositories: list[tuple[str, bool, bool]]
    """For each repository: its namespace, whether it is public, and whether it is deleted."""
    owners: set[tuple[str, str]]
    """Pairs of a username and the name of an organization that the user owns."""
    team: set[str]
    """The members of the only team, which belongs to the acme organization."""
    grants: list[tuple[str, str, Any]]
    """For each grant: its permission, its holder (a username or `team`), and its target.

    The target is an index into `repositories` or the name of a namespace.
    """
    events: list[tuple[int | None, str, str, bool]]
    """For each event: the index of its repository (or None), its category, its actor, and whether a registry
    or another producer delivered it. The application itself recorded the others."""
    created: dict[str, Any] = field(default_factory=dict)
    """The objects that `build` creates: users by username, `repositories`, and the ids of `events`."""

    def can_see(
        self, viewer: str, number: int | None, category: str, actor: str = "", delivered: bool = True
    ) -> bool:
        """Return whether the viewer can see an event with these values, according to the permission table."""
        if viewer in ("admin", "auditor"):
            return True
        if number is None:
            return category == "account" and viewer in (actor, SUBJECTS.get(actor))
        namespace, public, deleted = self.repositories[number]
        if deleted or namespace == "newcorp":
            return False
        permissions = self._granted(viewer, number)
        if self._is_admin(viewer, number):
            return True
        if category in READER_CATEGORIES and (public or permissions & set(LEVELS)):
            return True
        return category in CATEGORIES and f"view_{category}_events" in permissions

    def visible_details(
        self, viewer: str, number: int | None, category: str, actor: str, delivered: bool
    ) -> set[str]:
        """Return the names of the details that a viewer who can see the event can see of it."""
        if viewer in ("admin", "auditor"):
            return DETAILS_FOR_EVERYONE | DETAILS_FOR_ADMINS | {"message"}
        is_own = category == "account" and actor == viewer
        if is_own or (delivered and number is not None and self._is_admin(viewer, number)):
            return DETAILS_FOR_EVERYONE | DETAILS_FOR_ADMINS
        return DETAILS_FOR_EVERYONE

    def _granted(self, viewer: str, number: int) -> set[str]:
        namespace = self.repositories[number][0]
        return {
            permission
            for permission, to, on in self.grants
            if on in (number, namespace) and (to == viewer or (to == "team" and viewer in self.team))
        }

    def _is_admin(self, viewer: str, number: int) -> bool:
        namespace = self.repositories[number][0]
        is_owner = namespace == viewer or (viewer, namespace) in self.owners
        return is_owner or "level_admin" in self._granted(viewer, number)

    def can_see_repository(self, viewer: str, number: int) -> bool:
        """Return whether the viewer can see that the repository exists."""
        if self.repositories[number][2]:
            return False
        return any(self.can_see(viewer, number, category) for category in CATEGORIES)

    def can_see_user(self, viewer: str, username: str) -> bool:
        """Return whether the viewer can see a user even if all of the user's events are hidden."""
        organizations = [
            {organization for owner, organization in self.owners if owner == name}
            | ({"acme"} if name in self.team else set())
            for name in (viewer, username)
        ]
        return viewer in (username, "admin", "auditor") or bool(organizations[0] & organizations[1])

    def build(self) -> None:
        """Create the world in the database, and fill `created`."""
        for name in USERS:
            self.created[name] = factories.UserFactory(username=name)
        self.created["admin"] = factories.msr_admin(username="admin")
        self.created["auditor"] = factories.auditor(username="auditor")
        organizations = {name: factories.OrganizationFactory(name=name) for name in ("acme", "globex")}
        for name, organization in self.owners:
            Membership.objects.create(
                organization=organizations[organization], user=self.created[name], role="owner"
            )
        team = factories.team_of(organizations["acme"], *(self.created[name] for name in self.team))
        repositories = []
        for number, (namespace_name, public, deleted) in enumerate(self.repositories):
            namespace, _ = Namespace.objects.get_or_create(name=namespace_name)
            repositories.append(
                Repository.objects.create(
                    namespace=namespace,
                    name=f"r{number}",
                    visibility="public" if public else "private",
                    deleted_at=factories.NOON if deleted else None,
                )
            )
        for permission, to, on in self.grants:
            target = repositories[on] if isinstance(on, int) else Namespace.objects.get_or_create(name=on)[0]
            assign_perm(permission, team.group if to == "team" else self.created[to], target)
        self._create_expired_grants(repositories)
        self.created["repositories"] = repositories
        self.created["events"] = [self.create_event(place, *event) for place, event in enumerate(self.events)]

    def _create_expired_grants(self, repositories: list[Repository]) -> None:
        """Give everybody grants that have expired, and must not change what anybody can see."""
        levels = {
            permission.content_type.model: permission
            for permission in Permission.objects.filter(codename="level_admin").select_related("content_type")
        }
        expired: list[tuple[Any, str, set[Any]]] = [
            (RepositoryUserPermission, "repository", {*repositories}),
            (NamespaceUserPermission, "namespace", {row.namespace for row in repositories}),
        ]
        for model, scope, places in expired:
            model.objects.bulk_create(
                (
                    model(
                        user=self.created[name],
                        permission=levels[scope],
                        content_object=place,
                        expires_at=factories.NOON,
                    )
                    for name, place in product(USERS, places)
                ),
                ignore_conflicts=True,
            )

    def create_event(self, place: int, number: int | None, category: str, actor: str, delivered: bool) -> str:
        """Create an event, and return its id. `place` is its index in `events`, or a higher number."""
        repository = self.created["repositories"][number] if number is not None else None
        event = factories.event_row(
            kind=KINDS[category],
            repository=repository,
            repository_name=repository.full_name if repository else "",
            actor_name=actor,
            actor_user=self.created[actor],
            subject_user=self.created.get(SUBJECTS.get(actor, "")) if category == "account" else None,
            delivered_by=self.created["admin"] if delivered else None,
            details=details_of(place),
        )
        insert([event])
        return str(event.pk)


def details_of(place: int) -> dict[str, Any]:
    """Return the details of the event at this place in `World.events`. No two events have any in common."""
    names = sorted(DETAILS_FOR_EVERYONE | DETAILS_FOR_ADMINS)
    details = {name: f"{name}-{place}" for name in names}
    return {**details, "client_address": address_of(place), "message": {"request": {"id": f"secret-{place}"}}}


def address_of(place: int) -> str:
    return f"10.77.0.{place + 1}"


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Generate a world with few repositories, grants and events, so that failing examples stay readable."""
    repositories = draw(
        st.lists(
            st.tuples(st.sampled_from(NAMESPACES), st.booleans(), st.sampled_from([False, False, True])),
            min_size=1,
            max_size=4,
        )
    )
    numbers = st.integers(0, len(repositories) - 1)
    actors = st.sampled_from(["ann", "ann", "ben"])
    categories = st.sampled_from([*CATEGORIES, "unknown"])
    permissions = st.sampled_from([*LEVELS, *LEVELS, *(f"view_{category}_events" for category in CATEGORIES)])
    return World(
        repositories=repositories,
        owners=draw(
            st.sets(st.tuples(st.sampled_from(USERS), st.sampled_from(["acme", "globex"])), max_size=2)
        ),
        team=draw(st.sets(st.sampled_from(USERS))),
        grants=draw(
            st.lists(
                st.tuples(
                    permissions, st.sampled_from([*USERS, "team"]), numbers | st.sampled_from(NAMESPACES)
                ),
                max_size=5,
            )
        ),
        events=draw(
            st.lists(
                st.tuples(numbers | st.none(), categories, actors, st.just(False))
                | st.tuples(numbers, st.sampled_from(DELIVERED_CATEGORIES), actors, st.just(True))
                | st.tuples(st.none(), st.sampled_from(["account", "system"]), actors, st.just(False)),
                max_size=8,
            )
        ),
    )


@contextmanager
def rolled_back() -> Iterator[None]:
    """Roll back the changes that the block makes to the database, e.g. to isolate Hypothesis examples."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
