"""The Permissions tab of a repository: who has access and why, and how access is granted and revoked."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm

from repositories.access.resolving import Access
from repositories.models import (
    Membership,
    Repository,
    RepositoryGroupPermission,
    RepositoryUserPermission,
)
from tests import factories

URL = "/repositories/acme/web/permissions/"
USER_FACTORIES = {
    "outsider": lambda web: factories.UserFactory(),
    "reader": lambda web: factories.user_with("level_read", web),
    "writer": lambda web: factories.user_with("level_read_write", web),
    "sees access": lambda web: factories.user_with("view_access_events", web),
    "repoadmin": lambda web: factories.user_with("level_admin", web),
    "namespace admin": lambda web: factories.user_with("level_admin", web.namespace),
    "auditor": lambda web: factories.auditor(username="audrey"),
    "admin": lambda web: factories.msr_admin(username="root"),
}
VIEWERS = {"repoadmin", "namespace admin", "auditor", "admin"}
EDITORS = VIEWERS - {"auditor"}


@pytest.fixture
def client_for(log_in: Any, web: Repository) -> Any:
    """Return a function that creates a user with a role and returns their client."""
    return lambda role: Client() if role == "anonymous" else log_in(USER_FACTORIES[role](web))


@pytest.fixture
def jane(db: None) -> Any:
    return factories.UserFactory(username="jane")


def page_text(client: Client, url: str = URL, **query: Any) -> str:
    """Return the text of a page without its markup."""
    response = client.get(url, query)
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


def grant(client: Client, holder: str, codename: str = "level_read") -> Any:
    return client.post(URL, {"grant": "", "holder": holder, "codename": codename})


def granted_permissions(web: Repository, user: Any) -> set[str]:
    rows = RepositoryUserPermission.objects.filter(content_object=web, user=user)
    return set(rows.values_list("permission__codename", flat=True))


@pytest.mark.parametrize("role", ["anonymous", *USER_FACTORIES])
class TestAccess:
    def test_permissions_tab_is_visible_to_repository_admins_and_auditors(
        self, client_for: Any, role: str
    ) -> None:
        response = client_for(role).get(URL)

        assert response.status_code == (302 if role == "anonymous" else 200 if role in VIEWERS else 404)
        if role in VIEWERS:
            assert ('name="grant"' in response.content.decode()) == (role in EDITORS)

    def test_permissions_can_be_granted_by_repository_admins(
        self, client_for: Any, web: Repository, jane: Any, role: str
    ) -> None:
        grant(client_for(role), "jane")

        assert Access.for_user(jane).repositories().exists() == (role in EDITORS)

    def test_permissions_can_be_revoked_by_repository_admins(
        self, client_for: Any, web: Repository, jane: Any, role: str
    ) -> None:
        assign_perm("level_read", jane, web)
        row = RepositoryUserPermission.objects.get(user=jane)

        client_for(role).post(URL, {"revoke": "", "user_grant": row.pk})

        assert Access.for_user(jane).repositories().exists() != (role in EDITORS)


class TestList:
    def test_people_are_listed_with_the_reasons_for_their_access(
        self, client_for: Any, web: Repository, jane: Any
    ) -> None:
        assign_perm("view_pull_events", jane, web)
        team = factories.team_of(web.namespace.organization, jane)
        assign_perm("level_read", team.group, web.namespace)

        shown = page_text(client_for("repoadmin"), q="jan")

        assert re.search("jane read .*pull events: granted directly on the repository acme/web", shown)
        assert f"read: team {team}, granted on the namespace acme" in shown

    def test_msr_admins_and_auditors_are_hidden_from_repository_admins(self, client_for: Any) -> None:
        factories.UserFactory(username="superuser", is_superuser=True)
        texts = {role: page_text(client_for(role)) for role in ("admin", "auditor", "repoadmin")}

        assert {role: re.findall("audrey|superuser|root", text) != [] for role, text in texts.items()} == {
            "admin": True,
            "auditor": True,
            "repoadmin": False,
        }

    def test_people_without_access_are_not_listed(self, client_for: Any, jane: Any) -> None:
        assert "jane" not in page_text(client_for("repoadmin"))

    def test_permissions_tab_says_that_a_repository_is_public(self, client_for: Any) -> None:
        Repository.objects.update(visibility="public")

        assert "This repository is public: everyone who is logged in can read it" in page_text(
            client_for("repoadmin")
        )

    @pytest.mark.parametrize(
        "query", [{"q": "\0"}, {"cursor": "\0"}, {"by": "team", "cursor": "x"}, {"by": "\0"}]
    )
    def test_permissions_tab_accepts_unusual_queries(self, client_for: Any, query: dict[str, str]) -> None:
        assert client_for("repoadmin").get(URL, query).status_code in (200, 400)

    def test_permissions_tab_takes_a_constant_number_of_queries(
        self, client_for: Any, web: Repository
    ) -> None:
        client = client_for("repoadmin")

        def counts() -> list[int]:
            found = []
            for query in ({}, {"by": "team"}):
                with CaptureQueriesContext(connection) as queries:
                    page_text(client, **query)
                found.append(len(queries))
            return found

        def add() -> None:
            assign_perm("level_read", factories.UserFactory(), web)
            team = factories.team_of(web.namespace.organization, factories.UserFactory())
            assign_perm("level_read", team.group, web)

        add()
        few = counts()
        for _ in range(55):
            add()

        assert counts() == few
        assert 'rel="next"' in client.get(URL, {"by": "team"}).content.decode()


class TestGranting:
    def test_granted_level_replaces_the_previous_one(
        self, client_for: Any, web: Repository, jane: Any
    ) -> None:
        client = client_for("repoadmin")
        for codename in ("level_admin", "view_pull_events", "level_read"):
            assert grant(client, "jane", codename).status_code == 302

        assert granted_permissions(web, jane) == {"level_read", "view_pull_events"}

    @pytest.mark.parametrize(
        "holder", ["nobody", "JANE", "", "\0", "a\0/b", "a" * 300, "acme/dev", "none/dev", "/"]
    )
    def test_unknown_and_hidden_holders_are_rejected(
        self, client_for: Any, web: Repository, jane: Any, holder: str
    ) -> None:
        factories.TeamFactory(organization=web.namespace.organization, name="dev")

        response = grant(client_for("repoadmin"), holder)

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        if holder.endswith("/dev"):  # acme/dev is hidden, and none/dev doesn't exist
            assert "There is no team with this name" in response.content.decode()
        assert not RepositoryGroupPermission.objects.exists()
        assert not granted_permissions(web, jane)

    @pytest.mark.parametrize("codename", ["administer_registry", "level_owner", "change_repository", ""])
    def test_granting_an_unknown_permission_is_rejected(
        self, client_for: Any, jane: Any, web: Repository, codename: str
    ) -> None:
        assert grant(client_for("repoadmin"), "jane", codename).status_code == 200
        assert not granted_permissions(web, jane)

    def test_granting_to_a_team_requires_membership_in_its_organization(
        self, log_in: Any, web: Repository
    ) -> None:
        organization = web.namespace.organization
        team = factories.TeamFactory(organization=organization, name="dev")
        person = factories.user_with("level_admin", web)
        assert organization
        Membership.objects.create(organization=organization, user=person)
        client = log_in(person)
        assert 'value="acme/dev"' in client.get(URL).content.decode()

        assert grant(client, "acme/dev").status_code == 302

        row = RepositoryGroupPermission.objects.get(group=team.group)
        assert "acme/dev" in page_text(client, by="team")
        link = '<a href="/organizations/acme/teams/dev/">acme/dev</a>'
        assert link in client.get(URL, {"by": "team"}).content.decode()
        stranger = log_in(factories.user_with("level_admin", web))
        assert "acme/dev" in page_text(stranger, by="team")
        assert link not in stranger.get(URL, {"by": "team"}).content.decode()
        client.post(f"{URL}?by=team", {"revoke": "", "team_grant": row.pk})
        assert not RepositoryGroupPermission.objects.exists()

    def test_revoking_does_not_affect_other_repositories(self, client_for: Any, jane: Any) -> None:
        other = factories.repository("acme/other")
        assign_perm("level_read", jane, other)
        row = RepositoryUserPermission.objects.get(user=jane)

        for pk in (row.pk, "", "x", -1, 10**30):
            assert client_for("repoadmin").post(URL, {"revoke": "", "user_grant": pk}).status_code == 302

        assert granted_permissions(other, jane) == {"level_read"}

    def test_granting_requires_a_csrf_token(self, web: Repository, jane: Any) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(factories.user_with("level_admin", web))

        assert grant(strict, "jane").status_code == 403


@pytest.mark.parametrize("grant", ["", "x", "\0", "0", "-1", str(2**63), "9" * 5000, "[]"])
@pytest.mark.parametrize("field", ["user_grant", "team_grant", "other"])
def test_form_that_revokes_nothing_says_so(
    client_for: Any, web: Repository, jane: Any, field: str, grant: str
) -> None:
    assign_perm("level_read", jane, web)

    response = client_for("admin").post(URL, {"revoke": "", field: grant}, follow=True)

    assert "Nothing was revoked." in response.content.decode()
    assert "Access revoked." not in response.content.decode()
    assert Access.for_user(jane).repositories().exists()
