"""The Permissions tab: who may do what in a repository and why, granting and revoking."""

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
PEOPLE = {
    "outsider": lambda web: factories.UserFactory(),
    "reader": lambda web: factories.user_with("level_read", web),
    "writer": lambda web: factories.user_with("level_read_write", web),
    "sees access": lambda web: factories.user_with("view_access_events", web),
    "repoadmin": lambda web: factories.user_with("level_admin", web),
    "namespace admin": lambda web: factories.user_with("level_admin", web.namespace),
    "auditor": lambda web: factories.auditor(username="audrey"),
    "admin": lambda web: factories.msr_admin(username="root"),
}
SEE = {"repoadmin", "namespace admin", "auditor", "admin"}
CHANGE = SEE - {"auditor"}


@pytest.fixture
def client_of(log_in: Any, web: Repository) -> Any:
    return lambda who: Client() if who == "anonymous" else log_in(PEOPLE[who](web))


@pytest.fixture
def jane(db: None) -> Any:
    return factories.UserFactory(username="jane")


def text(client: Client, url: str = URL, **query: Any) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


def grant(client: Client, holder: str, codename: str = "level_read") -> Any:
    return client.post(URL, {"grant": "", "holder": holder, "codename": codename})


def held(web: Repository, user: Any) -> set[str]:
    rows = RepositoryUserPermission.objects.filter(content_object=web, user=user)
    return set(rows.values_list("permission__codename", flat=True))


@pytest.mark.parametrize("who", ["anonymous", *PEOPLE])
class TestWho:
    def test_may_look(self, client_of: Any, who: str) -> None:
        response = client_of(who).get(URL)

        assert response.status_code == (302 if who == "anonymous" else 200 if who in SEE else 404)
        if who in SEE:
            assert ('name="grant"' in response.content.decode()) == (who in CHANGE)

    def test_may_grant(self, client_of: Any, web: Repository, jane: Any, who: str) -> None:
        grant(client_of(who), "jane")

        assert Access.for_user(jane).repositories().exists() == (who in CHANGE)

    def test_may_revoke(self, client_of: Any, web: Repository, jane: Any, who: str) -> None:
        assign_perm("level_read", jane, web)
        row = RepositoryUserPermission.objects.get(user=jane)

        client_of(who).post(URL, {"revoke": "", "user_grant": row.pk})

        assert Access.for_user(jane).repositories().exists() != (who in CHANGE)


class TestPeople:
    def test_are_listed_with_the_reasons(self, client_of: Any, web: Repository, jane: Any) -> None:
        assign_perm("view_pull_events", jane, web)
        team = factories.team_of(web.namespace.organization, jane)
        assign_perm("level_read", team.group, web.namespace)

        html = text(client_of("repoadmin"), q="jan")

        assert re.search("jane read .*pull events: granted directly on the repository acme/web", html)
        assert f"read: team {team}, granted on the namespace acme" in html

    def test_who_oversee_the_registry_are_not_told_to_everybody(self, client_of: Any) -> None:
        factories.UserFactory(username="superuser", is_superuser=True)
        shown = {who: text(client_of(who)) for who in ("admin", "auditor", "repoadmin")}

        assert {who: re.findall("audrey|superuser|root", html) != [] for who, html in shown.items()} == {
            "admin": True,
            "auditor": True,
            "repoadmin": False,
        }

    def test_without_access_are_not_listed(self, client_of: Any, jane: Any) -> None:
        assert "jane" not in text(client_of("repoadmin"))

    def test_public_access_is_told_of(self, client_of: Any) -> None:
        Repository.objects.update(visibility="public")

        assert "This repository is public: everyone who is logged in can read it" in text(
            client_of("repoadmin")
        )

    @pytest.mark.parametrize(
        "query", [{"q": "\0"}, {"cursor": "\0"}, {"by": "team", "cursor": "x"}, {"by": "\0"}]
    )
    def test_takes_odd_queries(self, client_of: Any, query: dict[str, str]) -> None:
        assert client_of("repoadmin").get(URL, query).status_code == 200

    def test_takes_as_many_queries_for_many(self, client_of: Any, web: Repository) -> None:
        client = client_of("repoadmin")

        def counts() -> list[int]:
            found = []
            for query in ({}, {"by": "team"}):
                with CaptureQueriesContext(connection) as queries:
                    text(client, **query)
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
    def test_level_takes_the_place_of_another(self, client_of: Any, web: Repository, jane: Any) -> None:
        client = client_of("repoadmin")
        for codename in ("level_admin", "view_pull_events", "level_read"):
            assert grant(client, "jane", codename).status_code == 302

        assert held(web, jane) == {"level_read", "view_pull_events"}

    @pytest.mark.parametrize(
        "holder", ["nobody", "JANE", "", "\0", "a\0/b", "a" * 300, "acme/dev", "none/dev", "/"]
    )
    def test_unknown_and_hidden_holders_answer_alike(
        self, client_of: Any, web: Repository, jane: Any, holder: str
    ) -> None:
        factories.TeamFactory(organization=web.namespace.organization, name="dev")

        response = grant(client_of("repoadmin"), holder)

        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        if holder.endswith("/dev"):  # there, but not for an outsider; and not there
            assert "There is no team with this name" in response.content.decode()
        assert not RepositoryGroupPermission.objects.exists()
        assert not held(web, jane)

    @pytest.mark.parametrize("codename", ["administer_registry", "level_owner", "change_repository", ""])
    def test_of_what_is_no_level_is_refused(
        self, client_of: Any, jane: Any, web: Repository, codename: str
    ) -> None:
        assert grant(client_of("repoadmin"), "jane", codename).status_code == 200
        assert not held(web, jane)

    def test_to_a_team_is_for_those_who_know_of_it(self, log_in: Any, web: Repository) -> None:
        organization = web.namespace.organization
        team = factories.TeamFactory(organization=organization, name="dev")
        person = factories.user_with("level_admin", web)
        assert organization
        Membership.objects.create(organization=organization, user=person)
        client = log_in(person)
        assert 'value="acme/dev"' in client.get(URL).content.decode()

        assert grant(client, "acme/dev").status_code == 302

        row = RepositoryGroupPermission.objects.get(group=team.group)
        assert "acme/dev" in text(client, by="team")
        link = '<a href="/organizations/acme/teams/dev/">acme/dev</a>'
        assert link in client.get(URL, {"by": "team"}).content.decode()
        stranger = log_in(factories.user_with("level_admin", web))
        assert "acme/dev" in text(stranger, by="team")
        assert link not in stranger.get(URL, {"by": "team"}).content.decode()
        client.post(f"{URL}?by=team", {"revoke": "", "team_grant": row.pk})
        assert not RepositoryGroupPermission.objects.exists()

    def test_revokes_nothing_of_another_repository(self, client_of: Any, jane: Any) -> None:
        other = factories.repository("acme/other")
        assign_perm("level_read", jane, other)
        row = RepositoryUserPermission.objects.get(user=jane)

        for pk in (row.pk, "", "x", -1, 10**30):
            assert client_of("repoadmin").post(URL, {"revoke": "", "user_grant": pk}).status_code == 302

        assert held(other, jane) == {"level_read"}

    def test_needs_the_forms_token(self, web: Repository, jane: Any) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(factories.user_with("level_admin", web))

        assert grant(strict, "jane").status_code == 403
