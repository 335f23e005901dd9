"""Organizations and teams: who can see them, and who can change them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm

from repositories import memberships
from repositories.access.resolving import Access
from repositories.models import Membership, Organization, Repository, Team
from tests import factories

OWNER, MEMBER = Membership.Role.OWNER, Membership.Role.MEMBER
ACME = "/organizations/acme/"
MEMBERS = f"{ACME}members/"
TEAMS = f"{ACME}teams/"
DEV = f"{TEAMS}dev/"
ACCESS = f"{DEV}access/"


def create_member(organization: Organization, role: str = MEMBER, **values: Any) -> Any:
    """Create a user who belongs to an organization."""
    user = factories.UserFactory(**values)
    Membership.objects.create(organization=organization, user=user, role=role)
    return user


@pytest.fixture
def acme(web: Repository) -> Organization:
    """An organization with an owner, a member and an empty team."""
    organization = Organization.objects.get(name="acme")
    create_member(organization, OWNER, username="olga")
    create_member(organization, username="mia")
    Team.objects.create(organization=organization, name="dev")
    return organization


USER_FACTORIES = {
    "outsider": lambda web: factories.UserFactory(),
    "repoadmin": lambda web: factories.user_with("level_admin", web),
    "namespace admin": lambda web: factories.user_with("level_admin", web.namespace),
    "owner elsewhere": lambda web: create_member(factories.OrganizationFactory(), OWNER),
    "member": lambda web: create_member(web.namespace.organization),
    "owner": lambda web: create_member(web.namespace.organization, OWNER),
    "auditor": lambda web: factories.auditor(),
    "admin": lambda web: factories.msr_admin(),
}
VIEWERS = {"member", "owner", "auditor", "admin"}
EDITORS = {"owner", "admin"}


@pytest.fixture
def client_for(log_in: Any, web: Repository, acme: Organization) -> Any:
    """Return a function that creates a user with a role and returns their client."""
    return lambda role: Client() if role == "anonymous" else log_in(USER_FACTORIES[role](web))


def page_text(client: Client, url: str, **query: Any) -> str:
    """Return the text of a page without its markup."""
    response = client.get(url, query)
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


@pytest.mark.parametrize("role", ["anonymous", *USER_FACTORIES])
class TestAccess:
    @pytest.mark.parametrize("url", [ACME, MEMBERS, TEAMS, DEV, ACCESS])
    def test_organization_is_visible_to_its_members_and_to_auditors_and_admins(
        self, client_for: Any, role: str, url: str
    ) -> None:
        response = client_for(role).get(url)

        assert response.status_code == (302 if role == "anonymous" else 200 if role in VIEWERS else 404)
        if role in VIEWERS:
            forms = response.content.decode().count('method="post"') - 1  # don't count the logout form
            assert (forms > 0) == (role in EDITORS and url != ACME)

    @pytest.mark.parametrize(
        ("url", "data", "changed"),
        [
            (MEMBERS, {"save_member": "", "user": "new", "role": "member"}, "new joined"),
            (MEMBERS, {"save_member": "", "user": "mia", "role": "owner"}, "mia owns"),
            (MEMBERS, {"remove_member": "", "user": "mia"}, "mia left"),
            (TEAMS, {"create_team": "", "name": "ops"}, "team created"),
            (DEV, {"add_member": "", "user": "mia"}, "mia in team"),
            (DEV, {"delete_team": ""}, "team deleted"),
            (ACCESS, {"grant": "", "place": "acme/web", "codename": "level_read"}, "team reads web"),
            (ACCESS, {"grant": "", "place": "acme", "codename": "level_admin"}, "team administers acme"),
        ],
    )
    def test_organization_can_be_changed_by_owners_and_admins(
        self, client_for: Any, acme: Organization, role: str, url: str, data: dict[str, str], changed: str
    ) -> None:
        factories.UserFactory(username="new")

        response = client_for(role).post(url, data)

        expected = {changed} if role in EDITORS else set()
        assert changes(acme) == expected
        assert response.status_code == (302 if role in {*EDITORS, "anonymous"} else 404)

    def test_team_grants_can_be_revoked_by_owners_and_admins(
        self, client_for: Any, web: Repository, role: str
    ) -> None:
        group = Group.objects.get(name="acme/dev")
        assign_perm("level_read", group, web)
        assign_perm("view_pull_events", group, web)

        client_for(role).post(ACCESS, {"revoke": "", "place": "acme/web", "codename": "level_read"})

        assert ("team reads web" in changes(web.namespace.organization)) == (role not in EDITORS)
        assert "view_pull_events" in granted_permissions(group, web)


def granted_permissions(group: Group, target: Any) -> set[str]:
    """Return the permissions granted to a group on a repository or namespace."""
    model = "repositorygrouppermission" if isinstance(target, Repository) else "namespacegrouppermission"
    rows = getattr(group, f"{model}_set").filter(content_object=target)
    return set(rows.values_list("permission__codename", flat=True))


def changes(organization: Organization | None) -> set[str]:
    """Return the differences between an organization and the `acme` fixture."""
    roles = dict(Membership.objects.filter(organization=organization).values_list("user__username", "role"))
    team = Team.objects.filter(organization=organization, name="dev").first()
    web = Repository.objects.get(name="web")
    checks = {
        "new joined": roles.get("new") == MEMBER,
        "mia owns": roles.get("mia") == OWNER,
        "mia left": "mia" not in roles,
        "team created": Team.objects.filter(organization=organization, name="ops").exists(),
        "team deleted": team is None,
        "mia in team": bool(team and team.group.user_set.filter(username="mia").exists()),
        "team reads web": bool(team and "level_read" in granted_permissions(team.group, web)),
        "team administers acme": bool(
            team and "level_admin" in granted_permissions(team.group, web.namespace)
        ),
    }
    return {change for change, found in checks.items() if found}


class TestVisibility:
    def test_organization_list_shows_only_visible_organizations(self, client_for: Any) -> None:
        factories.OrganizationFactory(name="hidden")

        assert "acme" in page_text(client_for("member"), "/organizations/")
        assert "hidden" not in page_text(client_for("member"), "/organizations/", q="i")
        assert "You don't belong to any organizations" in page_text(client_for("outsider"), "/organizations/")
        for role in ("auditor", "admin"):
            assert "hidden" in page_text(client_for(role), "/organizations/")

    def test_hidden_organizations_look_like_missing_ones(self, client_for: Any) -> None:
        outsider = client_for("outsider")

        def fetch(name: str, page: str) -> tuple:
            with CaptureQueriesContext(connection) as queries:
                response = outsider.get(f"/organizations/{name}/{page}")
            return (
                response.status_code,
                re.sub(r'value="\w{64}"', "", response.content.decode()),
                len(queries),
            )

        for page in ("", "members/", "teams/", "teams/dev/", "teams/dev/access/"):
            assert fetch("acme", page) == fetch("none", page)

    @pytest.mark.parametrize(
        "url", ["/organizations/a%00b/", f"{TEAMS}a%00b/", "/organizations/?q=%00&cursor=%00"]
    )
    def test_organization_pages_accept_null_characters_in_urls(self, client_for: Any, url: str) -> None:
        assert client_for("admin").get(url).status_code in (400, 404)

    def test_organization_page_lists_only_visible_repositories(self, client_for: Any) -> None:
        factories.repository("acme/docs", public=True)

        assert "acme/docs" in page_text(client_for("member"), ACME)
        assert "acme/web" not in page_text(client_for("member"), ACME)
        assert "acme/web" in page_text(client_for("owner"), ACME)

    def test_team_access_page_lists_only_grants_on_visible_repositories_and_namespaces(
        self, client_for: Any, web: Repository
    ) -> None:
        group = Group.objects.get(name="acme/dev")
        for target in (
            web,
            factories.repository("globex/secret"),
            factories.repository("globex/open", public=True),
        ):
            assign_perm("level_read", group, target)
        assign_perm("level_read", group, Repository.objects.get(name="secret").namespace)

        assert "globex/open" in page_text(client_for("member"), ACCESS)
        assert not re.search("acme/web|globex/secret|globex \\(", page_text(client_for("member"), ACCESS))
        assert "acme/web" in page_text(client_for("owner"), ACCESS)
        assert not re.search("globex/secret|globex \\(", page_text(client_for("owner"), ACCESS))
        assert re.search("globex/secret", page_text(client_for("admin"), ACCESS))


class TestMembers:
    def test_last_owner_cannot_be_removed_or_demoted(self, log_in: Any, acme: Organization) -> None:
        admin = log_in(factories.msr_admin())

        for data in (
            {"save_member": "", "user": "olga", "role": "member"},
            {"remove_member": "", "user": "olga"},
        ):
            response = admin.post(MEMBERS, data, follow=True)

            assert "olga is the last owner" in response.content.decode()
            assert Membership.objects.get(user__username="olga").role == OWNER

    def test_owner_can_be_removed_if_another_owner_remains(self, log_in: Any, acme: Organization) -> None:
        other = create_member(acme, OWNER)

        memberships.remove(acme, Membership.objects.get(user__username="olga").user)

        with pytest.raises(ValidationError):
            memberships.set_role(acme, other, MEMBER)

    def test_removed_member_loses_access_through_teams(
        self, log_in: Any, acme: Organization, web: Repository
    ) -> None:
        mia = Membership.objects.get(user__username="mia").user
        group = Group.objects.get(name="acme/dev")
        group.user_set.add(mia)
        assign_perm("level_read", group, web)
        assert Access.for_user(mia).repositories().exists()

        log_in(create_member(acme, OWNER)).post(MEMBERS, {"remove_member": "", "user": "mia"})

        assert not Access.for_user(mia).repositories().exists()

    @pytest.mark.parametrize("name", ["nobody", "", "\0", "MIA", "a" * 300])
    def test_adding_a_member_requires_an_exact_username(
        self, client_for: Any, acme: Organization, name: str
    ) -> None:
        response = client_for("owner").post(MEMBERS, {"save_member": "", "user": name, "role": "member"})

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert changes(acme) == set()

    def test_member_forms_do_not_suggest_users(self, client_for: Any) -> None:
        factories.UserFactory(username="somebody-else")

        for url in (MEMBERS, DEV):
            assert "somebody-else" not in page_text(client_for("owner"), url)


class TestTeams:
    def test_team_accepts_only_members_of_the_organization(self, client_for: Any, acme: Organization) -> None:
        factories.UserFactory(username="stranger")

        response = client_for("owner").post(DEV, {"add_member": "", "user": "stranger"})

        assert "No member of acme has this name" in response.content.decode()
        assert not Group.objects.get(name="acme/dev").user_set.exists()

    def test_team_member_can_be_removed(self, client_for: Any, acme: Organization) -> None:
        group = Group.objects.get(name="acme/dev")
        group.user_set.add(Membership.objects.get(user__username="mia").user)

        client_for("owner").post(DEV, {"remove_member": "", "user": "mia"})

        assert not group.user_set.exists()

    @pytest.mark.parametrize("name", ["dev", "Bad Name", "a/b", "", "\0", "x" * 80])
    def test_team_name_must_be_valid_and_unused(self, client_for: Any, acme: Organization, name: str) -> None:
        response = client_for("owner").post(TEAMS, {"create_team": "", "name": name})

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert acme.teams.count() == 1

    def test_team_cannot_take_the_name_of_another_group(self, client_for: Any, acme: Organization) -> None:
        Group.objects.create(name="acme/ops")

        response = client_for("owner").post(TEAMS, {"create_team": "", "name": "ops"})

        assert "This name is taken." in response.content.decode()

    @pytest.mark.parametrize("place", ["globex/app", "globex", "alpine", "_", "acme/none", "acme/", "\0", ""])
    def test_team_cannot_be_granted_access_outside_its_organization(
        self, client_for: Any, acme: Organization, place: str
    ) -> None:
        factories.repository("globex/app", public=True)
        factories.repository("alpine", public=True)

        response = client_for("owner").post(ACCESS, {"grant": "", "place": place, "codename": "level_read"})

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert not Group.objects.get(name="acme/dev").repositorygrouppermission_set.exists()

    def test_team_has_at_most_one_level_per_repository(self, client_for: Any, web: Repository) -> None:
        group = Group.objects.get(name="acme/dev")
        owner = client_for("owner")
        for codename in ("level_admin", "view_pull_events", "level_read"):
            owner.post(ACCESS, {"grant": "", "place": "acme/web", "codename": codename})

        assert granted_permissions(group, web) == {"level_read", "view_pull_events"}

    def test_team_changes_require_a_known_button_and_a_csrf_token(
        self, log_in: Any, acme: Organization
    ) -> None:
        owner = create_member(acme, OWNER)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(owner)

        assert strict.post(DEV, {"delete_team": ""}).status_code == 403
        assert log_in(owner).post(DEV, {"dispatch": ""}).status_code == 404
        assert log_in(owner).get(DEV, {"delete_team": ""}).status_code == 400
        assert acme.teams.exists()


def test_organization_pages_take_a_constant_number_of_queries(
    log_in: Any, acme: Organization, web: Repository
) -> None:
    owner = log_in(create_member(acme, OWNER))
    group = Group.objects.get(name="acme/dev")

    def counts() -> list[int]:
        found = []
        for url in ("/organizations/", ACME, MEMBERS, TEAMS, DEV, ACCESS):
            with CaptureQueriesContext(connection) as queries:
                page_text(owner, url)
            found.append(len(queries))
        return found

    group.user_set.add(create_member(acme))
    assign_perm("level_read", group, web)
    few = counts()
    for number in range(60):
        group.user_set.add(create_member(acme))
        Team.objects.create(organization=acme, name=f"team{number}")
        assign_perm("level_read", group, factories.repository(f"acme/app{number}"))

    assert counts() == few
    assert 'rel="next"' in owner.get(ACCESS).content.decode()
    match = re.search('rel="next" href="([^"]*)"', owner.get(ACCESS).content.decode())
    assert match
    assert "acme/web" in page_text(owner, ACCESS + match.group(1).replace("&amp;", "&"))


class TestNewOrganization:
    URL = "/new-organization/"

    def test_msr_admin_creates_an_organization_with_its_first_owner(self, admin: Client) -> None:
        olga = factories.UserFactory(username="olga")
        page = admin.post(self.URL, {"name": "initech", "owner": "olga"}, follow=True).content.decode()

        assert "initech was created." in page
        created = Organization.objects.get(name="initech")
        assert created.memberships.get(role="owner").user == olga
        assert created.namespaces.get().name == "initech"

    @pytest.mark.parametrize(
        ("name", "owner"),
        [("acme", "admin"), ("admin", "admin"), ("anonymous", "admin"), ("new", "nobody"), ("", "admin")],
    )
    def test_impossible_organization_is_not_created(self, admin: Client, name: str, owner: str) -> None:
        factories.OrganizationFactory(name="acme")
        page = admin.post(self.URL, {"name": name, "owner": owner})

        assert "errorlist" in page.content.decode()
        assert Organization.objects.count() == 1

    def test_nobody_else_creates_organizations(self, log_in: Any, auditor: Client) -> None:
        for client in (log_in(factories.UserFactory()), auditor):
            assert "New organization" not in client.get("/organizations/").content.decode()
            assert client.post(self.URL, {"name": "initech", "owner": "auditor"}).status_code == 404
