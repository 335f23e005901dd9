"""No reader shows a forbidden event, or hides an allowed one, whatever the world looks like."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.models import Event
from repositories.access.resolving import Access
from repositories.utils.among import MAX_LISTED
from tests import factories
from tests.worlds import USERS, World, rolled_back, worlds


def listed(client: Client, url: str) -> list[str] | None:
    """Return the ids of all pages of an API listing, None for a 404."""
    ids: list[str] = []
    next_: str | None = url
    while next_:
        response = client.get(next_)
        if response.status_code == 404:
            return None
        assert response.status_code == 200, response.content
        ids += [event["id"] for event in response.json()["results"]]
        next_ = response.json()["next"]
    return ids


def shown(client: Client, url: str) -> int | None:
    """Return the number of events on all pages of an HTML listing, None for a 404."""
    count, next_ = 0, url
    while next_:
        response = client.get(next_)
        if response.status_code == 404:
            return None
        html = response.content.decode()
        count += html.count('<td data-label="Label"')
        link = re.search(r'rel="next" href="([^"]*)"', html)
        next_ = url.partition("?")[0] + link.group(1).replace("&amp;", "&") if link else ""
    return count


def call_few(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have more ids than these, of grants or of repositories, be queried as many are."""
    monkeypatch.setattr("repositories.access.resolving.MAX_LISTED", number)
    monkeypatch.setattr("repositories.utils.among.MAX_LISTED", number)


@pytest.mark.django_db
@settings(suppress_health_check=list(HealthCheck))
@given(world=worlds(), few=st.sampled_from([0, MAX_LISTED]))
def test_gating_agrees_with_the_table(world: World, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    call_few(few, monkeypatch)
    with rolled_back():
        world.build()
        for viewer in [*USERS, "admin", "auditor"]:
            access = Access.for_user(world.created[viewer])
            expected = [
                id
                for id, event in zip(world.created["events"], world.events, strict=True)
                if world.can_see(viewer, *event)
            ]
            assert sorted(str(event.pk) for event in Event.objects.visible_to(access)) == sorted(expected)
            for number, row in enumerate(world.created["repositories"]):
                mine = [
                    id
                    for id, event in zip(world.created["events"], world.events, strict=True)
                    if event[0] == number
                ]
                found = Event.objects.visible_to(access, row)
                assert sorted(str(event.pk) for event in found) == sorted(set(mine) & set(expected))


@pytest.mark.django_db
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    viewer=st.sampled_from([*USERS, "admin", "auditor"]),
    few=st.sampled_from([0, MAX_LISTED]),
)
def test_every_reader_agrees_with_the_table(
    world: World, viewer: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_few(few, monkeypatch)
    with rolled_back():
        world.build()
        client = Client()
        client.force_login(world.created[viewer])
        allowed = {
            id
            for id, event in zip(world.created["events"], world.events, strict=True)
            if world.can_see(viewer, *event)
        }

        assert set(listed(client, "/api/v0/events/?page_size=3") or []) == allowed
        for id in world.created["events"]:
            assert client.get(f"/api/v0/events/{id}/").status_code == (200 if id in allowed else 404)
        for person in ("ann", "ben"):
            mine = {
                id
                for id, event in zip(world.created["events"], world.events, strict=True)
                if event[2] == person and id in allowed
            }
            assert shown(client, f"/users/{person}/?exclude_pull=false") == (
                len(mine) if mine or world.can_see_user(viewer, person) else None
            )
        for number, row in enumerate(world.created["repositories"]):
            place = f"{row.namespace.name}/{row.name}"
            entered = world.can_see_repository(viewer, number)
            mine = {
                id
                for id, event in zip(world.created["events"], world.events, strict=True)
                if event[0] == number and id in allowed
            }
            in_api = listed(client, f"/api/v0/repositories/{place}/events/")
            on_page = shown(client, f"/repositories/{place}/activity/?exclude_pull=false")
            assert (None if in_api is None else set(in_api)) == (mine if entered else None)
            assert on_page == (len(mine) if entered else None)
            named = listed(client, f"/api/v0/events/?repository={row.full_name}")
            assert set(named or []) == mine


@pytest.mark.django_db
def test_access_takes_three_queries_however_many_grants() -> None:
    user = factories.UserFactory()
    for number in range(3):
        row = factories.repository(f"org{number}x/web")
        team = factories.team_of(row.namespace.organization, user)
        assign_perm("level_read", team.group, row)
        assign_perm("view_pull_events", user, row.namespace)

    with CaptureQueriesContext(
        connection,
    ) as queries:
        Access.for_user(type(user).objects.get(pk=user.pk))

    assert len(queries) == 4  # one of them fetched the user
