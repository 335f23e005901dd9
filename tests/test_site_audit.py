"""Each change made on the site is recorded as an event with the user who made it."""

from __future__ import annotations

from typing import Any

import pytest
from guardian.shortcuts import assign_perm

from activity.models import Event
from repositories.models import Organization, Repository
from tests import factories

WEB = "/repositories/acme/web/"
ACME = "/organizations/acme/"
DEV = f"{ACME}teams/dev/"
READ = {"codename": "level_read"}


@pytest.mark.parametrize(
    ("url", "data", "kinds"),
    [
        (
            "/repositories/new/",
            {"namespace": "acme", "name": "app", "visibility": "private"},
            ["create_repository"],
        ),
        (f"{WEB}settings/", {"change": "", "visibility": "public"}, ["update_visibility"]),
        (
            f"{WEB}settings/",
            {"delete": "", "confirmation": "acme/web"},
            ["delete_grant", "delete_repository"],
        ),
        (f"{WEB}permissions/", {"grant": "", "holder": "mia", **READ}, ["create_grant"]),
        (f"{WEB}permissions/", {"grant": "", "holder": "acme/dev", **READ}, ["delete_grant", "create_grant"]),
        (
            f"{ACME}members/",
            {"save_member": "", "user": "new", "role": "member"},
            ["create_organization_member"],
        ),
        (
            f"{ACME}members/",
            {"save_member": "", "user": "mia", "role": "owner"},
            ["update_organization_member"],
        ),
        (
            f"{ACME}members/",
            {"remove_member": "", "user": "mia"},
            ["delete_organization_member", "delete_team_member"],
        ),
        (f"{ACME}teams/", {"create_team": "", "name": "ops"}, ["create_team"]),
        (DEV, {"add_member": "", "user": "olga"}, ["create_team_member"]),
        (DEV, {"remove_member": "", "user": "mia"}, ["delete_team_member"]),
        (DEV, {"delete_team": ""}, ["delete_grant", "delete_team_member", "delete_team"]),
        (f"{DEV}access/", {"grant": "", "place": "acme", **READ}, ["create_grant"]),
        (f"{DEV}access/", {"revoke": "", "place": "acme/web", "codename": "level_admin"}, ["delete_grant"]),
    ],
)
@pytest.mark.audited
def test_changes_on_the_site_are_recorded(
    log_in: Any, url: str, data: dict[str, str], kinds: list[str]
) -> None:
    web = factories.repository("acme/web")
    acme = Organization.objects.get(name="acme")
    olga, mia = factories.UserFactory(username="olga"), factories.UserFactory(username="mia")
    factories.UserFactory(username="new")
    factories.add_member(acme, olga, "owner")
    factories.add_member(acme, mia)
    team = factories.TeamFactory(organization=acme, name="dev")
    team.group.user_set.add(mia)
    assign_perm("level_admin", team.group, web)
    client = log_in(olga)
    before = set(Event.objects.values_list("pk", flat=True))

    assert client.post(url, data).status_code == 302

    events = Event.objects.exclude(pk__in=before).order_by("pk")
    assert sorted(event.kind for event in events) == sorted(kinds)
    assert {event.actor_name for event in events} == {"olga"}
    assert Repository.objects.exists()
