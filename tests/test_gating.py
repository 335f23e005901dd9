"""In random worlds, every page and API list shows exactly the events that the viewer is allowed to see."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from datetime import UTC
from typing import Any, cast

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.feed import plans, reading, search, search_language
from activity.models import Event
from repositories.access.resolving import MAX_IDS, Access
from repositories.utils.among import MAX_LISTED
from tests import factories
from tests.worlds import CATEGORIES, USERS, World, address_of, details_of, rolled_back, worlds


def ids_in_api(client: Client, url: str) -> list[str] | None:
    """Return the event ids on all pages of an API list, or None if the status is 404."""
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


def details_in_api(client: Client, url: str) -> dict[str, dict[str, Any]]:
    """Return the details in an API list by event id."""
    return {event["id"]: event["details"] for event in client.get(url).json()["results"]}


def events_in_tail(client: Client) -> list[dict[str, Any]]:
    """Return the events on all pages of the tail."""
    events: list[dict[str, Any]] = []
    page = client.get("/api/v0/events/tail/?page_size=2").json()
    while page["position"] < page["newest"]:
        events += page["results"]
        page = client.get(page["next"]).json()
    return events + page["results"]


def events_in_export(client: Client) -> list[dict[str, Any]]:
    """Return the events in the API's export."""
    content = cast(Any, client.get("/api/v0/events/export/")).getvalue().decode()
    return [json.loads(line) for line in content.splitlines()]


def details_in_exports(client: Client, url: str) -> list[dict[str, dict[str, Any]]]:
    """Return the details in the exports of a page, by event id: as CSV, and as JSON Lines."""
    csv_file, jsonl_file = (
        cast(Any, client.post(url, {"export": format})).getvalue().decode("utf-8-sig")
        for format in ("csv", "jsonl")
    )
    rows = csv.DictReader(io.StringIO(csv_file, newline=""))
    lines = map(json.loads, jsonl_file.splitlines())
    return [
        {row["id"]: json.loads(row["details"]) for row in rows},
        {line["id"]: line["details"] for line in lines},
    ]


def found_by(text: str, viewer: Any) -> set[str]:
    """Return the ids of the events that a viewer finds with a search."""
    access = Access.for_user(viewer)
    plan = search.plan(plans.Plan(Event.objects.visible_to(access), access), search_language.parse(text, UTC))
    found = {str(event.pk) for event in reading.find(plan, 20).rows}
    assert {str(event.pk) for event in plan.events()} == found
    return found


def count_on_pages(client: Client, url: str) -> int | None:
    """Return the number of events on all pages of an HTML list, or None if the status is 404."""
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


LIMITS = [(MAX_LISTED, MAX_IDS), (0, MAX_IDS), (0, 1), (0, 0)]
"""The numbers of repositories that a query lists one by one, and those that are named at all."""


def set_limits(limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set how many repositories are listed and named, so that viewers have few, many, or too many of them."""
    max_listed, max_ids = limits
    for module in ("repositories.utils.among", "activity.feed.chart_counts"):
        monkeypatch.setattr(f"{module}.MAX_LISTED", max_listed)
    monkeypatch.setattr("repositories.access.resolving.MAX_IDS", max_ids)
    monkeypatch.setattr("activity.feed.chart_counts.MAX_IDS", max_ids)
    monkeypatch.setattr("activity.feed.tail.MAX_POSITIONS", 3)  # so that pages without events occur
    monkeypatch.setattr("activity.feed.resumable.CHUNK", 3)


@pytest.mark.long
@pytest.mark.django_db
@settings(suppress_health_check=list(HealthCheck))
@given(world=worlds(), limits=st.sampled_from(LIMITS))
def test_visible_events_match_the_permission_table(
    world: World, limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(limits, monkeypatch)
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
                in_repository = [
                    id
                    for id, event in zip(world.created["events"], world.events, strict=True)
                    if event[0] == number
                ]
                visible = Event.objects.visible_to(access, row)
                assert sorted(str(event.pk) for event in visible) == sorted(
                    set(in_repository) & set(expected)
                )


@pytest.mark.long
@pytest.mark.django_db
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    viewer=st.sampled_from([*USERS, "admin", "auditor"]),
    limits=st.sampled_from(LIMITS),
)
def test_api_and_pages_match_the_permission_table(
    world: World, viewer: str, limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(limits, monkeypatch)
    with rolled_back():
        world.build()
        client = Client()
        client.force_login(world.created[viewer])
        allowed = {
            id
            for id, event in zip(world.created["events"], world.events, strict=True)
            if world.can_see(viewer, *event)
        }

        assert set(ids_in_api(client, "/api/v0/events/?page_size=3") or []) == allowed
        in_order = [id for id in world.created["events"] if id in allowed]
        assert [event["id"] for event in events_in_tail(client)] == in_order
        assert [event["id"] for event in events_in_export(client)] == in_order
        for id in world.created["events"]:
            assert client.get(f"/api/v0/events/{id}/").status_code == (200 if id in allowed else 404)
        for person in ("ann", "ben"):
            of_person = {
                id
                for id, event in zip(world.created["events"], world.events, strict=True)
                if event[2] == person and id in allowed
            }
            assert count_on_pages(client, f"/users/{person}/?exclude_pull=false") == (
                len(of_person) if of_person or world.can_see_user(viewer, person) else None
            )
        for number, row in enumerate(world.created["repositories"]):
            path = f"{row.namespace.name}/{row.name}"
            is_visible = world.can_see_repository(viewer, number)
            in_repository = {
                id
                for id, event in zip(world.created["events"], world.events, strict=True)
                if event[0] == number and id in allowed
            }
            in_api = ids_in_api(client, f"/api/v0/repositories/{path}/events/")
            on_page = count_on_pages(client, f"/repositories/{path}/activity/?exclude_pull=false")
            assert (None if in_api is None else set(in_api)) == (in_repository if is_visible else None)
            assert on_page == (len(in_repository) if is_visible else None)
            filtered = ids_in_api(client, f"/api/v0/events/?repository={row.full_name}")
            assert set(filtered or []) == in_repository


@pytest.mark.long
@pytest.mark.django_db
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    viewer=st.sampled_from([*USERS, "admin", "auditor"]),
    limits=st.sampled_from(LIMITS),
)
def test_details_and_searches_for_them_match_the_permission_table(
    world: World, viewer: str, limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(limits, monkeypatch)
    with rolled_back():
        world.build()
        client = Client()
        client.force_login(world.created[viewer])
        allowed, with_clients = {}, set()
        for place, event in enumerate(world.events):
            if world.can_see(viewer, *event):
                names = world.visible_details(viewer, *event)
                id = world.created["events"][place]
                allowed[id] = {name: value for name, value in details_of(place).items() if name in names}
                if "client_address" in names:
                    with_clients.add(id)

        assert details_in_api(client, "/api/v0/events/") == allowed
        for events in (events_in_tail(client), events_in_export(client)):
            assert {event["id"]: event["details"] for event in events} == allowed
        for id, details in allowed.items():
            assert client.get(f"/api/v0/events/{id}/").json()["details"] == details
        pages = ["/activity/", *(f"/users/{name}/" for name in ("ann", "ben"))]
        for number, row in enumerate(world.created["repositories"]):
            if world.can_see_repository(viewer, number):
                path = f"/repositories/{row.namespace.name}/{row.name}/"
                assert details_in_api(client, f"/api/v0{path}events/").items() <= allowed.items()
                pages.append(f"{path}activity/")
        for page in pages:
            shown = client.get(f"{page}?exclude_pull=false")
            if shown.status_code == 200:
                for exported in details_in_exports(client, f"{page}?exclude_pull=false"):
                    assert exported.items() <= allowed.items()
                assert "10.77.0." not in shown.content.decode()
                assert "10.77.0." not in client.get(f"{page}atom/?exclude_pull=false").content.decode()
        assert all(
            exported == allowed for exported in details_in_exports(client, "/activity/?exclude_pull=false")
        )

        for place, id in enumerate(world.created["events"]):
            found = {id} & with_clients
            for term in (f"ip:{address_of(place)}", f"request:request_id-{place}"):
                assert found_by(term, world.created[viewer]) == found
                assert found_by(f"-{term}", world.created[viewer]) == set(allowed) - found


def counts_in_api(client: Client, **query: str) -> Counter[str]:
    """Return the number of events of each category in a histogram."""
    response = client.get("/api/v0/events/histogram/", query)
    assert response.status_code == 200, response.content
    return sum((Counter(bucket["counts"]) for bucket in response.json()["buckets"]), Counter())


@pytest.mark.long
@pytest.mark.django_db
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    viewer=st.sampled_from([*USERS, "admin", "auditor"]),
    limits=st.sampled_from(LIMITS),
    new=st.tuples(st.just(0), st.sampled_from([*CATEGORIES, "unknown"]), st.just("ann"), st.just(True)),
)
def test_counts_searches_fields_and_etags_match_the_permission_table(
    world: World, viewer: str, limits: tuple[int, int], new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(limits, monkeypatch)
    with rolled_back():
        world.build()
        factories.enable_scanning()
        client = Client()
        client.force_login(world.created[viewer])
        allowed = {
            id: event
            for id, event in zip(world.created["events"], world.events, strict=True)
            if world.can_see(viewer, *event)
        }
        by_ann = {id: event for id, event in allowed.items() if event[2] == "ann"}
        categories = Counter(event[1] for event in allowed.values())
        listed = {event["id"]: event for event in client.get("/api/v0/events/").json()["results"]}

        assert counts_in_api(client) == categories
        for category in CATEGORIES:
            assert counts_in_api(client, category=category) == +Counter({category: categories[category]})
        assert counts_in_api(client, search="actor:ann") == Counter(event[1] for event in by_ann.values())
        for number, row in enumerate(world.created["repositories"]):
            in_repository = Counter(event[1] for event in allowed.values() if event[0] == number)
            assert counts_in_api(client, repository=row.full_name) == in_repository
        for sort in ("time", "-time"):
            ids = ids_in_api(client, f"/api/v0/events/?page_size=2&fields=id&sort={sort}")
            assert ids == sorted(allowed, reverse=sort == "-time")
            ids = ids_in_api(client, f"/api/v0/events/?page_size=2&search=actor:ann&sort={sort}")
            assert ids == sorted(by_ann, reverse=sort == "-time")
        for name in ("details", "delivered_by", "actor", "policy_url"):
            found = client.get(f"/api/v0/events/?fields=id,{name}").json()["results"]
            assert found == [{"id": id, name: event[name]} for id, event in listed.items()]
        kinds = client.get("/api/v0/events/kinds/").json()["results"]
        assert set(categories) - {"unknown"} <= {kind["category"] for kind in kinds}

        tag = client.get("/api/v0/events/")["ETag"]
        world.create_event(len(world.events), *new)
        again = client.get("/api/v0/events/", headers={"if-none-match": tag})
        assert again.status_code == (200 if world.can_see(viewer, *new) else 304)


@pytest.mark.django_db
def test_access_takes_three_queries_for_any_number_of_grants() -> None:
    user = factories.UserFactory()
    for number in range(3):
        repository = factories.repository(f"org{number}x/web")
        team = factories.team_of(repository.namespace.organization, user)
        assign_perm("level_read", team.group, repository)
        assign_perm("view_pull_events", user, repository.namespace)

    with CaptureQueriesContext(connection) as queries:
        Access.for_user(type(user).objects.get(pk=user.pk))

    assert len(queries) == 4  # three for the access, and one for the user
