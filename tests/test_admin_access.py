"""Who owns what and who may do what, in the admin: comfortable to change, and every right explained."""

from __future__ import annotations

from typing import Any

import pytest
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


def url(row: Any, page: str = "change") -> str:
    """Return a page of the admin about something."""
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{page}/"


def html(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, (address, response.status_code)
    return response.content.decode()


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        html(client, address)
    return len(captured)


def no_inlines(*prefixes: str) -> dict[str, Any]:
    """Return what a page's form sends where none of its rows is touched."""
    return {f"{prefix}-{part}_FORMS": 0 for prefix in prefixes for part in ("TOTAL", "INITIAL")}


def grant_forms(kind: str = "repository") -> tuple[str, str]:
    return f"{kind}userpermission_set", f"{kind}grouppermission_set"


@pytest.fixture
def jane(db: None) -> Any:
    return factories.UserFactory(username="jane")


class TestEffectiveAccessToARepository:
    def test_each_right_links_to_what_gives_it(self, admin: Client, web: Repository, jane: Any) -> None:
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
                "granted to them on the repository acme/web",
                url(web, f"permissions/user-manage/{jane.pk}"),
            ),
            ("member of the group MSR admins", url(Group.objects.get(name="MSR admins"))),
        ]:
            assert f'<a href="{link}">{text}</a>' in page
            assert admin.get(link).status_code == 200

    def test_auditors_are_led_to_what_they_may_open(
        self, auditor: Client, web: Repository, jane: Any
    ) -> None:
        assign_perm("level_read", jane, web)

        page = html(auditor, url(web, "access"))

        assert f'<a href="{url(web)}">granted to them on the repository acme/web</a>' in page
        assert "jane" in html(auditor, url(web))

    @pytest.mark.parametrize("state", ["public", "deleted", "unclaimed"])
    def test_what_holds_for_all_is_said_first(
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

        words = {"public": "everybody who is logged in", "deleted": "is deleted", "unclaimed": "is unclaimed"}
        assert words[state] in page
        assert (url(jane, "access") in page) == (state == "public")

    def test_is_searched_and_paged(self, admin: Client, web: Repository, jane: Any) -> None:
        for _ in range(60):
            assign_perm("level_read", factories.UserFactory(), web)

        first = admin.get(url(web, "access"))
        (label, address) = first.context["pages"][0]
        second = admin.get(url(web, "access") + address)
        found = admin.get(url(web, "access"), {"q": "jan\0e"})

        assert (label, len(first.context["rows"]), len(second.context["rows"])) == ("Next", 50, 11)
        assert [row["holder"] for row in found.context["rows"]] == []

    def test_names_are_text(self, admin: Client, web: Repository) -> None:
        assign_perm("level_read", factories.UserFactory(username="<b>jane"), web)

        assert "&lt;b&gt;jane" in html(admin, url(web, "access"))

    def test_number_of_queries_does_not_grow(self, admin: Client, web: Repository) -> None:
        def grant(number: int) -> None:
            for _ in range(number):
                person = factories.UserFactory()
                team = factories.team_of(web.namespace.organization, person)
                for holder in (person, team.group):
                    assign_perm("level_read", holder, web)
                    assign_perm("level_read", holder, web.namespace)

        grant(1)
        html(admin, url(web, "access"))
        few = queries(admin, url(web, "access"))
        grant(10)

        assert queries(admin, url(web, "access")) == few


class TestEffectiveAccessOfAUser:
    def test_tells_where_and_why(self, admin: Client, web: Repository, jane: Any) -> None:
        team = factories.team_of(web.namespace.organization, jane)
        assign_perm("level_read", team.group, web.namespace)
        assign_perm("level_admin", jane, web)

        page = html(admin, url(jane, "access"))

        assert f"team {team}, granted on the namespace acme" in page
        assert "owner of the namespace jane" in page
        assert "granted to them on the repository acme/web" in page
        assert url(web, "access") in page

    def test_of_somebody_who_left(self, admin: Client, web: Repository, jane: Any) -> None:
        assign_perm("level_admin", jane, web)
        jane.is_active = False
        jane.save()

        page = html(admin, url(jane, "access"))

        assert "it may do nothing" in page
        assert "acme/web" not in page

    def test_is_linked_from_the_users_page(self, admin: Client, jane: Any) -> None:
        assert url(jane, "access") in html(admin, url(jane))

    @pytest.mark.parametrize("permission", ["auth.view_user", "registry_repositories.view_repository"])
    def test_is_for_those_who_may_audit(
        self, log_in: Any, web: Repository, jane: Any, permission: str
    ) -> None:
        clerk = factories.UserFactory(is_staff=True)
        factories.permit(clerk, permission)

        assert log_in(clerk).get(url(jane, "access")).status_code == 403
        assert log_in(clerk).get(url(web, "access")).status_code == 403

    def test_number_of_queries_does_not_grow(self, admin: Client, jane: Any) -> None:
        def grant(number: int) -> None:
            for _ in range(number):
                web = factories.repository(f"{factories.OrganizationFactory().name}/web")
                team = factories.team_of(web.namespace.organization, jane)
                assign_perm("level_read", team.group, web.namespace)
                assign_perm("level_admin", jane, web)

        grant(1)
        html(admin, url(jane, "access"))
        few = queries(admin, url(jane, "access"))
        grant(10)

        assert queries(admin, url(jane, "access")) == few


class TestGrants:
    def post(
        self, admin: Client, web: Repository, *rows: tuple[str, dict[str, Any]], initial: int = 0
    ) -> Any:
        """Send a repository's page with rows added to one of its lists of grants."""
        data = {"visibility": "private", "description": "", **no_inlines(*grant_forms())}
        for number, (prefix, row) in enumerate(rows):
            data |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
            data |= {f"{prefix}-TOTAL_FORMS": number + 1, f"{prefix}-INITIAL_FORMS": initial}
        return admin.post(url(web), data)

    def test_are_made_on_the_repositorys_page(self, admin: Client, web: Repository, jane: Any) -> None:
        to_users, to_teams = grant_forms()
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
        assert "push" in Access.of(jane).permissions_on(web)

    def test_are_taken_back_there(self, admin: Client, web: Repository, jane: Any) -> None:
        grant: Any = assign_perm("level_read", jane, web)
        row = {"id": grant.pk, "content_object": web.pk, "DELETE": "on"}

        self.post(admin, web, (grant_forms()[0], row), initial=1)

        assert not RepositoryUserPermission.objects.exists()

    def test_are_not_turned_into_others(self, admin: Client, web: Repository, jane: Any) -> None:
        grant: Any = assign_perm("level_read", jane, web)
        row = {"id": grant.pk, "content_object": web.pk, "user": jane.pk, "access": "level_admin"}

        self.post(admin, web, (grant_forms()[0], row), initial=1)

        assert RepositoryUserPermission.objects.get().permission.codename == "level_read"

    @pytest.mark.parametrize("access", ["view_repository", "nonsense", ""])
    def test_that_give_nothing_are_not_made(
        self, admin: Client, web: Repository, jane: Any, access: str
    ) -> None:
        self.post(admin, web, (grant_forms()[0], {"user": jane.pk, "access": access}))

        assert not RepositoryUserPermission.objects.exists()

    @pytest.mark.parametrize("before", [True, False])
    def test_that_are_there_are_not_made_again(
        self, admin: Client, web: Repository, jane: Any, before: bool
    ) -> None:
        if before:
            assign_perm("level_read", jane, web)
        row = (grant_forms()[0], {"user": jane.pk, "access": "level_read"})

        answer = self.post(admin, web, *[row] * (1 if before else 2))

        assert "This is granted already" in answer.content.decode()
        assert RepositoryUserPermission.objects.count() == before

    def test_are_made_on_the_namespaces_page(self, admin: Client, web: Repository, jane: Any) -> None:
        to_users, to_teams = grant_forms("namespace")
        data = {"organization": web.namespace.organization_id, **no_inlines(to_users, to_teams)}
        row = {"TOTAL_FORMS": 1, "0-user": jane.pk, "0-access": "level_admin"}

        admin.post(url(web.namespace), data | {f"{to_users}-{name}": value for name, value in row.items()})

        assert "edit" in Access.of(jane).permissions_on(web)

    def test_of_auditors_are_none(self, auditor: Client, web: Repository, jane: Any) -> None:
        answer = self.post(auditor, web, (grant_forms()[0], {"user": jane.pk, "access": "level_read"}))

        assert answer.status_code == 403
        assert not RepositoryUserPermission.objects.exists()

    def test_shown_are_as_many_as_fit(
        self, admin: Client, web: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(grants, "MAX_SHOWN", 2)
        for _ in range(3):
            assign_perm("level_read", factories.UserFactory(), web)

        (to_users, _) = admin.get(url(web)).context["inline_admin_formsets"]

        assert len(to_users.formset.initial_forms) == 2
        self.post(admin, web)
        assert RepositoryUserPermission.objects.count() == 3

    @pytest.mark.parametrize("of", ["repository", "namespace"])
    def test_number_of_queries_does_not_grow(self, admin: Client, web: Repository, of: str) -> None:
        place = web if of == "repository" else web.namespace

        def grant(number: int) -> None:
            for _ in range(number):
                person = factories.UserFactory()
                assign_perm("level_read", person, place)
                assign_perm("level_read", factories.team_of(web.namespace.organization, person).group, place)

        grant(1)
        html(admin, url(place))
        few = queries(admin, url(place))
        grant(5)

        assert queries(admin, url(place)) == few


class TestGuardiansPages:
    def test_offer_what_gives_something(self, admin: Client, web: Repository, jane: Any) -> None:
        team = factories.team_of(web.namespace.organization, jane)
        for place in (web, web.namespace):
            for page in (
                "permissions",
                f"permissions/user-manage/{jane.pk}",
                f"permissions/group-manage/{team.group_id}",
            ):
                shown = html(admin, url(place, page))
                assert "Access level read-write" in shown
                assert "Can view pull events" in shown
                assert "Can change" not in shown

    def test_take_nothing_else(self, admin: Client, web: Repository, jane: Any) -> None:
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
    def test_of_nothing_are_none(self, admin: Client, web: Repository, page: str) -> None:
        assert (
            admin.get(f"/admin/registry_repositories/repository/{page.format(web=web.pk)}").status_code == 404
        )


class TestOrganizations:
    def test_show_their_teams_and_namespaces(self, admin: Client, web: Repository) -> None:
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

    def test_members_are_added_and_given_roles(self, admin: Client, web: Repository, jane: Any) -> None:
        organization: Any = web.namespace.organization
        joe = factories.UserFactory(username="joe")
        membership = factories.member(organization, joe)
        rows = [
            {"id": membership.pk, "organization": organization.pk, "user": jane.pk, "role": "owner"},
            {"organization": organization.pk, "user": jane.pk, "role": "member"},
        ]
        data: dict[str, Any] = {"memberships-TOTAL_FORMS": 2, "memberships-INITIAL_FORMS": 1}
        for number, row in enumerate(rows):
            data |= {f"memberships-{number}-{name}": value for name, value in row.items()}

        admin.post(url(organization), data)

        held = {m.user.username: m.role for m in Membership.objects.select_related("user")}
        assert held == {"joe": "owner", "jane": "member"}

    def test_number_of_queries_does_not_grow(self, admin: Client, web: Repository) -> None:
        organization: Any = web.namespace.organization

        def fill(number: int) -> None:
            for _ in range(number):
                factories.team_of(organization, factories.UserFactory())
                Namespace.objects.create(
                    name=factories.UserFactory().username + "x", organization=organization
                )

        fill(1)
        html(admin, url(organization))
        few = queries(admin, url(organization))
        fill(5)

        assert queries(admin, url(organization)) == few


class TestTeams:
    def test_show_what_they_were_granted(self, admin: Client, web: Repository, jane: Any) -> None:
        team = factories.team_of(web.namespace.organization, jane)
        assign_perm("level_admin", team.group, web)
        assign_perm("level_read", team.group, web.namespace)

        page = html(admin, url(team))

        for place, text in ((web, "admin on acme/web"), (web.namespace, "read on acme")):
            assert f'<a href="{url(place, f"permissions/group-manage/{team.group_id}")}">{text}</a>' in page

    def test_do_not_list_all_users(self, admin: Client, web: Repository, jane: Any) -> None:
        stranger = factories.UserFactory(username="a-stranger")
        team = factories.team_of(web.namespace.organization, jane)

        page = html(admin, url(team))

        assert "jane" in page
        assert stranger.username not in page

    def test_number_of_queries_does_not_grow(self, admin: Client, web: Repository) -> None:
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
        few = queries(admin, url(team))
        fill(5)

        assert queries(admin, url(team)) == few

    @pytest.mark.parametrize(
        ("model", "field", "term"),
        [
            ("repositoryuserpermission", "user", "jan"),
            ("repositorygrouppermission", "group", "acme/"),
            ("membership", "user", "jan"),
            ("team", "organization", "acm"),
        ],
    )
    def test_and_people_are_completed(
        self, admin: Client, web: Repository, jane: Any, model: str, field: str, term: str
    ) -> None:
        factories.team_of(web.namespace.organization, jane)

        query = {"app_label": "registry_repositories", "model_name": model, "field_name": field, "term": term}
        found = admin.get("/admin/autocomplete/", query).json()["results"]

        assert len(found) == 1
        assert found[0]["text"].startswith(term)


def test_page_of_a_user_takes_no_query_for_each_permission(admin: Client, jane: Any) -> None:
    html(admin, url(jane))

    assert queries(admin, url(jane)) < 20


def test_organizations_are_searched(admin: Client, web: Repository) -> None:
    assert Organization.objects.get().name in html(admin, "/admin/registry_repositories/membership/?q=acme")
