"""MSR admins dispute what an account or a token delivered: shown everywhere, held, and recorded."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from activity.models import Dispute, Event
from repositories.models import AccessToken
from tests import factories
from tests.deletion import JANUARY, add_events, execute_run, remaining_events, turn_on
from tests.worlds import rolled_back

pytest_plugins = ["tests.deletion_fixtures"]
pytestmark = pytest.mark.django_db

LogIn = Callable[[Any], Client]
ADMIN = "/admin/registry_activity/dispute/"
LEAKED, OTHER = "4f1c09ab6d3e2f1", "90bb13cd0000000"
RECEIVED = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def registry() -> Any:
    return factories.producer(username="acme-registry")


@pytest.fixture
def events(registry: Any) -> dict[str, Event]:
    """Pushes to a public repository, by tag: forged, earlier, and delivered by another token or by nobody."""
    web = factories.repository("acme/web", public=True)
    found: dict[str, Event] = {}
    for tag, account, token, delay in [
        ("forged", registry, LEAKED, 1),
        ("earlier", registry, LEAKED, -1),
        ("other-token", registry, OTHER, 1),
        ("local", None, "", 1),
    ]:
        (found[tag],) = add_events(
            1,
            JANUARY + timedelta(minutes=len(found)),
            kind="update_tag",
            repository=web,
            repository_name="acme/web",
            tag=tag,
            delivered_by=account,
            delivered_with=token,
            received_at=RECEIVED + timedelta(minutes=delay),
        )
    return found


def dispute(client: Client, account: Any, **values: Any) -> Any:
    form = {"account": account.pk, "token_key": LEAKED, "reason": "Leaked.", "since_0": "2026-11-22"}
    return client.post(
        f"{ADMIN}add/", {**form, "since_1": "12:00:00", "until_0": "", "until_1": "", **values}
    )


def disputed_tags(client: Client) -> set[str]:
    """Return the tags that the API shows as disputed, after comparing it with the exports and the page."""
    results = client.get("/api/v0/events/?category=push").json()["results"]
    tags = {event["tag"].partition(":")[2] for event in results if event["disputed"]}
    exported = client.post("/activity/", {"export": "csv"}).getvalue().decode("utf-8-sig")
    rows = csv.DictReader(io.StringIO(exported, newline=""))
    assert {row["tag"].partition(":")[2] for row in rows if row["disputed"] == "true"} == tags
    for url in ("/activity/", "/activity/atom/", "/repositories/acme/web/activity/"):
        assert client.get(url).content.decode().count("(disputed)") == len(tags)
    for event in results:
        assert client.get(f"/api/v0/events/{event['id']}/").json()["disputed"] == event["disputed"]
    return tags


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        ({}, {"forged"}),
        ({"token_key": LEAKED[:8]}, {"forged"}),
        ({"token_key": ""}, {"forged", "other-token"}),
        ({"since_0": "2026-11-21"}, {"forged", "earlier"}),
        ({"since_0": "2026-11-21", "until_0": "2026-11-22", "until_1": "12:00:00"}, {"earlier"}),
    ],
)
def test_disputed_events_are_shown_as_such_to_everyone(
    events: dict[str, Event], registry: Any, log_in: LogIn, values: dict[str, str], tags: set[str]
) -> None:
    admin = log_in(factories.msr_admin())
    assert dispute(admin, registry, **values).status_code == 302

    assert disputed_tags(log_in(factories.UserFactory())) == tags
    for event in events.values():
        page = admin.get(f"/admin/registry_activity/event/{event.pk}/change/").content.decode()
        assert ('<div class="readonly">Update Tag (disputed)</div>' in page) == (event.tag in tags)
    assert admin.get("/admin/registry_activity/event/").content.decode().count("(disputed)") == len(tags)


@pytest.mark.audited
def test_disputing_and_lifting_are_recorded_with_the_name_of_the_admin(
    events: dict[str, Event], registry: Any, log_in: LogIn
) -> None:
    admin = log_in(factories.msr_admin(username="iris"))
    dispute(admin, registry)
    row = Dispute.objects.get()
    admin.post(ADMIN, {"action": "lift", "_selected_action": row.pk})

    recorded = Event.objects.filter(kind__in=["create_dispute", "lift_dispute"]).order_by("pk")
    assert [(event.kind, event.actor_name) for event in recorded] == [
        ("create_dispute", "iris"),
        ("lift_dispute", "iris"),
    ]
    assert row.disputed_by.get_username() == "iris"  # type: ignore[union-attr]
    assert disputed_tags(admin) == set()


def test_only_msr_admins_can_dispute(events: dict[str, Event], registry: Any, log_in: LogIn) -> None:
    auditor = log_in(factories.auditor())

    assert auditor.get(ADMIN).status_code == 200
    assert dispute(auditor, registry).status_code == 403
    assert not Dispute.objects.exists()


def test_event_links_to_the_form(events: dict[str, Event], registry: Any, log_in: LogIn) -> None:
    admin = log_in(factories.msr_admin())
    page = admin.get(f"/admin/registry_activity/event/{events['forged'].pk}/change/").content.decode()
    url = page.partition(f'href="{ADMIN}add/?')[2].partition('"')[0].replace("&amp;", "&")

    form = admin.get(f"{ADMIN}add/?{url}").context["adminform"].form
    assert form.initial["account"] == str(registry.pk)
    assert form.initial["token_key"] == LEAKED
    assert "2026-11-22" in str(form["since"])


@pytest.mark.parametrize("page", ["auth/user", "registry_repositories/accesstoken"])
def test_pages_of_account_and_token_link_to_the_form(registry: Any, log_in: LogIn, page: str) -> None:
    factories.new_token(registry)
    token = AccessToken.objects.get()
    url = f"/admin/{page}/{registry.pk if page == 'auth/user' else token.pk}/change/"
    admin = log_in(factories.msr_admin())
    html = admin.get(url).content.decode()
    query = html.partition(f'href="{ADMIN}add/?')[2].partition('"')[0].replace("&amp;", "&")

    initial = admin.get(f"{ADMIN}add/?{query}").context["adminform"].form.initial
    expected = {"account": str(registry.pk), "token_key": token.token_key}
    assert initial == ({"account": str(registry.pk)} if page == "auth/user" else expected)
    assert f"{ADMIN}add/" not in log_in(factories.auditor()).get(url).content.decode()


def test_disputed_events_are_held_until_the_dispute_is_lifted(
    events: dict[str, Event], registry: Any
) -> None:
    Dispute.objects.create(account=registry, token_key=LEAKED, since=RECEIVED, reason="Leaked.")
    turn_on(max_events=1)
    execute_run()
    assert events["forged"] in remaining_events()
    assert events["earlier"] not in remaining_events()

    Dispute.objects.get().delete()
    add_events(1, JANUARY + timedelta(hours=1))
    execute_run()
    assert events["forged"] not in remaining_events()


def test_lists_make_as_many_queries_with_many_disputes_as_without(
    events: dict[str, Event], registry: Any, log_in: LogIn
) -> None:
    client = log_in(factories.UserFactory())

    def queries() -> list[int]:
        counts = []
        for url in ("/api/v0/events/", "/activity/", "/activity/atom/"):
            with CaptureQueriesContext(connection) as captured:
                client.get(url)
            counts.append(len(captured))
        return counts

    queries()
    expected = queries()
    for _ in range(5):
        Dispute.objects.create(account=registry, since=RECEIVED, reason="Leaked.")
    assert queries() == expected


minutes = st.integers(0, 3).map(lambda number: RECEIVED + timedelta(minutes=number))


@given(
    token=st.sampled_from(["", LEAKED, OTHER]),
    same_account=st.booleans(),
    received=minutes,
    key=st.sampled_from(["", LEAKED, LEAKED[:8]]),
    since=minutes,
    until=minutes | st.none(),
)
def test_held_events_are_those_shown_as_disputed(
    token: str, same_account: bool, received: datetime, key: str, since: datetime, until: datetime | None
) -> None:
    with rolled_back():
        accounts = [factories.UserFactory(), factories.UserFactory()]
        add_events(1, delivered_by=accounts[same_account], delivered_with=token, received_at=received)
        row = Dispute(account=accounts[1], token_key=key, since=since, until=until)

        event = Event.objects.get()
        assert Event.objects.filter(row.events).exists() == row.includes(event)
        assert Event.objects.exclude(row.events).exists() != row.includes(event)
