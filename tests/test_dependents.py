"""What else a deletion deletes or changes is shown before it, and recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm

from activity.models import Event
from repositories.dependents import dependents_of
from repositories.models import Membership, Namespace, Organization, Repository, Team
from tests import factories

User = get_user_model()
pytestmark = [pytest.mark.django_db, pytest.mark.audited]

UNCLAIMED = "Namespaces that become unclaimed"


@pytest.fixture
def admin(log_in: Any) -> Client:
    return log_in(factories.msr_admin(username="admin"))


@pytest.fixture
def dana(web: Repository) -> Any:
    """A user with a grant, a membership, a team, a group, an access token and a namespace."""
    dana = factories.UserFactory(username="dana")
    assign_perm("level_admin", dana, web)
    assign_perm("level_read", dana, Namespace.objects.create(name="shared"))
    factories.team_of(web.namespace.organization, dana)
    Team.objects.update(name="devs")
    Group.objects.filter(team__isnull=False).update(name="acme/devs")
    dana.groups.add(Group.objects.create(name="producers"))
    factories.new_token(dana, "CI")
    return dana


OF_DANA = {
    ("Delete Grant", "acme/web", "admin on acme/web to dana"),
    ("Delete Grant", "", "read on shared to dana"),
    ("Delete Organization Member", "", "dana (Member of acme)"),
    ("Delete Team Member", "", "acme/devs"),
    ("Delete Group Member", "", "producers"),
    ("Update Namespace", "", "dana"),
    ("Delete User", "", "dana"),
}


def new_events(action: Callable[[], Any]) -> list[tuple[str, str, str]]:
    """Return the label, repository and subject of each event that an action records."""
    known = set(Event.objects.values_list("pk", flat=True))
    action()
    return [
        (event.label, event.repository_name, event.details.get("subject", ""))
        for event in Event.objects.exclude(pk__in=known).order_by("pk")
    ]


def page_of(row: Any, page: str = "delete") -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{page}/"


def list_of(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/"


def delete_selected(client: Client, row: Any, **data: str) -> Any:
    form = {"action": "delete_selected", "_selected_action": row.pk, **data}
    return client.post(list_of(row), form, follow=True)


DOORS = {
    "page": lambda client, row: client.post(page_of(row), {"post": "yes"}),
    "list": lambda client, row: delete_selected(client, row, post="yes"),
    "code": lambda client, row: row.delete(),
    "query": lambda client, row: type(row).objects.filter(pk=row.pk).delete(),
}


@pytest.mark.parametrize("door", DOORS)
class TestRecorded:
    def test_all_that_a_deleted_user_had(self, admin: Client, dana: Any, door: str) -> None:
        events = new_events(lambda: DOORS[door](admin, dana))

        tokens = [event for event in events if event[0] == "Delete Token"]
        assert len(tokens) == 1
        assert tokens[0][2].endswith("… (dana)")
        assert sorted({*events} - {*tokens}) == sorted(OF_DANA)
        assert len(events) == len(OF_DANA) + 1
        unclaimed = Event.objects.filter(kind="update_namespace").latest("pk")
        assert unclaimed.details["changes"] == {"user": {"before": "dana"}}
        assert Namespace.objects.get(name="dana").is_unclaimed

    def test_all_that_a_deleted_organization_had(
        self, admin: Client, dana: Any, web: Repository, door: str
    ) -> None:
        assign_perm("level_read", Group.objects.get(name="acme/devs"), web)

        events = new_events(lambda: DOORS[door](admin, web.namespace.organization))

        assert sorted(events) == sorted(
            [
                ("Delete Grant", "acme/web", "read on acme/web to acme/devs"),
                ("Delete Team Member", "", "acme/devs"),
                ("Delete Team", "", "acme/devs"),
                ("Delete Organization Member", "", "dana (Member of acme)"),
                ("Update Namespace", "", "acme"),
                ("Delete Organization", "", "acme"),
            ]
        )
        assert Namespace.objects.get(name="acme").is_unclaimed

    def test_all_that_a_deleted_team_had(self, admin: Client, dana: Any, web: Repository, door: str) -> None:
        assign_perm("level_read", Group.objects.get(name="acme/devs"), web)

        events = new_events(lambda: DOORS[door](admin, Team.objects.get()))

        assert events == [
            ("Delete Grant", "acme/web", "read on acme/web to acme/devs"),
            ("Delete Team Member", "", "acme/devs"),
            ("Delete Team", "", "acme/devs"),
        ]
        assert Event.objects.get(kind="delete_team_member").details["members"] == ["dana"]

    def test_all_that_a_deleted_repository_had(
        self, admin: Client, dana: Any, web: Repository, door: str
    ) -> None:
        assign_perm("level_read", Group.objects.get(name="acme/devs"), web)

        events = new_events(lambda: DOORS[door](admin, web))

        assert events == [
            ("Delete Grant", "acme/web", "admin on acme/web to dana"),
            ("Delete Grant", "acme/web", "read on acme/web to acme/devs"),
            ("Delete Repository", "acme/web", "acme/web"),
        ]
        assert not dependents_of(web).deleted

    def test_all_that_a_deleted_namespace_had(self, admin: Client, dana: Any, door: str) -> None:
        events = new_events(lambda: DOORS[door](admin, Namespace.objects.get(name="shared")))

        assert events == [("Delete Grant", "", "read on shared to dana")]

    def test_all_that_a_deleted_group_had(
        self, admin: Client, log_in: Any, dana: Any, web: Repository, door: str
    ) -> None:
        superuser = log_in(factories.UserFactory(is_superuser=True, is_staff=True))
        group = Group.objects.get(name="acme/devs")
        assign_perm("level_read", group, web)

        events = new_events(lambda: DOORS[door](superuser, group))

        assert events == [
            ("Delete Grant", "acme/web", "read on acme/web to acme/devs"),
            ("Delete Team", "", "acme/devs"),
            ("Delete Team Member", "", "acme/devs"),
            ("Delete Group", "", "acme/devs"),
        ]


def test_deletions_on_the_site_record_what_goes_along(log_in: Any, dana: Any, web: Repository) -> None:
    owner = factories.UserFactory(username="owner")
    factories.add_member(web.namespace.organization, owner, Membership.Role.OWNER)
    client = log_in(owner)

    team = new_events(lambda: client.post("/organizations/acme/teams/devs/", {"delete_team": ""}))
    form = {"delete": "", "confirmation": "acme/web"}
    repository = new_events(lambda: client.post("/repositories/acme/web/settings/", form))

    assert [label for label, *_ in team] == ["Delete Team Member", "Delete Team"]
    assert [label for label, *_ in repository] == ["Delete Grant", "Delete Repository"]


def test_until_when_somebody_had_access_is_answered_after_the_account_is_gone(
    admin: Client, dana: Any
) -> None:
    admin.post(page_of(dana), {"post": "yes"})

    found = admin.get("/api/v0/repositories/acme/web/events/?category=access").json()["results"]

    deleted = next(event for event in found if event["label"] == "Delete Grant")
    assert (deleted["details"]["subject"], deleted["actor"]["id"]) == ("admin on acme/web to dana", "admin")


class TestShownBefore:
    @pytest.mark.parametrize("door", ["page", "list"])
    def test_admin_lists_what_goes_along(self, admin: Client, dana: Any, web: Repository, door: str) -> None:
        team = Team.objects.get()
        assign_perm("level_read", team.group, web)
        read = "read on acme/web to acme/devs"
        expected = {
            dana: [
                "Grants (2)",
                "admin on acme/web to dana",
                "CI of dana",
                f"{UNCLAIMED}",
                "dana in producers",
            ],
            web.namespace.organization: [read, "dana (Member of acme)", "acme/devs", UNCLAIMED],
            team: ["Grants (1)", read, "dana in acme/devs"],
            web: ["Grants (2)", read, "admin on acme/web to dana"],
            Namespace.objects.get(name="shared"): ["Grants (1)", "read on shared to dana"],
        }
        for row, texts in expected.items():
            page = admin.get(page_of(row)) if door == "page" else delete_selected(admin, row)

            assert page.status_code == 200
            for text in texts:
                assert text in page.content.decode(), (row, text)

    def test_other_staff_see_only_how_much_goes_along(self, log_in: Any, web: Repository) -> None:
        staff = factories.UserFactory(is_staff=True)
        factories.permit(staff, "auth.delete_user")

        page = log_in(staff).get(page_of(factories.user_with("level_read", web))).content.decode()

        assert "Grants (1)" in page
        assert "acme" not in page

    def test_long_lists_are_shortened(self, admin: Client, dana: Any, web: Repository) -> None:
        for number in range(120):
            assign_perm("level_read", dana, factories.repository(f"acme/r{number}"))

        page = admin.get(page_of(dana)).content.decode()

        assert "Grants (122)" in page
        assert "and 22 more" in page
        assert page.count("to dana") == 100

    def test_site_lists_what_goes_along(self, log_in: Any, dana: Any, web: Repository) -> None:
        owner = factories.UserFactory()
        factories.add_member(web.namespace.organization, owner, Membership.Role.OWNER)
        group, secret = Group.objects.get(name="acme/devs"), factories.repository("globex/secret")
        for repository in (web, secret):
            assign_perm("level_read", group, repository)
        client = log_in(owner)

        team = client.get("/organizations/acme/teams/devs/").content.decode()
        repository = client.get("/repositories/acme/web/settings/").content.decode()

        assert "read on acme/web to acme/devs" in team
        assert "globex" not in team
        assert "read on acme/web to acme/devs" in repository
        assert "admin on acme/web to dana" in repository

    def test_members_are_not_told_what_a_team_would_lose(
        self, log_in: Any, dana: Any, web: Repository
    ) -> None:
        assign_perm("level_read", Group.objects.get(name="acme/devs"), web)

        assert "read on acme/web" not in log_in(dana).get("/organizations/acme/teams/devs/").content.decode()


def test_number_of_queries_does_not_depend_on_what_goes_along(dana: Any, web: Repository) -> None:
    def queries() -> list[int]:
        counts = []
        for row in (dana, web.namespace.organization, Team.objects.get(name="devs"), web):
            with CaptureQueriesContext(
                connection,
            ) as captured:
                dependents_of(row).in_words()
            counts.append(len(captured))
        return counts

    before = queries()
    for number in range(5):
        repository = factories.repository(f"acme/r{number}")
        assign_perm("level_read", dana, repository)
        team = factories.team_of(web.namespace.organization, dana, factories.UserFactory())
        assign_perm("level_read", team.group, repository)
        assign_perm("level_read", Group.objects.get(name="acme/devs"), repository)
        assign_perm("level_read", factories.UserFactory(), web)
        factories.new_token(dana)

    assert queries() == before


APPS = {"registry_activity", "registry_repositories"}
KNOWN = {
    # shown and recorded
    *(
        "AccessToken",
        "Membership",
        "Namespace",
        "Team",
        "RepositoryUserPermission",
        "RepositoryGroupPermission",
    ),
    *("NamespaceUserPermission", "NamespaceGroupPermission"),
    # not anybody's access: settings, what keeps its object from being deleted, and what outlives it
    *(
        "Profile",
        "Login",
        "Registry",
        "Repository",
        "Policy",
        "DeletionRule",
        "Hold",
        "Organization",
        "RoleGroup",
        "Tag",
    ),
}


@pytest.mark.parametrize("model", [User, Organization, Team, Group, Namespace, Repository])
def test_every_relation_is_known(model: Any) -> None:
    """A new relation must be added either to `repositories.dependents` or to `KNOWN`."""
    relations = [field.related_model for field in model._meta.get_fields() if field.auto_created]
    found = {related.__name__ for related in relations if related and related._meta.app_label in APPS}

    assert found <= KNOWN
