"""The admin shows and edits ownership and grants, and explains users' effective access."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm

from repositories.access.resolving import Access
from repositories.admin import grants
from repositories.models import (
    Membership,
    Namespace,
    Organization,
    Repository,
    RepositoryGroupPermission,
    RepositoryUserPermission,
)
from tests import factories
from tests.admin_forms import empty_formsets, grant_prefixes

ADD_TEAM = "/admin/registry_repositories/team/add/"


def url(row: Any, page: str = "change") -> str:
    """Return the URL of an object's admin page. A user's access is not a page of the site's user admin."""
    if page == "access" and isinstance(row, get_user_model()):
        return f"/admin/registry_repositories/repository/access-of-user/{row.pk}/"
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{page}/"


def html(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, (path, response.status_code)
    return response.content.decode()


def count_queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        html(client, path)
    return len(captured)


@pytest.fixture
def jane(db: None) -> Any:
    return factories.UserFactory(username="jane")


class TestEffectiveAccessOfRepository:
    def test_each_right_links_to_its_source(self, admin: Client, web: Repository, jane: Any) -> None:
        organization: Any = web.namespace.organization
        team = factories.team_of(organization, jane)
        Membership.objects.filter(user=jane).update(role="owner")
        assign_perm("level_read", team.group, web.namespace)
        assign_perm("view_pull_events", jane, web)
        page = html(admin, url(web, "access"))

        for text, link in [
            ("owner of the organization acme", url(organization)),
            (
                f"team {team}, granted on the namespace acme",
                url(web.namespace, f"permissions/group-manage/{team.group_id}"),
            ),
            (
                "granted directly on the repository acme/web",
                url(web, f"permissions/user-manage/{jane.pk}"),
            ),
            ("member of the group MSR admins", url(Group.objects.get(name="MSR admins"))),
        ]:
            assert f'<a href="{link}">{text}</a>' in page
            assert admin.get(link).status_code == 200

    def test_auditor_gets_links_only_to_pages_that_they_can_open(
        self, auditor: Client, web: Repository, jane: Any
    ) -> None:
        assign_perm("level_read", jane, web)

        page = html(auditor, url(web, "access"))

        assert f'<a href="{url(web)}">granted directly on the repository acme/web</a>' in page
        assert "jane" in html(auditor, url(web))

    @pytest.mark.parametrize("state", ["public", "deleted", "unclaimed"])
    def test_access_page_explains_public_deleted_and_unclaimed_repositories(
        self, admin: Client, web: Repository, jane: Any, state: str
    ) -> None:
        assign_perm("level_admin", jane, web)
        if state == "public":
            web.visibility = "public"
        elif state == "deleted":
            web.deleted_at = factories.NOON
        else:
            Namespace.objects.update(organization=None)
        web.save()

        page = html(admin, url(web, "access"))

        messages = {
            "public": "everyone who is logged in",
            "deleted": "is deleted",
            "unclaimed": "is unclaimed",
        }
        assert messages[state] in page
        assert (url(jane, "access") in page) == (state == "public")

    def test_access_page_of_repository_is_searched_and_paged(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        for _ in range(60):
            assign_perm("level_read", factories.UserFactory(), web)

        first = admin.get(url(web, "access"))
        (query,) = re.findall(r'<a href="(\?[^"]+)">Next</a>', first.content.decode())
        second = admin.get(url(web, "access") + query)
        found = admin.get(url(web, "access"), {"q": "jane"})
        invalid = admin.get(url(web, "access"), {"q": "jan\0e"})

        assert (len(first.context["rows"]), len(second.context["rows"])) == (50, 11)
        assert [access.holder for access, _ in found.context["rows"]] == []
        assert (invalid.status_code, len(invalid.context["rows"])) == (400, 0)
        assert "Nothing is shown" in invalid.content.decode()

    def test_access_page_of_repository_escapes_usernames(self, admin: Client, web: Repository) -> None:
        assign_perm("level_read", factories.UserFactory(username="<b>jane"), web)

        assert "&lt;b&gt;jane" in html(admin, url(web, "access"))

    def test_query_count_of_repository_access_page_does_not_grow(
        self, admin: Client, web: Repository
    ) -> None:
        def grant(number: int) -> None:
            for _ in range(number):
                user = factories.UserFactory()
                team = factories.team_of(web.namespace.organization, user)
                for holder in (user, team.group):
                    assign_perm("level_read", holder, web)
                    assign_perm("level_read", holder, web.namespace)

        grant(1)
        html(admin, url(web, "access"))
        before = count_queries(admin, url(web, "access"))
        grant(10)

        assert count_queries(admin, url(web, "access")) == before


class TestEffectiveAccessOfUser:
    def test_access_page_of_user_shows_each_right_with_its_reason(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        team = factories.team_of(web.namespace.organization, jane)
        assign_perm("level_read", team.group, web.namespace)
        assign_perm("level_admin", jane, web)

        page = html(admin, url(jane, "access"))

        assert f"team {team}, granted on the namespace acme" in page
        assert "owner of the namespace jane" in page
        assert "granted directly on the repository acme/web" in page
        assert url(web, "access") in page

    def test_access_page_of_inactive_user_shows_no_rights(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        assign_perm("level_admin", jane, web)
        jane.is_active = False
        jane.save()

        page = html(admin, url(jane, "access"))

        assert "It has no access" in page
        assert "acme/web" not in page

    def test_access_page_of_user_is_linked_from_the_change_page(self, admin: Client, jane: Any) -> None:
        assert url(jane, "access") in html(admin, url(jane))

    @pytest.mark.parametrize("permission", ["auth.view_user", "registry_repositories.view_repository"])
    def test_access_pages_are_forbidden_without_permission_to_audit(
        self, log_in: Any, web: Repository, jane: Any, permission: str
    ) -> None:
        staff = factories.UserFactory(is_staff=True)
        factories.permit(staff, permission)

        assert log_in(staff).get(url(jane, "access")).status_code == 403
        assert log_in(staff).get(url(web, "access")).status_code == 403

    def test_query_count_of_user_access_page_does_not_grow(self, admin: Client, jane: Any) -> None:
        def grant(number: int) -> None:
            for _ in range(number):
                web = factories.repository(f"{factories.OrganizationFactory().name}/web")
                team = factories.team_of(web.namespace.organization, jane)
                assign_perm("level_read", team.group, web.namespace)
                assign_perm("level_admin", jane, web)

        grant(1)
        html(admin, url(jane, "access"))
        before = count_queries(admin, url(jane, "access"))
        grant(10)

        assert count_queries(admin, url(jane, "access")) == before


class TestGrants:
    def post(
        self, admin: Client, web: Repository, *rows: tuple[str, dict[str, Any]], initial: int = 0
    ) -> Any:
        """Submit a repository's admin page with these rows in the grant formsets."""
        data = {"visibility": "private", "description": "", **empty_formsets(*grant_prefixes())}
        for number, (prefix, row) in enumerate(rows):
            data |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
            data |= {f"{prefix}-TOTAL_FORMS": number + 1, f"{prefix}-INITIAL_FORMS": initial}
        return admin.post(url(web), data)

    def test_grants_are_created_on_the_repository_page(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        to_users, to_teams = grant_prefixes()
        team = factories.team_of(web.namespace.organization, factories.UserFactory())

        self.post(admin, web, (to_users, {"user": jane.pk, "access": "level_read_write"}))
        self.post(admin, web, (to_teams, {"group": team.group_id, "access": "view_pull_events"}))

        grant = RepositoryUserPermission.objects.get()
        assert (grant.user, grant.content_object, grant.permission.codename) == (
            jane,
            web,
            "level_read_write",
        )
        to_team = RepositoryGroupPermission.objects.get()
        assert (to_team.group, to_team.permission.codename) == (team.group, "view_pull_events")
        assert "push" in Access.for_user(jane).permissions_on(web)

    def test_grant_is_deleted_on_the_repository_page(self, admin: Client, web: Repository, jane: Any) -> None:
        grant: Any = assign_perm("level_read", jane, web)
        row = {"id": grant.pk, "content_object": web.pk, "DELETE": "on"}

        self.post(admin, web, (grant_prefixes()[0], row), initial=1)

        assert not RepositoryUserPermission.objects.exists()

    def test_existing_grant_cannot_be_changed(self, admin: Client, web: Repository, jane: Any) -> None:
        grant: Any = assign_perm("level_read", jane, web)
        row = {"id": grant.pk, "content_object": web.pk, "user": jane.pk, "access": "level_admin"}

        self.post(admin, web, (grant_prefixes()[0], row), initial=1)

        assert RepositoryUserPermission.objects.get().permission.codename == "level_read"

    @pytest.mark.parametrize("access", ["view_repository", "nonsense", ""])
    def test_permission_without_effect_cannot_be_granted(
        self, admin: Client, web: Repository, jane: Any, access: str
    ) -> None:
        self.post(admin, web, (grant_prefixes()[0], {"user": jane.pk, "access": access}))

        assert not RepositoryUserPermission.objects.exists()

    @pytest.mark.parametrize("granted_before", [True, False])
    def test_duplicate_grant_is_rejected(
        self, admin: Client, web: Repository, jane: Any, granted_before: bool
    ) -> None:
        if granted_before:
            assign_perm("level_read", jane, web)
        row = (grant_prefixes()[0], {"user": jane.pk, "access": "level_read"})

        response = self.post(admin, web, *[row] * (1 if granted_before else 2))

        assert "This access is already granted" in response.content.decode()
        assert RepositoryUserPermission.objects.count() == granted_before

    def test_grant_is_created_on_the_namespace_page(self, admin: Client, web: Repository, jane: Any) -> None:
        to_users, to_teams = grant_prefixes("namespace")
        data = {"organization": web.namespace.organization_id, **empty_formsets(to_users, to_teams)}
        row = {"TOTAL_FORMS": 1, "0-user": jane.pk, "0-access": "level_admin"}

        admin.post(url(web.namespace), data | {f"{to_users}-{name}": value for name, value in row.items()})

        assert "edit" in Access.for_user(jane).permissions_on(web)

    def test_auditor_cannot_create_grants(self, auditor: Client, web: Repository, jane: Any) -> None:
        response = self.post(auditor, web, (grant_prefixes()[0], {"user": jane.pk, "access": "level_read"}))

        assert response.status_code == 403
        assert not RepositoryUserPermission.objects.exists()

    def test_repository_page_shows_a_limited_number_of_grants(
        self, admin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(grants, "MAX_SHOWN", 2)
        for _ in range(3):
            assign_perm("level_read", factories.UserFactory(), web)

        (to_users, _) = admin.get(url(web)).context["inline_admin_formsets"]

        assert len(to_users.formset.initial_forms) == 2
        self.post(admin, web)
        assert RepositoryUserPermission.objects.count() == 3

    @pytest.mark.parametrize("kind", ["repository", "namespace"])
    def test_query_count_of_page_with_grants_does_not_grow(
        self, admin: Client, web: Repository, kind: str
    ) -> None:
        target = web if kind == "repository" else web.namespace

        def grant(number: int) -> None:
            for _ in range(number):
                user = factories.UserFactory()
                assign_perm("level_read", user, target)
                assign_perm("level_read", factories.team_of(web.namespace.organization, user).group, target)

        grant(1)
        html(admin, url(target))
        before = count_queries(admin, url(target))
        grant(5)

        assert count_queries(admin, url(target)) == before


class TestGuardianPages:
    def test_guardian_pages_offer_only_permissions_with_an_effect(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        team = factories.team_of(web.namespace.organization, jane)
        for target in (web, web.namespace):
            for page in (
                "permissions",
                f"permissions/user-manage/{jane.pk}",
                f"permissions/group-manage/{team.group_id}",
            ):
                page_html = html(admin, url(target, page))
                assert "Access level read-write" in page_html
                assert "Can view pull events" in page_html
                assert "Can change" not in page_html

    def test_guardian_page_ignores_other_permissions(self, admin: Client, web: Repository, jane: Any) -> None:
        admin.post(url(web, f"permissions/user-manage/{jane.pk}"), {"permissions": ["change_repository"]})

        assert not RepositoryUserPermission.objects.exists()

    @pytest.mark.parametrize(
        "page",
        [
            "x/permissions/",
            "1.5/permissions/",
            "٣/permissions/",
            f"{10**40}/permissions/",
            "{web}/permissions/user-manage/x/",
            "{web}/permissions/group-manage/-/",
            "{web}/permissions/group-manage/0/",
        ],
    )
    def test_guardian_page_of_missing_object_is_not_found(
        self, admin: Client, web: Repository, page: str
    ) -> None:
        assert (
            admin.get(f"/admin/registry_repositories/repository/{page.format(web=web.pk)}").status_code == 404
        )


class TestOrganizations:
    def test_organization_page_shows_teams_and_namespaces(self, admin: Client, web: Repository) -> None:
        organization: Any = web.namespace.organization
        team = factories.team_of(organization)

        page = html(admin, url(organization))

        assert f'<a href="{url(team)}">{team.name}</a>' in page
        assert f'<a href="{url(web.namespace)}">acme</a>' in page
        add = f"/admin/registry_repositories/team/add/?organization={organization.pk}"
        assert add in page
        assert admin.get(add).status_code == 200
        assert (
            admin.get(
                f"/admin/registry_repositories/team/?organization__id__exact={organization.pk}"
            ).status_code
            == 200
        )

    def test_team_stays_in_its_organization(self, admin: Client, web: Repository) -> None:
        team = factories.team_of(web.namespace.organization)
        other = factories.OrganizationFactory(name="other")

        admin.post(url(team), {"organization": other.pk, "name": team.name})

        team.refresh_from_db()
        assert team.organization == web.namespace.organization

    def test_only_members_of_the_organization_can_be_in_its_teams(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        organization: Any = web.namespace.organization
        team = factories.team_of(organization)

        page = admin.post(url(team), {"name": team.name, "members": [jane.pk]})
        assert "jane is not a member of acme." in unescape(page.content.decode())
        assert not team.group.user_set.exists()

        factories.add_member(organization, jane)
        admin.post(url(team), {"name": team.name, "members": [jane.pk]})
        assert team.group.user_set.get() == jane

    @pytest.mark.parametrize("existing", [False, True])
    def test_team_cannot_take_the_name_of_another_group(
        self, admin: Client, web: Repository, existing: bool
    ) -> None:
        Group.objects.create(name="acme/taken")
        organization: Any = web.namespace.organization
        page_url = url(factories.team_of(organization)) if existing else ADD_TEAM

        page = admin.post(page_url, {"organization": organization.pk, "name": "taken"})

        assert "There is a group that is called acme/taken." in page.content.decode()

    def test_members_are_added_and_given_roles_on_the_organization_page(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        organization: Any = web.namespace.organization
        joe = factories.UserFactory(username="joe")
        membership = factories.add_member(organization, joe)
        rows = [
            {"id": membership.pk, "organization": organization.pk, "user": jane.pk, "role": "owner"},
            {"organization": organization.pk, "user": jane.pk, "role": "member"},
        ]
        data: dict[str, Any] = {"memberships-TOTAL_FORMS": 2, "memberships-INITIAL_FORMS": 1}
        for number, row in enumerate(rows):
            data |= {f"memberships-{number}-{name}": value for name, value in row.items()}

        admin.post(url(organization), data)

        roles = {m.user.username: m.role for m in Membership.objects.select_related("user")}
        assert roles == {"joe": "owner", "jane": "member"}

    def test_query_count_of_organization_page_does_not_grow(self, admin: Client, web: Repository) -> None:
        organization: Any = web.namespace.organization

        def fill(number: int) -> None:
            for _ in range(number):
                factories.team_of(organization, factories.UserFactory())
                Namespace.objects.create(
                    name=factories.UserFactory().username + "x", organization=organization
                )

        fill(1)
        html(admin, url(organization))
        before = count_queries(admin, url(organization))
        fill(5)

        assert count_queries(admin, url(organization)) == before


class TestTeams:
    def test_team_page_shows_the_grants_of_the_team(self, admin: Client, web: Repository, jane: Any) -> None:
        team = factories.team_of(web.namespace.organization, jane)
        assign_perm("level_admin", team.group, web)
        assign_perm("level_read", team.group, web.namespace)

        page = html(admin, url(team))

        for target, text in ((web, "admin on acme/web"), (web.namespace, "read on acme")):
            assert f'<a href="{url(target, f"permissions/group-manage/{team.group_id}")}">{text}</a>' in page

    def test_team_page_does_not_list_all_users(self, admin: Client, web: Repository, jane: Any) -> None:
        outsider = factories.UserFactory(username="an-outsider")
        team = factories.team_of(web.namespace.organization, jane)

        page = html(admin, url(team))

        assert "jane" in page
        assert outsider.username not in page

    def test_query_count_of_team_page_does_not_grow(self, admin: Client, web: Repository) -> None:
        team = factories.team_of(web.namespace.organization)

        def fill(number: int) -> None:
            for _ in range(number):
                team.group.user_set.add(factories.UserFactory())
                assign_perm(
                    "level_read",
                    team.group,
                    factories.repository(f"{factories.OrganizationFactory().name}/web"),
                )

        fill(1)
        html(admin, url(team))
        before = count_queries(admin, url(team))
        fill(5)

        assert count_queries(admin, url(team)) == before

    @pytest.mark.parametrize(
        ("model", "field", "term"),
        [
            ("repositoryuserpermission", "user", "jan"),
            ("repositorygrouppermission", "group", "acme/"),
            ("membership", "user", "jan"),
            ("team", "organization", "acm"),
        ],
    )
    def test_users_teams_and_organizations_are_autocompleted(
        self, admin: Client, web: Repository, jane: Any, model: str, field: str, term: str
    ) -> None:
        factories.team_of(web.namespace.organization, jane)

        query = {"app_label": "registry_repositories", "model_name": model, "field_name": field, "term": term}
        results = admin.get("/admin/autocomplete/", query).json()["results"]

        assert len(results) == 1
        assert results[0]["text"].startswith(term)


def test_query_count_of_user_page_does_not_depend_on_permissions(admin: Client, jane: Any) -> None:
    html(admin, url(jane))

    assert count_queries(admin, url(jane)) < 20


def test_memberships_are_searched_by_organization(admin: Client, web: Repository) -> None:
    assert Organization.objects.get().name in html(admin, "/admin/registry_repositories/membership/?q=acme")
