"""However the messages of a real registry arrive, they leave the same events, each once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.running import Application, application

# Two pushes of one image under two tags, a pull and a deletion; here of a repository never seen before.
CAPTURE = Path(__file__).with_name("skopeo-1.9-registry-2.8.jsonl")
MESSAGES = CAPTURE.read_text().replace("acme/web", "fresh/web").splitlines()
IMAGE = "sha256:091abecba022a088aa5a7c98264763fc9af539034902ba080dc8ea55f0faad61"

# Kind, tag, digest, who, and when (in the minute 10:37 of that day), newest first.
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


def by_eight_clients_at_once(send: Send) -> None:
    """Each of them delivers everything, in an order of its own."""
    with ThreadPoolExecutor(8) as clients:
        for done in [clients.submit(shuffled(seed), send) for seed in range(8)]:
            done.result()


def events_after(deliver: Callable[[Send], None], folder: Path) -> list[dict[str, Any]]:
    """Return all events of its repository after a delivery to a new installation, which refused nothing.

    What differs between installations is left out: their address, and when they received it.
    """
    with application(folder) as app:
        deliver(lambda message: send(app, message))
        assert "Traceback" not in app.log("web")
        events = json.loads(json.dumps(app.events("admin", repository="fresh/web")).replace(app.url, ""))
    return [{key: value for key, value in event.items() if key != "received_at"} for event in events]


def send(app: Application, message: str) -> None:
    response = app.notify(message)
    assert response.status_code == 200, response.text
    assert response.json()["stored_aside"] == 0


def without_registration(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["label"] != "Create Repository"]


def told(events: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Return the events as `EVENTS` has them, with the rest of what they tell checked."""
    assert {event["repository"] for event in events} == {"fresh/web"}
    day = "2026-11-22T10:37:"
    assert all(event["occurred_at"].startswith(day) for event in events)
    return [
        (
            event["label"],
            event["tag"],
            event["digest"],
            event["actor"]["label"],
            event["occurred_at"].removeprefix(day),
        )
        for event in events
    ]


@pytest.fixture(scope="module")
def events_in_order(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return events_after(in_order, tmp_path_factory.mktemp("in-order"))


def test_in_order(events_in_order: list[dict[str, Any]]) -> None:
    *events, registration = told(events_in_order)

    assert events == EVENTS
    # The registration comes first of all that happened in the repository.
    assert registration == ("Create Repository", "", "", "repoadmin", "10.173601Z")


@pytest.mark.parametrize(
    "deliver",
    [shuffled(1), shuffled(2), shuffled(3), each_twice, in_one_envelope, by_eight_clients_at_once],
    ids=["shuffled-1", "shuffled-2", "shuffled-3", "each-twice", "in-one-envelope", "by-eight-at-once"],
)
def test_otherwise(
    deliver: Callable[[Send], None], events_in_order: list[dict[str, Any]], tmp_path: Path
) -> None:
    events = events_after(deliver, tmp_path)

    # Who is said to have created the repository, and when, depends on whom was heard of first.
    assert without_registration(events) == without_registration(events_in_order)
    assert len(events) == len(events_in_order)
