"""No reader shows a forbidden event, or hides an allowed one, whatever the world looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.models import Event
from activity.storage.events import insert
from repositories.access.resolving import Access
from repositories.models import Membership, Namespace, Repository
from repositories.utils.among import FEW
from tests import factories

PEOPLE = ["ann", "ben", "cat"]
SPACES = ["ann", "acme", "globex", "newcorp", "_"]
LEVELS = ["level_read", "level_read_write", "level_admin"]
CATEGORIES = ["push", "scan", "delete", "create_repo", "promotion", "pull", "mirror", "pruning", "access"]
FOR_ALL_WHO_SEE_THE_REPOSITORY = ["push", "scan", "delete", "create_repo"]
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
    "unheard_of": "polish_manifest",
}


@dataclass
class World:
    """Who owns what, who was granted what, and what happened, in plain data."""

    repositories: list[tuple[str, bool, bool]]
    """Namespace, whether public, whether deleted."""
    owners: set[tuple[str, str]]
    """Person, and the organization that they own."""
    team: set[str]
    """The members of the one team, which is of acme."""
    grants: list[tuple[str, str, Any]]
    """Permission, to whom (a person or `team`), on what: a repository's number, or a namespace."""
    events: list[tuple[int | None, str, str]]
    """Number of the repository, None for none, category, and whose act it was."""
    made: dict[str, Any] = field(default_factory=dict)

    def may_see(self, viewer: str, number: int | None, category: str, actor: str = "") -> bool:
        """Restate the table of who may see what."""
        if viewer in ("admin", "auditor"):
            return True
        if number is None:
            return category == "account" and actor == viewer
        namespace, public, deleted = self.repositories[number]
        if deleted or namespace == "newcorp":
            return False
        held = {
            permission
            for permission, to, on in self.grants
            if on in (number, namespace) and (to == viewer or (to == "team" and viewer in self.team))
        }
        if namespace == viewer or (viewer, namespace) in self.owners or "level_admin" in held:
            return True
        if category in FOR_ALL_WHO_SEE_THE_REPOSITORY and (public or held & set(LEVELS)):
            return True
        return category in CATEGORIES and f"view_{category}_events" in held

    def may_enter(self, viewer: str, number: int) -> bool:
        """Tell whether the viewer can see that the repository is there."""
        if self.repositories[number][2]:
            return False
        return any(self.may_see(viewer, number, category) for category in CATEGORIES)

    def may_know(self, viewer: str, person: str) -> bool:
        """Tell whether somebody may know of a person, whatever that one did."""
        theirs = [
            {organization for who, organization in self.owners if who == one}
            | ({"acme"} if one in self.team else set())
            for one in (viewer, person)
        ]
        return viewer in (person, "admin", "auditor") or bool(theirs[0] & theirs[1])

    def build(self) -> None:
        for name in PEOPLE:
            self.made[name] = factories.UserFactory(username=name)
        self.made["admin"] = factories.msr_admin(username="admin")
        self.made["auditor"] = factories.auditor(username="auditor")
        organizations = {name: factories.OrganizationFactory(name=name) for name in ("acme", "globex")}
        for person, organization in self.owners:
            Membership.objects.create(
                organization=organizations[organization], user=self.made[person], role="owner"
            )
        team = factories.team_of(organizations["acme"], *(self.made[name] for name in self.team))
        rows = []
        for number, (space, public, deleted) in enumerate(self.repositories):
            namespace, _ = Namespace.objects.get_or_create(name=space)
            rows.append(
                Repository.objects.create(
                    namespace=namespace,
                    name=f"r{number}",
                    visibility="public" if public else "private",
                    deleted_at=factories.NOON if deleted else None,
                )
            )
        for permission, to, on in self.grants:
            target = rows[on] if isinstance(on, int) else Namespace.objects.get_or_create(name=on)[0]
            assign_perm(permission, team.group if to == "team" else self.made[to], target)
        self.made["repositories"] = rows
        self.made["events"] = [self._event(*event) for event in self.events]

    def _event(self, number: int | None, category: str, actor: str) -> str:
        row = self.made["repositories"][number] if number is not None else None
        event = factories.event_row(
            kind=KINDS[category],
            category=category,
            repository=row,
            repository_name=row.full_name if row else "",
            actor_name=actor,
            actor_user=self.made[actor],
        )
        insert([event])
        return str(event.pk)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    repositories = draw(
        st.lists(
            st.tuples(st.sampled_from(SPACES), st.booleans(), st.sampled_from([False, False, True])),
            min_size=1,
            max_size=4,
        )
    )
    numbers = st.integers(0, len(repositories) - 1)
    actors = st.sampled_from(["ann", "ann", "ben"])
    kinds = st.sampled_from([*CATEGORIES, "unheard_of"])
    permissions = st.sampled_from([*LEVELS, *LEVELS, *(f"view_{category}_events" for category in CATEGORIES)])
    return World(
        repositories=repositories,
        owners=draw(
            st.sets(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["acme", "globex"])), max_size=2)
        ),
        team=draw(st.sets(st.sampled_from(PEOPLE))),
        grants=draw(
            st.lists(
                st.tuples(permissions, st.sampled_from([*PEOPLE, "team"]), numbers | st.sampled_from(SPACES)),
                max_size=5,
            )
        ),
        events=draw(
            st.lists(
                st.tuples(numbers | st.none(), kinds, actors)
                | st.tuples(st.none(), st.sampled_from(["account", "system"]), actors),
                max_size=8,
            )
        ),
    )


@contextmanager
def undone() -> Iterator[None]:
    """Undo what happens within, so that each example has a world of its own."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def listed(client: Client, url: str) -> list[str] | None:
    """Return the ids of all pages of an API listing, None for a 404."""
    ids: list[str] = []
    next_: str | None = url
    while next_:
        response = client.get(next_)
        if response.status_code == 404:
            return None
        assert response.status_code == 200, response.content
        ids += [event["id"] for event in response.json()["results"]]
        next_ = response.json()["next"]
    return ids


def shown(client: Client, url: str) -> int | None:
    """Return the number of events on all pages of an HTML listing, None for a 404."""
    count, next_ = 0, url
    while next_:
        response = client.get(next_)
        if response.status_code == 404:
            return None
        html = response.content.decode()
        count += html.count('<td data-label="Label"')
        link = re.search(r'rel="next" href="([^"]*)"', html)
        next_ = url.partition("?")[0] + link.group(1).replace("&amp;", "&") if link else ""
    return count


def call_few(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have more ids than these, of grants or of repositories, be queried as many are."""
    monkeypatch.setattr("repositories.access.resolving.FEW", number)
    monkeypatch.setattr("repositories.utils.among.FEW", number)


@pytest.mark.django_db
@settings(suppress_health_check=list(HealthCheck))
@given(world=worlds(), few=st.sampled_from([0, FEW]))
def test_gating_agrees_with_the_table(world: World, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    call_few(few, monkeypatch)
    with undone():
        world.build()
        for viewer in [*PEOPLE, "admin", "auditor"]:
            access = Access.of(world.made[viewer])
            expected = [
                id
                for id, event in zip(world.made["events"], world.events, strict=True)
                if world.may_see(viewer, *event)
            ]
            assert sorted(str(event.pk) for event in Event.objects.visible_to(access)) == sorted(expected)
            for number, row in enumerate(world.made["repositories"]):
                mine = [
                    id
                    for id, event in zip(world.made["events"], world.events, strict=True)
                    if event[0] == number
                ]
                found = Event.objects.visible_to(access, row)
                assert sorted(str(event.pk) for event in found) == sorted(set(mine) & set(expected))


@pytest.mark.django_db
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    viewer=st.sampled_from([*PEOPLE, "admin", "auditor"]),
    few=st.sampled_from([0, FEW]),
)
def test_every_reader_agrees_with_the_table(
    world: World, viewer: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_few(few, monkeypatch)
    with undone():
        world.build()
        client = Client()
        client.force_login(world.made[viewer])
        allowed = {
            id
            for id, event in zip(world.made["events"], world.events, strict=True)
            if world.may_see(viewer, *event)
        }

        assert set(listed(client, "/api/v0/events/?page_size=3") or []) == allowed
        for id in world.made["events"]:
            assert client.get(f"/api/v0/events/{id}/").status_code == (200 if id in allowed else 404)
        for person in ("ann", "ben"):
            mine = {
                id
                for id, event in zip(world.made["events"], world.events, strict=True)
                if event[2] == person and id in allowed
            }
            assert shown(client, f"/users/{person}/?exclude_pull=false") == (
                len(mine) if mine or world.may_know(viewer, person) else None
            )
        for number, row in enumerate(world.made["repositories"]):
            place = f"{row.namespace.name}/{row.name}"
            entered = world.may_enter(viewer, number)
            mine = {
                id
                for id, event in zip(world.made["events"], world.events, strict=True)
                if event[0] == number and id in allowed
            }
            in_api = listed(client, f"/api/v0/repositories/{place}/events/")
            on_page = shown(client, f"/repositories/{place}/activity/?exclude_pull=false")
            assert (None if in_api is None else set(in_api)) == (mine if entered else None)
            assert on_page == (len(mine) if entered else None)
            named = listed(client, f"/api/v0/events/?repository={row.full_name}")
            assert set(named or []) == mine


@pytest.mark.django_db
def test_access_takes_three_queries_however_many_grants() -> None:
    user = factories.UserFactory()
    for number in range(3):
        row = factories.repository(f"org{number}x/web")
        team = factories.team_of(row.namespace.organization, user)
        assign_perm("level_read", team.group, row)
        assign_perm("view_pull_events", user, row.namespace)

    with CaptureQueriesContext(
        connection,
    ) as queries:
        Access.of(type(user).objects.get(pk=user.pk))

    assert len(queries) == 4  # one of them fetched the user
