"""Organizations and teams: who may know of them, and who may change them."""

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


def joined(organization: Organization, role: str = MEMBER, **values: Any) -> Any:
    """Return somebody who belongs to an organization."""
    user = factories.UserFactory(**values)
    Membership.objects.create(organization=organization, user=user, role=role)
    return user


@pytest.fixture
def acme(web: Repository) -> Organization:
    """An organization with an owner, a member, and a team, in which nobody is."""
    organization = Organization.objects.get(name="acme")
    joined(organization, OWNER, username="olga")
    joined(organization, username="mia")
    Team.objects.create(organization=organization, name="dev")
    return organization


PEOPLE = {
    "outsider": lambda web: factories.UserFactory(),
    "repoadmin": lambda web: factories.user_with("level_admin", web),
    "namespace admin": lambda web: factories.user_with("level_admin", web.namespace),
    "owner of another": lambda web: joined(factories.OrganizationFactory(), OWNER),
    "member": lambda web: joined(web.namespace.organization),
    "owner": lambda web: joined(web.namespace.organization, OWNER),
    "auditor": lambda web: factories.auditor(),
    "admin": lambda web: factories.msr_admin(),
}
SEE = {"member", "owner", "auditor", "admin"}
CHANGE = {"owner", "admin"}


@pytest.fixture
def client_of(log_in: Any, web: Repository, acme: Organization) -> Any:
    return lambda who: Client() if who == "anonymous" else log_in(PEOPLE[who](web))


def text(client: Client, url: str, **query: Any) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


@pytest.mark.parametrize("who", ["anonymous", *PEOPLE])
class TestWho:
    @pytest.mark.parametrize("url", [ACME, MEMBERS, TEAMS, DEV, ACCESS])
    def test_may_know_of_it(self, client_of: Any, who: str, url: str) -> None:
        response = client_of(who).get(url)

        assert response.status_code == (302 if who == "anonymous" else 200 if who in SEE else 404)
        if who in SEE:
            forms = response.content.decode().count('method="post"') - 1  # that of logging out
            assert (forms > 0) == (who in CHANGE and url != ACME)

    @pytest.mark.parametrize(
        ("url", "data", "changed"),
        [
            (MEMBERS, {"save_member": "", "user": "new", "role": "member"}, "new joined"),
            (MEMBERS, {"save_member": "", "user": "mia", "role": "owner"}, "mia owns"),
            (MEMBERS, {"remove_member": "", "user": "mia"}, "mia left"),
            (TEAMS, {"create_team": "", "name": "ops"}, "team made"),
            (DEV, {"add_member": "", "user": "mia"}, "mia in team"),
            (DEV, {"delete_team": ""}, "team gone"),
            (ACCESS, {"grant": "", "place": "acme/web", "codename": "level_read"}, "team reads web"),
            (ACCESS, {"grant": "", "place": "acme", "codename": "level_admin"}, "team administers acme"),
        ],
    )
    def test_may_change_it(
        self, client_of: Any, acme: Organization, who: str, url: str, data: dict[str, str], changed: str
    ) -> None:
        factories.UserFactory(username="new")

        response = client_of(who).post(url, data)

        expected = {changed} if who in CHANGE else set()
        assert state(acme) == expected
        assert response.status_code == (302 if who in {*CHANGE, "anonymous"} else 404)

    def test_may_take_back_what_was_granted(self, client_of: Any, web: Repository, who: str) -> None:
        group = Group.objects.get(name="acme/dev")
        assign_perm("level_read", group, web)
        assign_perm("view_pull_events", group, web)

        client_of(who).post(ACCESS, {"revoke": "", "place": "acme/web", "codename": "level_read"})

        assert ("team reads web" in state(web.namespace.organization)) == (who not in CHANGE)
        assert "view_pull_events" in codenames(group, web)


def codenames(group: Group, place: Any) -> set[str]:
    model = "repositorygrouppermission" if isinstance(place, Repository) else "namespacegrouppermission"
    rows = getattr(group, f"{model}_set").filter(content_object=place)
    return set(rows.values_list("permission__codename", flat=True))


def state(organization: Organization | None) -> set[str]:
    """Return in what the organization differs from how it was made."""
    roles = dict(Membership.objects.filter(organization=organization).values_list("user__username", "role"))
    team = Team.objects.filter(organization=organization, name="dev").first()
    web = Repository.objects.get(name="web")
    checks = {
        "new joined": roles.get("new") == MEMBER,
        "mia owns": roles.get("mia") == OWNER,
        "mia left": "mia" not in roles,
        "team made": Team.objects.filter(organization=organization, name="ops").exists(),
        "team gone": team is None,
        "mia in team": bool(team and team.group.user_set.filter(username="mia").exists()),
        "team reads web": bool(team and "level_read" in codenames(team.group, web)),
        "team administers acme": bool(team and "level_admin" in codenames(team.group, web.namespace)),
    }
    return {what for what, is_so in checks.items() if is_so}


class TestKnowing:
    def test_list_shows_ones_own(self, client_of: Any) -> None:
        factories.OrganizationFactory(name="hidden")

        assert "acme" in text(client_of("member"), "/organizations/")
        assert "hidden" not in text(client_of("member"), "/organizations/", q="i")
        assert "You don't belong to any organizations" in text(client_of("outsider"), "/organizations/")
        for who in ("auditor", "admin"):
            assert "hidden" in text(client_of(who), "/organizations/")

    def test_hidden_and_missing_ones_answer_alike(self, client_of: Any) -> None:
        outsider = client_of("outsider")

        def answer(name: str, page: str) -> tuple:
            with CaptureQueriesContext(connection) as queries:
                response = outsider.get(f"/organizations/{name}/{page}")
            return (
                response.status_code,
                re.sub(r'value="\w{64}"', "", response.content.decode()),
                len(queries),
            )

        for page in ("", "members/", "teams/", "teams/dev/", "teams/dev/access/"):
            assert answer("acme", page) == answer("none", page)

    @pytest.mark.parametrize(
        "url", ["/organizations/a%00b/", f"{TEAMS}a%00b/", "/organizations/?q=%00&cursor=%00"]
    )
    def test_takes_odd_names(self, client_of: Any, url: str) -> None:
        assert client_of("admin").get(url).status_code in (200, 404)

    def test_members_see_what_they_can_see_of_its_repositories(self, client_of: Any) -> None:
        factories.repository("acme/docs", public=True)

        assert "acme/docs" in text(client_of("member"), ACME)
        assert "acme/web" not in text(client_of("member"), ACME)
        assert "acme/web" in text(client_of("owner"), ACME)

    def test_grants_of_a_team_name_no_repository_that_one_cannot_see(
        self, client_of: Any, web: Repository
    ) -> None:
        group = Group.objects.get(name="acme/dev")
        for place in (
            web,
            factories.repository("globex/secret"),
            factories.repository("globex/open", public=True),
        ):
            assign_perm("level_read", group, place)
        assign_perm("level_read", group, Repository.objects.get(name="secret").namespace)

        assert "globex/open" in text(client_of("member"), ACCESS)
        assert not re.search("acme/web|globex/secret|globex \\(", text(client_of("member"), ACCESS))
        assert "acme/web" in text(client_of("owner"), ACCESS)
        assert not re.search("globex/secret|globex \\(", text(client_of("owner"), ACCESS))
        assert re.search("globex/secret", text(client_of("admin"), ACCESS))


class TestMembers:
    def test_last_owner_stays(self, log_in: Any, acme: Organization) -> None:
        admin = log_in(factories.msr_admin())

        for data in (
            {"save_member": "", "user": "olga", "role": "member"},
            {"remove_member": "", "user": "olga"},
        ):
            response = admin.post(MEMBERS, data, follow=True)

            assert "olga is the last owner" in response.content.decode()
            assert Membership.objects.get(user__username="olga").role == OWNER

    def test_owner_may_go_where_another_stays(self, log_in: Any, acme: Organization) -> None:
        other = joined(acme, OWNER)

        memberships.remove(acme, Membership.objects.get(user__username="olga").user)

        with pytest.raises(ValidationError):
            memberships.set_role(acme, other, MEMBER)

    def test_who_leaves_loses_what_the_teams_have(
        self, log_in: Any, acme: Organization, web: Repository
    ) -> None:
        mia = Membership.objects.get(user__username="mia").user
        group = Group.objects.get(name="acme/dev")
        group.user_set.add(mia)
        assign_perm("level_read", group, web)
        assert Access.for_user(mia).repositories().exists()

        log_in(joined(acme, OWNER)).post(MEMBERS, {"remove_member": "", "user": "mia"})

        assert not Access.for_user(mia).repositories().exists()

    @pytest.mark.parametrize("name", ["nobody", "", "\0", "MIA", "a" * 300])
    def test_are_named_exactly(self, client_of: Any, acme: Organization, name: str) -> None:
        response = client_of("owner").post(MEMBERS, {"save_member": "", "user": name, "role": "member"})

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert state(acme) == set()

    def test_are_not_listed_for_choice(self, client_of: Any) -> None:
        factories.UserFactory(username="somebody-else")

        for url in (MEMBERS, DEV):
            assert "somebody-else" not in text(client_of("owner"), url)


class TestTeams:
    def test_take_members_of_the_organization_alone(self, client_of: Any, acme: Organization) -> None:
        factories.UserFactory(username="stranger")

        response = client_of("owner").post(DEV, {"add_member": "", "user": "stranger"})

        assert "No member of acme has this name" in response.content.decode()
        assert not Group.objects.get(name="acme/dev").user_set.exists()

    def test_member_is_taken_out(self, client_of: Any, acme: Organization) -> None:
        group = Group.objects.get(name="acme/dev")
        group.user_set.add(Membership.objects.get(user__username="mia").user)

        client_of("owner").post(DEV, {"remove_member": "", "user": "mia"})

        assert not group.user_set.exists()

    @pytest.mark.parametrize("name", ["dev", "Bad Name", "a/b", "", "\0", "x" * 80])
    def test_need_a_new_name(self, client_of: Any, acme: Organization, name: str) -> None:
        response = client_of("owner").post(TEAMS, {"create_team": "", "name": name})

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert acme.teams.count() == 1

    def test_take_no_name_of_another_group(self, client_of: Any, acme: Organization) -> None:
        Group.objects.create(name="acme/ops")

        response = client_of("owner").post(TEAMS, {"create_team": "", "name": "ops"})

        assert "This name is taken." in response.content.decode()

    @pytest.mark.parametrize("place", ["globex/app", "globex", "alpine", "_", "acme/none", "acme/", "\0", ""])
    def test_are_granted_nothing_outside_their_organization(
        self, client_of: Any, acme: Organization, place: str
    ) -> None:
        factories.repository("globex/app", public=True)
        factories.repository("alpine", public=True)

        response = client_of("owner").post(ACCESS, {"grant": "", "place": place, "codename": "level_read"})

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert not Group.objects.get(name="acme/dev").repositorygrouppermission_set.exists()

    def test_have_one_level_in_a_place(self, client_of: Any, web: Repository) -> None:
        group = Group.objects.get(name="acme/dev")
        owner = client_of("owner")
        for codename in ("level_admin", "view_pull_events", "level_read"):
            owner.post(ACCESS, {"grant": "", "place": "acme/web", "codename": codename})

        assert codenames(group, web) == {"level_read", "view_pull_events"}

    def test_changes_need_a_known_button_and_the_forms_token(self, log_in: Any, acme: Organization) -> None:
        owner = joined(acme, OWNER)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(owner)

        assert strict.post(DEV, {"delete_team": ""}).status_code == 403
        assert log_in(owner).post(DEV, {"dispatch": ""}).status_code == 404
        assert log_in(owner).get(DEV, {"delete_team": ""}).status_code == 200
        assert acme.teams.exists()


def test_pages_take_as_many_queries_for_many_rows(log_in: Any, acme: Organization, web: Repository) -> None:
    owner = log_in(joined(acme, OWNER))
    group = Group.objects.get(name="acme/dev")

    def counts() -> list[int]:
        found = []
        for url in ("/organizations/", ACME, MEMBERS, TEAMS, DEV, ACCESS):
            with CaptureQueriesContext(connection) as queries:
                text(owner, url)
            found.append(len(queries))
        return found

    group.user_set.add(joined(acme))
    assign_perm("level_read", group, web)
    few = counts()
    for number in range(60):
        group.user_set.add(joined(acme))
        Team.objects.create(organization=acme, name=f"team{number}")
        assign_perm("level_read", group, factories.repository(f"acme/app{number}"))

    assert counts() == few
    assert 'rel="next"' in owner.get(ACCESS).content.decode()
    following = re.search('rel="next" href="([^"]*)"', owner.get(ACCESS).content.decode())
    assert following
    assert "acme/web" in text(owner, ACCESS + following.group(1).replace("&amp;", "&"))
