"""What access tokens can be used for: their scopes, restrictions, expiry and owners."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from guardian.shortcuts import remove_perm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.api import senders
from activity.models import Event
from repositories.access.resolving import Access
from repositories.accounts import tokens
from repositories.models import AccessToken, Repository
from tests import factories, services
from tests.worlds import NAMESPACES, USERS, World, rolled_back, worlds

# --- Every endpoint -----------------------------------------------------------------------------

# Columns are separated by at least two spaces. Each cell contains the statuses of a GET and a POST request.
TABLE = """
endpoint           read      write     both      acme/*    acme/web  globex/*  expired   revoked   deactivated

notifications      405, 403  405, 200  405, 200  405, 403  405, 403  405, 403  401, 401  401, 401  401, 401
events             200, 403  403, 201  200, 201  200, 201  200, 201  200, 403  401, 401  401, 401  401, 401
kinds              200, 405  403, 405  200, 405  200, 405  200, 405  200, 405  401, 401  401, 401  401, 401
histogram          200, 405  403, 405  200, 405  200, 405  200, 405  200, 405  401, 401  401, 401  401, 401
event              200, 405  403, 405  200, 405  200, 405  200, 405  404, 405  401, 401  401, 401  401, 401
tail               200, 405  403, 405  200, 405  200, 405  200, 405  200, 405  401, 401  401, 401  401, 401
export             200, 405  403, 405  200, 405  200, 405  200, 405  200, 405  401, 401  401, 401  401, 401
repositories       200, 405  403, 405  200, 405  200, 405  200, 405  200, 405  401, 401  401, 401  401, 401
repository-events  200, 405  403, 405  200, 405  200, 405  200, 405  404, 405  401, 401  401, 401  401, 401
tags               200, 405  403, 405  200, 405  200, 405  200, 405  404, 405  401, 401  401, 401  401, 401
me                 200, 405  200, 405  200, 405  200, 405  200, 405  200, 405  401, 401  401, 401  401, 401
schema             200, 405  200, 405  200, 405  200, 405  200, 405  200, 405  401, 401  401, 401  401, 401
docs               302, 302  302, 302  302, 302  302, 302  302, 302  302, 302  302, 302  302, 302  302, 302
"""
"""The documentation is a page for people who have logged in. It redirects everyone else to the login."""

ROWS = [line.split("  ") for line in TABLE.splitlines() if line]
HEADINGS, *CELLS = [[cell.strip() for cell in row if cell.strip()] for row in ROWS]
EXPECTED = {name: dict(zip(HEADINGS[1:], cells, strict=True)) for name, *cells in CELLS}

EVENT = {
    "id": "1",
    "kind": "promote",
    "repository": "acme/web",
    "tag": "v1",
    "occurred_at": "2026-11-22T12:00:00Z",
}
BODIES: dict[str, Any] = {"notifications": {"events": []}}

TOKENS: dict[str, dict[str, Any]] = {
    "read": {"can_write": False},
    "write": {"can_read": False},
    "acme/*": {"restricted_to": "acme/*"},
    "acme/web": {"restricted_to": "acme/web"},
    "globex/*": {"restricted_to": "globex/*"},
}


def endpoint_names() -> set[str]:
    """Return the names of all endpoints."""
    _, resolver = get_resolver().namespace_dict["registry_api"]
    names = {getattr(pattern, "name", None) for pattern in resolver.url_patterns}
    return {name for name in names if name}


@pytest.fixture
def owner(web: Repository) -> Any:
    """Somebody who can see acme/web, and may add events."""
    owner = factories.user_with("level_admin", web)
    factories.grant_add_event_permission(owner)
    return owner


@pytest.mark.parametrize("holder", HEADINGS[1:])
@pytest.mark.parametrize("name", EXPECTED)
def test_token_gets_the_status_of_the_table(owner: Any, web: Repository, name: str, holder: str) -> None:
    event = factories.record("update_tag", web, tag="v1")
    arguments: dict[str, list[Any]] = {"event": [event.pk], "repository-events": ["acme", "web"]}
    arguments["tags"] = arguments["repository-events"]
    url = reverse(f"registry_api:{name}", args=arguments.get(name, []))
    headers = factories.bearer(owner, **TOKENS.get(holder, {}))
    if holder == "expired":
        AccessToken.objects.update(expiry=factories.NOON)
    elif holder == "revoked":
        AccessToken.objects.all().delete()
    elif holder == "deactivated":
        owner.is_active = False
        owner.save()

    got: Any = Client().get(url, headers=headers)
    if got.streaming:
        got.getvalue()  # an unread export would count as one that is being streamed
    posted = Client().post(url, BODIES.get(name, EVENT), content_type="application/json", headers=headers)

    assert f"{got.status_code}, {posted.status_code}" == EXPECTED[name][holder]


def test_table_contains_every_endpoint() -> None:
    assert endpoint_names() == EXPECTED.keys()


# --- Never further than the owner ---------------------------------------------------------------


def test_token_reaches_no_further_than_its_owner_does_now(web: Repository) -> None:
    owner = factories.user_with("level_read", web)
    factories.grant_add_event_permission(owner)
    headers = factories.bearer(owner, restricted_to="acme/*")
    url = "/api/v0/repositories/acme/web/events/"
    assert Client().get(url, headers=headers).status_code == 200

    owner.user_permissions.clear()
    remove_perm("level_read", owner, web)

    assert Client().get(url, headers=headers).status_code == 404
    posted = Client().post("/api/v0/events/", EVENT, content_type="application/json", headers=headers)
    assert posted.status_code == 403


@pytest.mark.long
@pytest.mark.django_db
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    viewer=st.sampled_from([*USERS, "admin", "auditor"]),
    namespaces=st.sets(st.sampled_from([n for n in NAMESPACES if n != "_"] + ["nothing"])),
    numbers=st.sets(st.integers(0, 5)),
    can_read=st.sampled_from([True, True, False]),
)
def test_restricted_token_shows_what_its_owner_sees_in_the_places(
    world: World, viewer: str, namespaces: set[str], numbers: set[int], can_read: bool
) -> None:
    with rolled_back():
        world.build()
        owner, rows = world.created[viewer], world.created["repositories"]
        chosen = [row.full_name for number, row in enumerate(rows) if number in numbers]
        places = [*(f"{name}/*" for name in namespaces), *chosen] or ["nothing/at-all"]
        expected = sorted(
            id
            for id, event in zip(world.created["events"], world.events, strict=True)
            if can_read
            and world.can_see(viewer, *event)
            and event[0] is not None
            and rows[event[0]].deleted_at is None
            and (rows[event[0]].full_name in chosen or rows[event[0]].namespace.name in namespaces)
        )
        factories.new_token(owner, restricted_to="\n".join(places), can_read=can_read)
        tokens.attach(token := AccessToken.objects.get())
        access = Access.for_user(token.user)

        assert sorted(str(event.pk) for event in Event.objects.visible_to(access)) == expected
        for row in (row for row in rows if row.deleted_at is None):
            visible = Event.objects.visible_to(access, row)
            assert {str(event.pk) for event in visible} == {
                str(event.pk) for event in Event.objects.filter(pk__in=expected, repository=row)
            }
        assert not Event.objects.for_own_account(access).exists()
        assert not access.sees_everything


@pytest.mark.parametrize("place", ["acme/*", "acme/web"])
def test_restricted_token_of_an_msr_admin_shows_only_its_places(web: Repository, place: str) -> None:
    shown = factories.record("update_tag", web, tag="v1")
    factories.record("update_tag", "globex/api", tag="v1")
    headers = factories.bearer(factories.msr_admin(), restricted_to=place)

    events = Client().get("/api/v0/events/", headers=headers).json()["results"]
    repositories = Client().get("/api/v0/repositories/", headers=headers).json()["results"]

    assert [event["id"] for event in events] == [str(shown.pk)]
    assert events[0]["delivered_by"] is None
    assert [repository["name"] for repository in repositories] == ["acme/web"]
    assert Client().get("/metrics", headers=headers).status_code == 401


LISTS = ["events", "kinds", "histogram", "tail", "export", "repositories", "repository-events", "tags", "me"]


@pytest.mark.parametrize("name", LISTS)
def test_restricted_token_of_an_msr_admin_is_answered_as_if_there_were_nothing_else(
    web: Repository, name: str
) -> None:
    arguments = ["acme", "web"] if name in ("repository-events", "tags") else []
    url = reverse(f"registry_api:{name}", args=arguments)
    headers = factories.bearer(factories.msr_admin(), restricted_to="acme/*")
    factories.record("update_tag", web, tag="v1", occurred_at=factories.NOON)

    before, after = factories.NOON.isoformat(), (factories.NOON + timedelta(hours=2)).isoformat()
    query = {"after": before, "before": after} if name == "histogram" else {}
    answers = []
    for tag in ("v1", "v2"):
        answer: Any = Client().get(url, query, headers=headers)
        content = answer.getvalue() if answer.streaming else answer.content
        answers.append(content.decode())
        factories.record(
            "update_tag", "globex/api", tag=tag, occurred_at=factories.NOON + timedelta(minutes=1)
        )

    assert "globex" not in answers[1]
    if name not in ("tail", "export"):  # whose cursors contain the newest position
        assert answers[0] == answers[1]


def test_write_token_reads_no_feed_and_no_metrics(web: Repository) -> None:
    admin = factories.msr_admin(username="admin")
    token = factories.new_token(admin, can_read=False)
    basic = base64.b64encode(f"admin:{token}".encode()).decode()

    assert Client().get("/activity/atom/", headers={"authorization": f"Basic {basic}"}).status_code == 401
    assert Client().get("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == 401


def test_feed_of_a_restricted_token_shows_only_its_places(web: Repository) -> None:
    for name in ("acme/web", "globex/api"):
        factories.record("update_tag", name, tag="v1")
    token = factories.new_token(factories.msr_admin(username="admin"), restricted_to="acme/*")
    basic = {"authorization": "Basic " + base64.b64encode(f"admin:{token}".encode()).decode()}

    feed = Client().get("/activity/atom/", headers=basic).content.decode()

    assert "acme/web:v1" in feed
    assert "globex" not in feed
    assert Client().get("/organizations/acme/activity/atom/", headers=basic).status_code == 404


def test_view_that_declares_no_scope_refuses_tokens(owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activity.api.views.EventListView.scopes", {})

    response = Client().get("/api/v0/events/", headers=factories.bearer(owner))

    assert response.status_code == 403
    assert "can't be used here" in response.content.decode()


def test_events_outside_the_restriction_are_refused(owner: Any) -> None:
    headers = factories.bearer(owner, restricted_to="acme/new\nglobex/*")
    names = ["acme/new", "globex/any", "acme/web"]
    events = [{**EVENT, "id": name, "repository": name} for name in names]

    response = Client().post("/api/v0/events/", events, content_type="application/json", headers=headers)

    assert [result["status"] for result in response.json()] == [201, 201, 403]
    assert "acme/web" in response.json()[2]["errors"][0]["detail"]
    assert not Event.objects.filter(repository_name="acme/web").exists()


# --- Last use -----------------------------------------------------------------------------------


def test_token_keeps_the_address_of_its_last_use(owner: Any) -> None:
    headers = factories.bearer(owner)

    Client(REMOTE_ADDR="192.0.2.7").get("/api/v0/events/", headers=headers)

    assert AccessToken.objects.get().last_used_from == "192.0.2.7"
    AccessToken.objects.update(last_used_at=factories.NOON)
    senders.forget()
    Client(REMOTE_ADDR="2001:db8::1").post(
        "/api/v0/notifications/registry/", {"events": []}, content_type="application/json", headers=headers
    )
    assert AccessToken.objects.get().last_used_from == "2001:db8::1"


# --- The admin ----------------------------------------------------------------------------------


ADMIN = "/admin/registry_repositories/accesstoken/"


def test_admin_creates_and_lists_tokens(owner: Any, admin: Client) -> None:
    values = {"name": "SIEM", "user": owner.pk, "can_read": "on", "restricted_to": "acme/*"}

    assert admin.post(f"{ADMIN}add/", values).status_code == 302

    token = AccessToken.objects.get()
    assert (token.user, token.can_read, token.can_write) == (owner, True, False)
    assert token.restricted_to == "acme/*"
    for url in (f"{ADMIN}?user__exact={owner.pk}", f"{ADMIN}{token.pk}/change/"):
        page = admin.get(url).content.decode()
        assert all(text in page for text in ("SIEM", f"{token.token_key[:8]}…", owner.username, "acme/*"))


@pytest.mark.parametrize("values", [{}, {"can_read": "on", "restricted_to": "acme/"}], ids=str)
def test_admin_refuses_tokens_without_a_scope_or_with_invalid_places(
    owner: Any, admin: Client, values: dict[str, str]
) -> None:
    answer = admin.post(f"{ADMIN}add/", {"name": "SIEM", "user": owner.pk, **values})

    assert answer.status_code == 200
    assert not AccessToken.objects.exists()


# --- Limits -------------------------------------------------------------------------------------


@pytest.fixture
def three_reads(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REGISTRY_ACTIVITY = {**settings.REGISTRY_ACTIVITY, "READS_PER_MINUTE": 3}
    monkeypatch.setattr("repositories.accounts.throttling.time", lambda: 1_000.0)


def test_reading_is_limited_for_each_token_and_recording_is_not(owner: Any, three_reads: None) -> None:
    headers = factories.bearer(owner)
    urls = ["/api/v0/events/", "/api/v0/repositories/", "/api/v0/events/?type=DELETE", "/api/v0/events/"]

    answers = [Client().get(url, headers=headers) for url in urls]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer["RateLimit-Limit"] for answer in answers} == {"3"}
    assert answers[3]["Retry-After"] == answers[3]["RateLimit-Reset"] == "20"
    for url, body in (("/api/v0/events/", EVENT), ("/api/v0/notifications/registry/", {"events": []})):
        posted = Client().post(url, body, content_type="application/json", headers=headers)
        assert posted.status_code in (200, 201)
        assert "RateLimit-Limit" not in posted
    other = Client().get("/api/v0/events/", headers=factories.bearer(owner))
    assert (other.status_code, other["RateLimit-Remaining"]) == (200, "2")


def test_limit_begins_again_after_a_minute(
    owner: Any, three_reads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, moments = factories.bearer(owner), iter([960.0, 980.0, 1_000.0, 1_019.9, 1_020.0])
    monkeypatch.setattr("repositories.accounts.throttling.time", lambda: next(moments))

    statuses = [Client().get("/api/v0/events/", headers=headers).status_code for _ in range(5)]

    assert statuses == [200, 200, 200, 429, 200]


COUNT_ELSEWHERE = """
import django, sys
django.setup()
from repositories.accounts import throttling
from repositories.models import AccessToken
throttling.time = lambda: 1_000.0
print(throttling.count(AccessToken(pk=sys.argv[1])).count)
"""


def test_requests_are_counted_over_all_processes(
    owner: Any, three_reads: None, settings: Any, redis_url: str
) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url}
    }
    headers = factories.bearer(owner)
    key = AccessToken.objects.get(user=owner).pk
    assert Client().get("/api/v0/events/", headers=headers)["RateLimit-Remaining"] == "2"

    process = subprocess.run(
        [sys.executable, "-c", COUNT_ELSEWHERE, key],
        env={**os.environ, "REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=True,
    )

    assert process.stdout.split() == ["2"]
    assert Client().get("/api/v0/events/", headers=headers)["RateLimit-Remaining"] == "0"


def test_nothing_is_limited_while_the_cache_is_down(owner: Any, three_reads: None, settings: Any) -> None:
    nobody = f"redis://{services.LOOPBACK}:{services.free_port()}"
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": nobody}
    }
    headers = factories.bearer(owner)

    answers = [Client().get("/api/v0/events/", headers=headers) for _ in range(4)]

    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit-Limit" not in answers[0]


def test_feeds_are_limited_too(owner: Any, three_reads: None) -> None:
    token = factories.new_token(owner)
    basic = base64.b64encode(f"{owner.username}:{token}".encode()).decode()

    statuses = [
        Client().get("/activity/atom/", headers={"authorization": f"Basic {basic}"}).status_code
        for _ in range(4)
    ]

    assert statuses == [200, 200, 200, 429]


def test_limit_can_be_turned_off_and_does_not_apply_to_sessions(
    owner: Any, three_reads: None, settings: Any, log_in: Any
) -> None:
    client = log_in(owner)
    assert {client.get("/api/v0/events/").status_code for _ in range(4)} == {200}

    settings.REGISTRY_ACTIVITY = {**settings.REGISTRY_ACTIVITY, "READS_PER_MINUTE": None}
    answer = Client().get("/api/v0/events/", headers=factories.bearer(owner))
    assert "RateLimit-Limit" not in answer
