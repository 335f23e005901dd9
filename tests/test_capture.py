"""Messages captured from a real registry produce the same events however they are delivered."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.running import Application, application

# The messages report that an image was pushed twice, under two tags, and was then pulled and deleted.
# The repository in the messages is renamed, because acme/web already exists in the application.
CAPTURE = Path(__file__).with_name("skopeo-1.9-registry-2.8.jsonl")
MESSAGES = CAPTURE.read_text().replace("acme/web", "fresh/web").splitlines()
IMAGE = "sha256:091abecba022a088aa5a7c98264763fc9af539034902ba080dc8ea55f0faad61"

# The label, tag, digest, actor and time of each event, newest first. Dates, hours and minutes are omitted,
# because all events occurred on 2026-11-22 at 10:37.
EVENTS = [
    ("Delete Tag", "fresh/web:v1", "", "repoadmin", "16.363882Z"),
    ("Delete Tag", "fresh/web:latest", "", "repoadmin", "16.361685Z"),
    ("Delete Manifest", "", IMAGE, "repoadmin", "16.359593Z"),
    ("Get Tag", "fresh/web:v1", IMAGE, "repoadmin", "16.353530Z"),
    ("Get Tag", "fresh/web:latest", IMAGE, "reader", "14.284657Z"),
    ("Update Tag", "fresh/web:v1", IMAGE, "repoadmin", "12.244732Z"),
    ("Create Manifest", "", IMAGE, "repoadmin", "12.244732Z"),
    ("Update Tag", "fresh/web:latest", IMAGE, "repoadmin", "10.173601Z"),
    ("Create Manifest", "", IMAGE, "repoadmin", "10.173601Z"),
]

Send = Callable[[str], None]


def in_order(send: Send) -> None:
    for message in MESSAGES:
        send(message)


def shuffled(seed: int) -> Callable[[Send], None]:
    def deliver(send: Send) -> None:
        for message in random.Random(seed).sample(MESSAGES, len(MESSAGES)):
            send(message)

    return deliver


def each_twice(send: Send) -> None:
    for message in MESSAGES:
        send(message)
        send(message)


def in_one_envelope(send: Send) -> None:
    send(json.dumps({"events": [event for message in MESSAGES for event in json.loads(message)["events"]]}))


def by_eight_clients(send: Send) -> None:
    """Deliver all messages from eight clients concurrently, each in a different order."""
    with ThreadPoolExecutor(8) as clients:
        for done in [clients.submit(shuffled(seed), send) for seed in range(8)]:
            done.result()


def events_after(deliver: Callable[[Send], None], folder: Path) -> list[dict[str, Any]]:
    """Deliver the messages to a new installation, and return the repository's events.

    The site's URL and the receipt times are removed, because they differ between installations.
    """
    with application(folder) as app:
        deliver(lambda message: send(app, message))
        assert "Traceback" not in app.log("web")
        events = json.loads(json.dumps(app.events("admin", repository="fresh/web")).replace(app.url, ""))
    return [{key: value for key, value in event.items() if key != "received_at"} for event in events]


def send(app: Application, message: str) -> None:
    response = app.notify(message)
    assert response.status_code == 200, response.text
    assert response.json()["dead_letters"] == 0


def without_creation(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["label"] != "Create Repository"]


def summarize(events: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Return the events in the same format as `EVENTS`. Check their repository, date, hour and minute."""
    assert {event["repository"] for event in events} == {"fresh/web"}
    minute = "2026-11-22T10:37:"
    assert all(event["occurred_at"].startswith(minute) for event in events)
    return [
        (
            event["label"],
            event["tag"],
            event["digest"],
            event["actor"]["label"],
            event["occurred_at"].removeprefix(minute),
        )
        for event in events
    ]


@pytest.fixture(scope="module")
def events_in_order(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return events_after(in_order, tmp_path_factory.mktemp("in-order"))


def test_captured_messages_are_recorded_as_events(events_in_order: list[dict[str, Any]]) -> None:
    *events, creation = summarize(events_in_order)

    assert events == EVENTS
    # The oldest event records the creation of the repository.
    assert creation == ("Create Repository", "", "", "repoadmin", "10.173601Z")


@pytest.mark.long
@pytest.mark.parametrize(
    "deliver",
    [shuffled(1), shuffled(2), shuffled(3), each_twice, in_one_envelope, by_eight_clients],
    ids=["shuffled-1", "shuffled-2", "shuffled-3", "each-twice", "in-one-envelope", "by-eight-clients"],
)
def test_captured_messages_produce_the_same_events_however_they_are_delivered(
    deliver: Callable[[Send], None], events_in_order: list[dict[str, Any]], tmp_path: Path
) -> None:
    events = events_after(deliver, tmp_path)

    # The creation event takes its actor and time from whichever message arrived first, so it may differ.
    assert without_creation(events) == without_creation(events_in_order)
    assert len(events) == len(events_in_order)
