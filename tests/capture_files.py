"""The captured messages in `tests/captures`, and what an MSR admin should be shown after their delivery."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).with_name("captures")


class Shown(NamedTuple):
    """The values of an event that a test compares."""

    label: str
    repository: str
    tag: str
    digest: str
    actor: str
    pull: int | None = None
    """The position, in the list of events, of the pull that the event belongs to."""


@dataclass(frozen=True)
class Capture:
    """The messages of one file, with the values of its `.events.json` file."""

    name: str
    messages: list[str]
    values: dict[str, Any]

    @property
    def expected(self) -> list[Shown]:
        """The expected events, oldest first."""
        return with_pulls([Shown(**event) for event in self.values["expected"]])

    @property
    def dead_letters(self) -> int:
        return self.values.get("dead_letters", 0)

    @property
    def existing_repositories(self) -> set[str]:
        """The names of the repositories that existed before the first message."""
        shown = self.values.get("shown", [])
        created = {event["repository"] for event in shown if event["label"] == "Create Repository"}
        return {event["repository"] for event in shown} - created

    @cached_property
    def notifications(self) -> list[dict[str, Any]]:
        return [event for message in self.messages for event in json.loads(message)["events"]]

    @property
    def nodes(self) -> set[str]:
        """The ids of the registry nodes, one for each start of a node."""
        sources = [notification.get("source", {}) for notification in self.notifications]
        return {source["instanceID"] for source in sources if "instanceID" in source}


def read(path: Path) -> Capture:
    return Capture(
        name=str(path.relative_to(FOLDER).with_suffix("")),
        messages=[line for line in path.read_text().splitlines() if line],
        values=json.loads(path.with_suffix(".events.json").read_text()),
    )


CAPTURES = [read(path) for path in sorted(FOLDER.glob("*/*.jsonl"))]


def with_pulls(events: list[Shown]) -> list[Shown]:
    """Set the pull of each event that belongs to another: a Get Manifest that has a tag.

    It belongs to the actor's latest Get Tag of that tag.
    """
    pulls: dict[tuple[str, str, str], int] = {}
    found = []
    for position, event in enumerate(events):
        key = (event.repository, event.tag, event.actor)
        if event.label == "Get Tag":
            pulls[key] = position
        is_part = event.label == "Get Manifest" and event.tag
        found.append(event._replace(pull=pulls[key]) if is_part else event)
    return found


def shown(results: Iterable[dict[str, Any]]) -> list[Shown]:
    """Return the events of registries, oldest first, from the results of the events API."""
    events = [event for event in reversed(list(results)) if event["category"] != "system"]
    positions = {event["id"]: position for position, event in enumerate(events)}
    return [
        Shown(
            label=event["label"],
            repository=event["repository"],
            tag=event["tag"].removeprefix(event["repository"]).removeprefix(":"),
            digest=event["digest"],
            actor=event["actor"]["label"],
            pull=positions[event["pull"]] if event.get("pull") else None,
        )
        for event in events
    ]
