"""Messages have the same result in any order, delivered twice, grouped differently, or by eight clients.

The exceptions are inherent to events that are never changed. A pull whose HEAD request or index arrives after
it is recorded without the tag, and without the pull that it belongs to. The event of a new repository has the
time and actor of the push that arrives first, and is missing if a pull or deletion arrives before that push.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from activity.models import DeadLetter
from activity.sources import recorder
from tests import factories
from tests.capture_files import (
    CAPTURES,
    Capture,
    Notification,
    Shown,
    in_folder,
    message_of,
    read_events,
    read_tags,
    shown,
    with_pulls,
)
from tests.running import application, poll

each_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)
# Shrinking an example would take minutes.
some_examples = settings(max_examples=5, phases=[Phase.generate], suppress_health_check=list(HealthCheck))

Result = dict[str, Any]
"""An event, as the events API returns it."""
PULLS = ("Get Tag", "Get Manifest")


# --- Orders -------------------------------------------------------------------------------------


def method(notification: Notification) -> str:
    return notification.get("request", {}).get("method", "")


def is_index(notification: Notification) -> bool:
    media_type = notification.get("target", {}).get("mediaType", "")
    return media_type.endswith(("image.index.v1+json", "manifest.list.v2+json"))


def phases(notifications: Iterable[Notification]) -> list[list[Notification]]:
    """Divide notifications into phases, so that their order within a phase makes no difference.

    Pushes come before pulls, HEAD requests before GET requests, and indexes before their manifests.
    """
    found: list[list[Notification]] = [[], [], [], []]
    for notification in notifications:
        if notification.get("action") == "push":
            found[0].append(notification)
        elif method(notification) == "HEAD":
            found[1].append(notification)
        elif method(notification) == "GET" and is_index(notification):
            found[2].append(notification)
        else:
            found[3].append(notification)
    return found


@st.composite
def groupings(draw: st.DrawFn, notifications: list[Notification]) -> list[str]:
    """Generate messages that contain the notifications in order, one or more in each message."""
    messages = []
    while notifications:
        size = draw(st.integers(1, 4))
        messages.append(message_of(*notifications[:size]))
        notifications = notifications[size:]
    return messages


@st.composite
def any_orders(draw: st.DrawFn, notifications: list[Notification]) -> list[str]:
    """Generate messages that contain all notifications in any order, some of them twice."""
    repeated = draw(st.lists(st.sampled_from(notifications), max_size=len(notifications)))
    return draw(groupings(draw(st.permutations([*notifications, *repeated]))))


@st.composite
def orders_within_phases(draw: st.DrawFn, notifications: list[Notification]) -> list[str]:
    """Generate messages that contain all notifications in the order of their phases, some of them twice."""
    ordered = [
        notification
        for phase in phases(notifications)
        for notification in draw(st.permutations([*phase, *draw(some_of(phase))]))
    ]
    return draw(groupings(ordered + draw(some_of(notifications))))


def some_of(notifications: list[Notification]) -> st.SearchStrategy[list[Notification]]:
    return st.lists(st.sampled_from(notifications), max_size=4) if notifications else st.just([])


# --- Results ------------------------------------------------------------------------------------


def results_of(
    messages: Iterable[str],
    capture: Capture,
    registry: Any,
    admin: Client,
    finish: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Deliver messages, call `finish`, and return what an MSR admin is then shown. Everything is rolled back.

    Whatever depends on the order is left out: the times of receipt, the starts of nodes, and tags that a node
    whose clock is ahead has pushed, because its pushes count as of their receipt.
    """
    is_ahead = any(
        notification.get("timestamp", "") > timezone.now().isoformat()
        for notification in capture.notifications
    )
    with transaction.atomic():
        for name in capture.existing_repositories:
            factories.repository(name)
        for message in messages:
            assert registry(body=message.encode()).status_code in (200, 202)
        finish()
        events = [event for event in read_events(admin) if event["category"] != "system"]
        found = {
            "events": [{key: event[key] for key in event if key != "received_at"} for event in events],
            "dead letters": DeadLetter.objects.count(),
            "tags": {}
            if is_ahead
            else {name: read_tags(admin, name) for name in {event["repository"] for event in events}},
        }
        transaction.set_rollback(True)
    return found


def without_pulls(tags: dict[str, list[tuple[str, str]]]) -> dict[str, list[tuple[str, str]]]:
    """Leave out the cells that show when and how often a tag was pulled."""
    shown_to_readers = ("Tag", "SHA", "Pushed", "Pushed by")
    return {
        repository: [(label, text) for label, text in cells if label in shown_to_readers]
        for repository, cells in tags.items()
    }


def without_creations(events: list[Result]) -> list[Result]:
    return [event for event in events if event["label"] != "Create Repository"]


def creations(events: list[Result]) -> list[tuple[str, str]]:
    """Return the repository and actor of each Create Repository event."""
    labels = [event for event in events if event["label"] == "Create Repository"]
    return sorted((event["repository"], event["actor"]["label"]) for event in labels)


def without_tags_of_pulls(events: list[Result], notifications: list[Notification]) -> list[Result]:
    """Blank the values that a pull by digest takes from earlier requests."""
    with_tag = {
        notification.get("id") for notification in notifications if notification.get("target", {}).get("tag")
    }
    return [
        {**event, "label": "", "tag": "", "pull": None}
        if event["category"] == "pull" and event["details"]["notification_id"] not in with_tag
        else event
        for event in events
    ]


# --- Tests --------------------------------------------------------------------------------------


@pytest.fixture
def once(capture: Capture, registry: Any, admin: Client) -> dict[str, Any]:
    """What an MSR admin is shown if each message is delivered once, as the registry sent it."""
    return results_of(capture.messages, capture, registry, admin)


@pytest.mark.long
@each_capture
@some_examples
@given(data=st.data())
def test_order_and_repetition_change_only_the_tags_of_pulls_by_digest(
    data: st.DataObject, capture: Capture, once: dict[str, Any], registry: Any, admin: Client
) -> None:
    messages = data.draw(any_orders(capture.notifications))

    found = results_of(messages, capture, registry, admin)

    assert found["dead letters"] == once["dead letters"]
    assert without_pulls(found["tags"]) == without_pulls(once["tags"])
    comparable = [
        without_tags_of_pulls(without_creations(results["events"]), capture.notifications)
        for results in (found, once)
    ]
    assert comparable[0] == comparable[1]
    # Each repository is created at most once, and only by a push.
    assert not Counter(repository for repository, _ in creations(found["events"])) - Counter(
        repository for repository, _ in creations(once["events"])
    )


@pytest.mark.long
@each_capture
@some_examples
@given(data=st.data())
def test_order_makes_no_difference_among_head_requests_and_among_the_pulls_after_them(
    data: st.DataObject, capture: Capture, once: dict[str, Any], registry: Any, admin: Client
) -> None:
    messages = data.draw(orders_within_phases(capture.notifications))

    found = results_of(messages, capture, registry, admin)

    assert without_creations(found["events"]) == without_creations(once["events"])
    assert found["tags"] == once["tags"]
    assert found["dead letters"] == once["dead letters"]
    pushers = {(event["repository"], event["actor"]["label"]) for event in once["events"]}
    created = creations(found["events"])
    assert [repository for repository, _ in created] == [name for name, _ in creations(once["events"])]
    assert set(created) <= pushers


@pytest.mark.long
@each_capture
@some_examples
@given(data=st.data())
def test_order_within_a_message_makes_no_difference(
    data: st.DataObject, capture: Capture, once: dict[str, Any], registry: Any, admin: Client
) -> None:
    shuffled = data.draw(st.permutations(capture.notifications))

    found = results_of([message_of(*shuffled)], capture, registry, admin)

    assert without_creations(found["events"]) == without_creations(once["events"])
    assert found["tags"] == once["tags"]
    assert found["dead letters"] == once["dead letters"]


@pytest.mark.long
@each_capture
@some_examples
@given(data=st.data())
def test_messages_have_the_same_result_one_by_one_and_in_batches(
    data: st.DataObject, capture: Capture, registry: Any, admin: Client, settings: Any
) -> None:
    messages = data.draw(any_orders(capture.notifications))
    size = data.draw(st.integers(1, len(messages)))

    def record() -> None:
        while recorder.record_batch(size):
            pass

    settings.REGISTRY_ACTIVITY = {"RECORD_IN_REQUEST": False}
    found = results_of(messages, capture, registry, admin, record)
    settings.REGISTRY_ACTIVITY = {"RECORD_IN_REQUEST": True}

    assert found == results_of(messages, capture, registry, admin)


# --- Eight clients ------------------------------------------------------------------------------

# The notifications of all captures, each capture in repositories of its own.
POOL = [
    in_folder(notification, f"c{number}")
    for number, capture in enumerate(CAPTURES)
    for notification in capture.notifications
]


Pool = dict[str, list[Shown]]
"""The events of each repository, oldest first, without the event of its creation."""


def expected_of_pool() -> Pool:
    """Return the expected events of all captures."""
    found: dict[str, list[Shown]] = defaultdict(list)
    for number, capture in enumerate(CAPTURES):
        for event in capture.expected:
            if event.label != "Create Repository":
                name = f"{event.repository}/c{number}"
                found[name].append(event._replace(repository=name))
    return {name: with_pulls(events) for name, events in found.items()}


def found_of_pool(events: list[Result]) -> Pool:
    found: dict[str, list[Result]] = defaultdict(list)
    for event in without_creations(events):
        found[event["repository"]].append(event)
    return {name: shown(events) for name, events in found.items() if name}


def by_eight_clients(notifications: list[Notification], send: Any, share: float = 1) -> None:
    """Deliver the notifications from eight clients at once, each client in an order of its own.

    Each client sends a random share of the notifications. Together, they send all.
    """

    def deliver(seed: int) -> None:
        rng = random.Random(seed)
        mine = [
            notification
            for number, notification in enumerate(notifications)
            if number % 8 == seed or rng.random() < share
        ]
        for notification in rng.sample(mine, len(mine)):
            send(message_of(notification))

    with ThreadPoolExecutor(8) as clients:
        for done in [clients.submit(deliver, seed) for seed in range(8)]:
            done.result()


def without_tags(pool: Pool) -> Pool:
    """Blank the values that a pull by digest takes from earlier requests, for all pulls."""
    return {
        name: [
            event._replace(label="", tag="", pull=None) if event.label in PULLS else event for event in events
        ]
        for name, events in pool.items()
    }


@pytest.mark.long
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite allows only one writer at a time")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_phases", [True, False], ids=["HEAD requests first", "at once"])
def test_eight_clients_at_once_record_the_events_of_one(
    in_phases: bool, registry: Any, admin: Client
) -> None:
    def send(message: str) -> None:
        try:
            # The answer is 202 if another client's request has recorded the message.
            assert registry(body=message.encode()).status_code in (200, 202)
        finally:
            connection.close()

    for phase in phases(POOL) if in_phases else [POOL]:
        by_eight_clients(phase, send, share=0.4)

    events = read_events(admin)
    normalize = (lambda events: events) if in_phases else without_tags
    assert normalize(found_of_pool(events)) == normalize(expected_of_pool())
    assert max(Counter(repository for repository, _ in creations(events)).values()) == 1
    assert DeadLetter.objects.count() == sum(capture.dead_letters for capture in CAPTURES)


@pytest.mark.long
def test_running_application_records_the_messages_of_eight_clients(tmp_path: Path) -> None:
    with application(tmp_path, variables={"RECORD_IN_REQUEST": "false"}) as app, app.program("recorder"):

        def send(message: str) -> None:
            response = app.notify(message)
            assert response.status_code in (200, 202), response.text

        for phase in phases(POOL):
            by_eight_clients(phase, send, share=0.2)
            assert poll(app.waiting, 0) == 0

        assert "Traceback" not in app.log("web") + app.log("recorder")
        events = app.events("admin")

    repositories = {
        notification["target"].get("repository") for notification in POOL if "target" in notification
    }
    # The demo data contains other events.
    ours = [event for event in events if event["repository"] in repositories]
    assert found_of_pool(ours) == expected_of_pool()
