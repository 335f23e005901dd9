"""The captured messages in `tests/captures`, and what an MSR admin should be shown after their delivery."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from django.test import Client
from django.urls import reverse

from repositories import names

FOLDER = Path(__file__).with_name("captures")

Notification = dict[str, Any]
"""One element of the `events` of a message."""


class Shown(NamedTuple):
    """The values of an event that tests compare."""

    label: str
    repository: str
    tag: str
    digest: str
    actor: str
    pull: int | None = None
    """The position, in the list of events, of the pull that the event belongs to."""


@dataclass(frozen=True)
class Capture:
    """The messages of one file, and what is known about them from its `.events.json` file."""

    name: str
    messages: list[str]
    expected: list[Shown]
    """The expected events, oldest first."""
    existing_repositories: set[str]
    """The names of the repositories that existed before the first message."""
    dead_letters: int = 0
    leaves_creations_out: bool = False
    """Whether `expected` leaves the Create Repository events out."""

    @property
    def notifications(self) -> list[Notification]:
        return [notification for message in self.messages for notification in json.loads(message)["events"]]

    @property
    def node_starts(self) -> set[str]:
        """The ids that the nodes of the registry got when they started."""
        sources = [notification.get("source", {}) for notification in self.notifications]
        return {source["instanceID"] for source in sources if "instanceID" in source}


def read(path: Path) -> Capture:
    values = json.loads(path.with_suffix(".events.json").read_text())
    before = values.get("shown", [])
    created = {event["repository"] for event in before if event["label"] == "Create Repository"}
    return Capture(
        name=str(path.relative_to(FOLDER).with_suffix("")),
        messages=[line for line in path.read_text().splitlines() if line],
        expected=with_pulls([Shown(**event) for event in values["expected"]]),
        existing_repositories={event["repository"] for event in before} - created,
        dead_letters=values.get("dead_letters", 0),
        leaves_creations_out=path.parent.name == "messages",
    )


def with_pulls(events: list[Shown]) -> list[Shown]:
    """Set the pull of each Get Manifest that has a tag: the latest Get Tag of that tag by the same actor."""
    pulls: dict[tuple[str, str, str], int] = {}
    found = []
    for position, event in enumerate(events):
        key = (event.repository, event.tag, event.actor)
        if event.label == "Get Tag":
            pulls[key] = position
        is_part = event.label == "Get Manifest" and event.tag
        found.append(event._replace(pull=pulls[key]) if is_part else event)
    return found


CAPTURES = [read(path) for path in sorted(FOLDER.glob("*/*.jsonl"))]


def in_folder(notification: Notification, folder: str) -> Notification:
    """Return a notification about a repository of the same name in a folder: `acme/web` becomes `acme/web/a`.

    The folder comes last, because only the first component of a name may have capital letters.
    """
    moved = copy.deepcopy(notification)
    target = moved.get("target", {})
    if name := target.get("repository"):
        target["repository"] = f"{name}/{folder}"
    if url := target.get("url"):
        target["url"] = url.replace(f"/v2/{name}/", f"/v2/{name}/{folder}/")
    return moved


def message_of(*notifications: Notification) -> str:
    return json.dumps({"events": notifications})


def read_events(admin: Client) -> list[dict[str, Any]]:
    """Return all events that the API shows to an MSR admin, newest first."""
    events: list[dict[str, Any]] = []
    url = "/api/v0/events/?page_size=100"
    while url:
        page = admin.get(url).json()
        events += page["results"]
        url = page["next"]
    return events


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
            pull=positions[event["pull"]] if event["pull"] else None,
        )
        for event in events
    ]


def read_tags(admin: Client, repository: str) -> list[tuple[str, str]]:
    """Return the label and text of each cell on the repository's Tags page."""
    namespace, name = names.split_name(repository)
    url = reverse("registry_activity:tags", kwargs={"namespace": namespace, "name": name})
    html = admin.get(url).content.decode()
    html = re.sub(r'<span class="ago">.*?</span>', "", html)
    cells = re.findall(r'<td data-label="([^"]+)"[^>]*>(.*?)</td>', html, re.DOTALL)
    return [(label, " ".join(re.sub("<[^>]*>", " ", cell).split())) for label, cell in cells]
