"""Effective access explains every right, whether rights are listed for a repository or for a user."""

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

from repositories.access import effective_access, levels
from repositories.access.effective_access import EffectiveAccess, public_right, rights_of, rights_on
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.resolving import Access
from repositories.models import Membership, Namespace, Repository
from tests import factories
from tests.worlds import World, rolled_back, worlds

pytestmark = pytest.mark.django_db


def reasons(access: EffectiveAccess) -> set[tuple[str, str]]:
    """Return each right's label and reason."""
    return {(right.label, right.reason) for right in access.rights}


def access_of(repository: Repository, person: Any) -> EffectiveAccess:
    """Return a person's row in the access list of a repository."""
    (row,) = [row for row in rights_on(repository).rows if row.holder == person]
    return row


def expected_level(permissions: frozenset[str]) -> str | None:
    """Return the highest level that these permissions amount to, judging by one permission per level."""
    for permission, level in (("manage_access", "admin"), ("push", "read-write"), ("pull", "read")):
        if permission in permissions:
            return level
    return None


@pytest.mark.long
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    inactive=st.sets(st.sampled_from(["ann", "ben", "admin"])),
    roles=st.dictionaries(st.sampled_from(["ann", "ben"]), st.sampled_from([AUDITORS, MSR_ADMINS])),
    superuser=st.booleans(),
    ineffective_grants=st.booleans(),
)
def test_explained_rights_add_up_to_actual_permissions(
    world: World, inactive: set[str], roles: dict[str, str], superuser: bool, ineffective_grants: bool
) -> None:
    with rolled_back():
        world.build()
        people = [world.created[name] for name in ("ann", "ben", "cat", "admin", "auditor")]
        people.append(factories.UserFactory(username="root", is_superuser=superuser))
        for person in people:
            if person.username in roles:
                person.groups.add(Group.objects.get(name=roles[person.username]))
            if person.username in inactive:
                person.is_active = False
                person.save()
        if ineffective_grants:
            # Django creates these permissions for every model, but the apps ignore them.
            assign_perm("view_repository", people[0], world.created["repositories"][0])
            assign_perm("change_namespace", people[1], Namespace.objects.get(name="acme"))
        people = [type(person).objects.get(pk=person.pk) for person in people]
        for created in world.created["repositories"]:
            repository = Repository.objects.select_related("namespace").get(pk=created.pk)
            rows = {row.holder: row for row in rights_on(repository).rows}
            public = public_right(repository)
            for person in people:
                allowed = Access.for_user(person).permissions_on(repository)
                access = rows.get(person)
                if access:
                    assert access.permissions == allowed
                    assert (access.level and access.level.label) == expected_level(allowed)
                    assert all(right.holder == person and right.permissions for right in access.rights)
                elif person.is_active:
                    assert allowed == (public.permissions if public else frozenset())
                else:
                    assert allowed == frozenset()
                assert explained_permissions(person, repository) == allowed


def explained_permissions(person: Any, repository: Repository) -> frozenset[str]:
    """Return the permissions that a user has on a repository according to `rights_of`."""
    access = rights_of(person)
    in_repository = {row.place: row for row in access.repositories.rows}.get(repository)
    in_namespace = {row.place: row for row in access.namespaces.rows}.get(repository.namespace)
    if in_repository:  # the row also includes the rights from the namespace and from roles
        return in_repository.permissions
    permissions = {
        p for right in access.everywhere if right.codename in levels.REGISTRY_ROLES for p in right.permissions
    }
    if repository.deleted_at is None:
        permissions |= in_namespace.permissions if in_namespace else set()
        if person.is_active and public_right(repository):
            permissions |= access.everywhere[-1].permissions
    return frozenset(permissions)


class TestReasons:
    @pytest.fixture
    def person(self) -> Any:
        return factories.UserFactory(username="jane")

    def test_user_without_rights_is_not_listed(self, web: Repository, person: Any) -> None:
        assert rights_on(web).rows == []

    def test_reason_of_direct_grant(self, web: Repository, person: Any) -> None:
        grant = assign_perm("level_read_write", person, web)

        access = access_of(web, person)

        assert reasons(access) == {("read-write", "granted directly on the repository acme/web")}
        assert access.rights[0].source == grant

    def test_reason_of_team_grant_on_namespace(self, web: Repository, person: Any) -> None:
        team = factories.team_of(web.namespace.organization, person)
        grant = assign_perm("level_read", team.group, web.namespace)

        access = access_of(web, person)

        assert reasons(access) == {("read", f"team {team}, granted on the namespace acme")}
        assert access.rights[0].source == grant

    def test_reason_of_organization_owner(self, web: Repository, person: Any) -> None:
        membership = factories.add_member(web.namespace.organization, person, role="owner")

        access = access_of(web, person)

        assert reasons(access) == {("admin", "owner of the organization acme")}
        assert access.rights[0].source == membership

    def test_member_without_team_is_not_listed(self, web: Repository, person: Any) -> None:
        factories.add_member(web.namespace.organization, person)

        assert rights_on(web).rows == []

    def test_reason_of_namespace_owner(self, person: Any) -> None:
        repository = factories.repository("jane/app")

        access = access_of(repository, person)

        assert reasons(access) == {("admin", "owner of the namespace jane")}
        assert access.rights[0].source == repository.namespace

    @pytest.mark.parametrize(
        ("create", "label", "reason"),
        [
            (factories.msr_admin, "MSR admin", "member of the group MSR admins"),
            (factories.auditor, "security auditor", "member of the group Security auditors"),
        ],
    )
    def test_reason_of_registry_role(
        self, web: Repository, create: Callable[[], Any], label: str, reason: str
    ) -> None:
        person = create()

        assert reasons(access_of(web, person)) == {(label, reason)}

    def test_reasons_of_superuser_and_user_permission(self, web: Repository) -> None:
        root = factories.UserFactory(is_superuser=True)
        trusted = factories.UserFactory()
        trusted.user_permissions.add(Permission.objects.get(codename="audit_registry"))

        assert reasons(access_of(web, root)) == {("MSR admin", "superuser")}
        assert reasons(access_of(web, trusted)) == {("security auditor", "user permission")}

    def test_public_repository_gives_read_in_addition_to_grants(self, person: Any) -> None:
        repository = factories.repository("acme/web", public=True)
        assign_perm("view_pull_events", person, repository)

        access = access_of(repository, person)

        assert reasons(access) == {
            ("pull events", "granted directly on the repository acme/web"),
            ("read", "everyone who is logged in, because the repository is public"),
        }
        assert access.level == levels.Level.READ
        assert [category.value for category in access.categories] == [
            "push",
            "scan",
            "delete",
            "create_repo",
            "pull",
        ]

    def test_grant_of_single_category_gives_no_level(self, web: Repository, person: Any) -> None:
        assign_perm("view_pull_events", person, web)

        access = access_of(web, person)

        assert (access.level, access.categories) == (None, [levels.Category.PULL])

    def test_all_rights_are_listed_and_the_highest_level_counts(self, web: Repository, person: Any) -> None:
        team = factories.team_of(web.namespace.organization, person)
        assign_perm("level_read", team.group, web)
        assign_perm("level_read", person, web.namespace)
        assign_perm("level_admin", person, web)

        access = access_of(web, person)

        assert len(access.rights) == 3
        assert access.level == levels.Level.ADMIN

    def test_grants_in_unclaimed_namespace_have_no_effect(self, person: Any) -> None:
        namespace = Namespace.objects.create(name="newcorp")
        repository = Repository.objects.create(namespace=namespace, name="app", visibility="public")
        assign_perm("level_admin", person, repository)

        assert rights_on(repository).rows == []
        assert public_right(repository) is None
        (access,) = rights_of(person).repositories.rows
        assert (access.place, access.rights) == (repository, [])

    def test_rights_of_user_are_listed_by_namespace_and_repository(
        self, web: Repository, person: Any
    ) -> None:
        team = factories.team_of(web.namespace.organization, person)
        assign_perm("level_read", team.group, web.namespace)
        assign_perm("view_mirror_events", person, web)

        access = rights_of(person)

        assert [(row.place.name, reasons(row)) for row in access.namespaces.rows] == [
            ("acme", {("read", f"team {team}, granted on the namespace acme")}),
            ("jane", {("admin", "owner of the namespace jane")}),
        ]
        (row,) = access.repositories.rows
        assert reasons(row) == {
            ("mirror events", "granted directly on the repository acme/web"),
            ("read", f"team {team}, granted on the namespace acme"),
        }


class TestManyRows:
    def count_queries(self, function: Callable[[], Any]) -> int:
        with CaptureQueriesContext(connection) as captured:
            function()
        return len(captured)

    def create_people_with_all_kinds_of_rights(self, web: Repository, number: int) -> None:
        for _ in range(number):
            person = factories.UserFactory()
            team = factories.team_of(web.namespace.organization, person)
            assign_perm("level_read", team.group, web)
            assign_perm("level_read", team.group, web.namespace)
            assign_perm("view_pull_events", person, web)
            assign_perm("view_pull_events", person, web.namespace)
            factories.msr_admin()
            Membership.objects.filter(user=person).update(role="owner")

    def test_query_count_of_access_list_does_not_grow_with_people(self, web: Repository) -> None:
        self.create_people_with_all_kinds_of_rights(web, 1)
        few = self.count_queries(lambda: rights_on(web))
        self.create_people_with_all_kinds_of_rights(web, 8)

        assert self.count_queries(lambda: rights_on(web)) == few <= 9

    def test_query_count_of_user_access_does_not_grow_with_places(self) -> None:
        person = factories.UserFactory()

        def grant(number: int) -> None:
            for _ in range(number):
                web = factories.repository(f"{factories.OrganizationFactory().name}/web")
                team = factories.team_of(web.namespace.organization, person)
                assign_perm("level_read", team.group, web.namespace)
                assign_perm("level_admin", person, web)

        grant(1)
        few = self.count_queries(lambda: rights_of(person))
        grant(8)

        assert self.count_queries(lambda: rights_of(person)) == few

    def test_access_list_is_paged_and_searched_by_name(
        self, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(effective_access, "PAGE_SIZE", 2)
        for name in ("dora", "anna", "carl", "bert", "emil"):
            assign_perm("level_read", factories.UserFactory(username=name), web)

        names, cursor = [], None
        for _ in range(3):
            page = rights_on(web, cursor)
            names.append([row.holder.username for row in page.rows])
            cursor = page.next

        assert (names, cursor) == ([["anna", "bert"], ["carl", "dora"], ["emil"]], None)
        assert [row.holder.username for row in rights_on(web, search="AR").rows] == ["carl"]

    def test_invalid_cursor_of_access_list_returns_first_page(self, web: Repository) -> None:
        assert rights_on(web, "nonsense").rows == []
