"""Every right is traced to what gives it, for a repository's people and for a person's repositories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repositories.access import explaining, levels
from repositories.access.explaining import EffectiveAccess, public_right, rights_of, rights_on
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.resolving import Access
from repositories.models import Membership, Namespace, Repository
from tests import factories
from tests.test_gating import World, undone, worlds

pytestmark = pytest.mark.django_db


def explained(found: EffectiveAccess) -> set[tuple[str, str]]:
    """Return each right of somebody in a place, with its reason."""
    return {(right.label, right.reason) for right in found.rights}


def access_of(repository: Repository, person: Any) -> EffectiveAccess:
    """Return what is explained of one person in a repository."""
    (found,) = [row for row in rights_on(repository).rows if row.holder == person]
    return found


def level_by_the_book(permissions: frozenset[str]) -> str | None:
    """Restate the table: who manages access is an admin, who pushes has read-write, who pulls has read."""
    for telling, level in (("manage_access", "admin"), ("push", "read-write"), ("pull", "read")):
        if telling in permissions:
            return level
    return None


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    inactive=st.sets(st.sampled_from(["ann", "ben", "admin"])),
    overseers=st.dictionaries(st.sampled_from(["ann", "ben"]), st.sampled_from([AUDITORS, MSR_ADMINS])),
    superuser=st.booleans(),
    idle=st.booleans(),
)
def test_explanations_add_up_to_the_access(
    world: World, inactive: set[str], overseers: dict[str, str], superuser: bool, idle: bool
) -> None:
    with undone():
        world.build()
        people = [world.made[name] for name in ("ann", "ben", "cat", "admin", "auditor")]
        people.append(factories.UserFactory(username="root", is_superuser=superuser))
        for person in people:
            if person.username in overseers:
                person.groups.add(Group.objects.get(name=overseers[person.username]))
            if person.username in inactive:
                person.is_active = False
                person.save()
        if idle:  # what Django makes for every model, and gives nothing here
            assign_perm("view_repository", people[0], world.made["repositories"][0])
            assign_perm("change_namespace", people[1], Namespace.objects.get(name="acme"))
        people = [type(person).objects.get(pk=person.pk) for person in people]
        for row in world.made["repositories"]:
            repository = Repository.objects.select_related("namespace").get(pk=row.pk)
            listed = {found.holder: found for found in rights_on(repository).rows}
            public = public_right(repository)
            for person in people:
                allowed = Access.of(person).permissions_on(repository)
                found = listed.get(person)
                if found:
                    assert found.permissions == allowed
                    assert (found.level and found.level.label) == level_by_the_book(allowed)
                    assert all(right.holder == person and right.permissions for right in found.rights)
                elif person.is_active:
                    assert allowed == (public.permissions if public else frozenset())
                else:
                    assert allowed == frozenset()
                assert permissions_of(person, repository) == allowed


def permissions_of(person: Any, repository: Repository) -> frozenset[str]:
    """Add up what is explained of a person: everywhere, in the namespace, in the repository."""
    found = rights_of(person)
    in_repository = {row.place: row for row in found.repositories.rows}.get(repository)
    in_namespace = {row.place: row for row in found.namespaces.rows}.get(repository.namespace)
    if in_repository:  # which tells all, that of its namespace too
        return in_repository.permissions
    added = {p for right in found.everywhere if right.codename in levels.OVERSIGHT for p in right.permissions}
    if repository.deleted_at is None:
        added |= in_namespace.permissions if in_namespace else set()
        if person.is_active and public_right(repository):
            added |= found.everywhere[-1].permissions
    return frozenset(added)


class TestReasons:
    @pytest.fixture
    def person(self) -> Any:
        return factories.UserFactory(username="jane")

    def test_nobody_has_a_right_without_a_reason(self, web: Repository, person: Any) -> None:
        assert rights_on(web).rows == []

    def test_grant_to_the_person(self, web: Repository, person: Any) -> None:
        grant = assign_perm("level_read_write", person, web)

        found = access_of(web, person)

        assert explained(found) == {("read-write", "granted to them on the repository acme/web")}
        assert found.rights[0].source == grant

    def test_grant_to_a_team_on_the_namespace(self, web: Repository, person: Any) -> None:
        team = factories.team_of(web.namespace.organization, person)
        grant = assign_perm("level_read", team.group, web.namespace)

        found = access_of(web, person)

        assert explained(found) == {("read", f"team {team}, granted on the namespace acme")}
        assert found.rights[0].source == grant

    def test_owner_of_the_organization(self, web: Repository, person: Any) -> None:
        membership = factories.member(web.namespace.organization, person, role="owner")

        found = access_of(web, person)

        assert explained(found) == {("admin", "owner of the organization acme")}
        assert found.rights[0].source == membership

    def test_member_without_a_team_has_none(self, web: Repository, person: Any) -> None:
        factories.member(web.namespace.organization, person)

        assert rights_on(web).rows == []

    def test_owner_of_the_namespace(self, person: Any) -> None:
        repository = factories.repository("jane/app")

        found = access_of(repository, person)

        assert explained(found) == {("admin", "owner of the namespace jane")}
        assert found.rights[0].source == repository.namespace

    @pytest.mark.parametrize(
        ("make", "label", "reason"),
        [
            (factories.msr_admin, "MSR admin", "member of the group MSR admins"),
            (factories.auditor, "security auditor", "member of the group Security auditors"),
        ],
    )
    def test_oversight(self, web: Repository, make: Callable[[], Any], label: str, reason: str) -> None:
        person = make()

        assert explained(access_of(web, person)) == {(label, reason)}

    def test_superuser_and_permission_of_their_own(self, web: Repository) -> None:
        root = factories.UserFactory(is_superuser=True)
        trusted = factories.UserFactory()
        trusted.user_permissions.add(Permission.objects.get(codename="audit_registry"))

        assert explained(access_of(web, root)) == {("MSR admin", "superuser")}
        assert explained(access_of(web, trusted)) == {("security auditor", "permission of their own")}

    def test_public_repository(self, person: Any) -> None:
        repository = factories.repository("acme/web", public=True)
        assign_perm("view_pull_events", person, repository)

        found = access_of(repository, person)

        assert explained(found) == {
            ("pull events", "granted to them on the repository acme/web"),
            ("read", "everybody who is logged in, as the repository is public"),
        }
        assert found.level == levels.Level.READ
        assert [category.value for category in found.categories] == [
            "push",
            "scan",
            "delete",
            "create_repo",
            "pull",
        ]

    def test_single_category_is_no_level(self, web: Repository, person: Any) -> None:
        assign_perm("view_pull_events", person, web)

        found = access_of(web, person)

        assert (found.level, found.categories) == (None, [levels.Category.PULL])

    def test_several_are_all_told(self, web: Repository, person: Any) -> None:
        team = factories.team_of(web.namespace.organization, person)
        assign_perm("level_read", team.group, web)
        assign_perm("level_read", person, web.namespace)
        assign_perm("level_admin", person, web)

        found = access_of(web, person)

        assert len(found.rights) == 3
        assert found.level == levels.Level.ADMIN

    def test_grants_in_an_unclaimed_namespace_give_nothing(self, person: Any) -> None:
        namespace = Namespace.objects.create(name="newcorp")
        repository = Repository.objects.create(namespace=namespace, name="app", visibility="public")
        assign_perm("level_admin", person, repository)

        assert rights_on(repository).rows == []
        assert public_right(repository) is None
        (found,) = rights_of(person).repositories.rows
        assert (found.place, found.rights) == (repository, [])

    def test_of_a_person_are_those_of_the_places(self, web: Repository, person: Any) -> None:
        team = factories.team_of(web.namespace.organization, person)
        assign_perm("level_read", team.group, web.namespace)
        assign_perm("view_mirror_events", person, web)

        found = rights_of(person)

        assert [(row.place.name, explained(row)) for row in found.namespaces.rows] == [
            ("acme", {("read", f"team {team}, granted on the namespace acme")}),
            ("jane", {("admin", "owner of the namespace jane")}),
        ]
        (row,) = found.repositories.rows
        assert explained(row) == {
            ("mirror events", "granted to them on the repository acme/web"),
            ("read", f"team {team}, granted on the namespace acme"),
        }


class TestSize:
    def queries(self, ask: Callable[[], Any]) -> int:
        with CaptureQueriesContext(connection) as captured:
            ask()
        return len(captured)

    def grant_all_ways(self, web: Repository, number: int) -> None:
        for _ in range(number):
            person = factories.UserFactory()
            team = factories.team_of(web.namespace.organization, person)
            assign_perm("level_read", team.group, web)
            assign_perm("level_read", team.group, web.namespace)
            assign_perm("view_pull_events", person, web)
            assign_perm("view_pull_events", person, web.namespace)
            factories.msr_admin()
            Membership.objects.filter(user=person).update(role="owner")

    def test_queries_do_not_grow_with_people(self, web: Repository) -> None:
        self.grant_all_ways(web, 1)
        few = self.queries(lambda: rights_on(web))
        self.grant_all_ways(web, 8)

        assert self.queries(lambda: rights_on(web)) == few <= 9

    def test_queries_do_not_grow_with_places(self) -> None:
        person = factories.UserFactory()

        def grant(number: int) -> None:
            for _ in range(number):
                web = factories.repository(f"{factories.OrganizationFactory().name}/web")
                team = factories.team_of(web.namespace.organization, person)
                assign_perm("level_read", team.group, web.namespace)
                assign_perm("level_admin", person, web)

        grant(1)
        few = self.queries(lambda: rights_of(person))
        grant(8)

        assert self.queries(lambda: rights_of(person)) == few

    def test_people_come_by_name_in_pages(self, web: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(explaining, "PAGE_SIZE", 2)
        for name in ("dora", "anna", "carl", "bert", "emil"):
            assign_perm("level_read", factories.UserFactory(username=name), web)

        names, cursor = [], None
        for _ in range(3):
            page = rights_on(web, cursor)
            names.append([row.holder.username for row in page.rows])
            cursor = page.next

        assert (names, cursor) == ([["anna", "bert"], ["carl", "dora"], ["emil"]], None)
        assert [row.holder.username for row in rights_on(web, search="AR").rows] == ["carl"]

    def test_cursor_of_another_list_starts_anew(self, web: Repository) -> None:
        assert rights_on(web, "nonsense").rows == []
