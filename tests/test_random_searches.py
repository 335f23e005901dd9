"""Random searches find what a plain restatement of their terms finds, or are refused with a reason.

The restatement reads no text: it knows the parts from which a search was made, and looks at one event at a
time. A search that it finds unreadable must not be answered with a list, not even with an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from activity.catalogue import KINDS
from activity.feed import plans, reading, search
from activity.feed.search_language import parse
from activity.models import ActorType, Event
from repositories.access.levels import Category
from tests import factories
from tests.event_tables import column
from tests.factories import DIGEST, NOON, SEES_EVERYTHING

Meaning = Callable[[Event], bool]
UNREADABLE = None
DAY = timedelta(days=1)

REPOSITORIES = ["acme/web", "acme/api", "globex/app", "alpine"]
ACTORS = [
    (ActorType.USER, "dana"),
    (ActorType.USER, "Li"),
    (ActorType.USER, "o'brien"),
    (ActorType.ANONYMOUS, ""),
    (ActorType.PRUNING, "500004C0"),
    (ActorType.SYSTEM, "the schedule"),
]
KEYS = ["update_tag", "get_tag", "delete_tag", "create_manifest", "scan_failed", "promote"]
WORDS = [
    *("dana", "DANA", "li", "o'brien", "nobody", "anonymous", "SYSTEM", "PRUNING", "acme/web", "ACME/web"),
    *(
        "acme/web:v1",
        "alpine:v1",
        "alpine",
        "latest",
        "delete",
        "DELETE",
        "push",
        "tag",
        "system",
        "delete_tag",
    ),
    *("OR", "and", "NOT", "bbf09ba3", "BBF0", "500004C0", "deadbeef", "7d", "monday", "today", "2026-11-22"),
    *("2026-11", "10.0.0.7", "10.0.0.8", "dana,li", "da*", "(dana)", "dana|li", "acme/wbe", "acme/web:v9"),
]
VALUES = [
    *WORDS,
    *(
        "v1",
        "v2",
        "acme",
        "globex",
        "acmi",
        "user",
        "pruning",
        "update",
        "get",
        "pull",
        "promotion",
        "scan-failed",
    ),
    *(
        "sha256:bbf09ba3",
        "sha256:",
        "0000",
        "yesterday",
        "24h",
        "2026-11-20",
        "2026-11-20T12:00",
        "2026-13",
        "soon",
    ),
    *("Monday", "sunday", "2026", "update_tag", "org", "xyz", "10.0.0", "1h"),
]
PHRASES = [
    "PRUNING 500004C0",
    "pruning 500004c0",
    "SYSTEM the schedule",
    "Delete Tag",
    "delete tag",
    "dana,li",
    "dana",
]
NAMES = [
    *("repo", "repository", "namespace", "organization", "org", "project", "tag", "digest", "sha", "actor"),
    *("user", "username", "operator", "actor-type", "type", "category", "kind", "label", "ip", "after"),
    *("before", "on", "operation", "created", "action", "tpye", "acter", "repos", "is", "op_time", "TYPE"),
]
ALIASES = {
    "repository": "repo",
    "org": "organization",
    "project": "namespace",
    "sha": "digest",
    "user": "actor",
    "username": "actor",
    "operator": "actor",
    "TYPE": "type",
}
CATALOGUE_WORDS = {
    *(kind.type.lower() for kind in KINDS.values()),
    *(kind.category.value for kind in KINDS.values()),
    *KINDS,
    *(word for kind in KINDS.values() for word in kind.english_label.lower().split()),
}


@dataclass(frozen=True)
class Part:
    """A part of a search."""

    name: str
    value: str
    negated: bool = False
    quoted: bool = False

    def __str__(self) -> str:
        value = f'"{self.value}"' if self.quoted else self.value
        return f"{'-' if self.negated else ''}{f'{self.name}:' if self.name else ''}{value}"


parts = st.one_of(
    st.builds(Part, st.just(""), st.sampled_from(WORDS), st.booleans()),
    st.builds(Part, st.just(""), st.sampled_from(PHRASES), st.booleans(), st.just(True)),
    st.builds(Part, st.sampled_from(NAMES), st.sampled_from(VALUES), st.booleans()),
    st.builds(Part, st.sampled_from(NAMES), st.sampled_from(PHRASES), st.booleans(), st.just(True)),
)


# --- The restatement ----------------------------------------------------------------------------


def restate(search: list[Part], events: list[Event]) -> list[Event] | None:
    """Return the events that a search means, or `UNREADABLE`."""
    alone = [part for part in search if not part.name and not part.negated and not part.quoted]
    if sum("/" not in part.value and ":" not in part.value for part in alone) > 1:
        return UNREADABLE
    wanted: dict[str, list[Meaning]] = {}
    excluded: list[Meaning] = []
    for part in search:
        found = meaning(part)
        if found is UNREADABLE:
            return UNREADABLE
        name, matches = found
        if part.negated:
            excluded.append(matches)
        else:
            wanted.setdefault(name, []).append(matches)
    return [
        event
        for event in events
        if all(any(matches(event) for matches in group) for group in wanted.values())
        and not any(matches(event) for matches in excluded)
    ]


def meaning(part: Part) -> tuple[str, Meaning] | None:
    """Return the group of alternatives that a part belongs to, and which events it matches."""
    if not part.quoted and re.search(r"[,*()|]", part.value):
        return UNREADABLE
    name, value = part.name, part.value
    if not name:
        name, value = reading_of_word(part)
    name = ALIASES.get(name, name)
    if name in ("after", "before", "on"):
        matches = None if part.negated else of_time(name, value)
        return (f"{name} {value}", matches) if matches else UNREADABLE  # times are never alternatives
    matches = READERS[name](value, part) if name in READERS else UNREADABLE
    return (name, matches) if matches else UNREADABLE


def reading_of_word(part: Part) -> tuple[str, str]:
    value = part.value
    if "/" in value or ":" in value:
        return "repo", value
    if part.quoted:
        return ("label", value) if value in ("Delete Tag", "delete tag") else ("actor", value)
    if value in ("SYSTEM", "PRUNING", "anonymous"):
        return "actor", value
    unclear = (
        value.lower() in {*CATALOGUE_WORDS, "or", "and", "not"}
        or re.fullmatch(r"[0-9a-fA-F]{7,}|(?=.*[0-9])[0-9a-fA-F]{4,}", value)
        or of_time("after", value)
        or re.fullmatch(r"[0-9.]+", value)
    )
    return ("unclear", value) if unclear else ("actor", value)


def of_repository(value: str, part: Part) -> Meaning | None:
    name, _, tag = value.partition(":")
    name = name if "/" in name else name.lower()
    if name not in REPOSITORIES or (":" in value and not tag):
        return UNREADABLE if not part.negated or not valid_name(value) else lambda event: False
    return lambda event: event.repository_name == name and tag in ("", event.tag)


def valid_name(value: str) -> bool:
    name = value.partition(":")[0]
    return bool(
        re.fullmatch(r"([A-Za-z0-9.-]+/)?[a-z0-9]+([._-][a-z0-9]+)*", name if "/" in name else name.lower())
    )


def of_namespace(value: str, part: Part) -> Meaning | None:
    if value in ("acme", "globex"):
        return lambda event: event.repository_name.startswith(f"{value}/")
    valid = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(:[0-9]+)?", value)
    return (lambda event: False) if part.negated and valid and no_underscore_host(value) else UNREADABLE


def no_underscore_host(value: str) -> bool:
    return value == value.lower() or "_" not in value


def of_tag(value: str, _: Part) -> Meaning | None:
    return (lambda event: event.tag == value) if re.fullmatch(r"\w[\w.-]*", value) else UNREADABLE


def of_digest(value: str, _: Part) -> Meaning | None:
    digits = value.lower().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]+", digits):
        return UNREADABLE
    return lambda event: event.digest.startswith(f"sha256:{digits}")


def of_actor(value: str, _: Part) -> Meaning | None:
    def matches(event: Event) -> bool:
        label = event.actor_label.lower()
        shown = value.lower()
        return shown in (label, event.actor_name.lower()) or (
            event.actor_type in (ActorType.PRUNING, ActorType.SYSTEM) and label.startswith(f"{shown} ")
        )

    return matches


def one_of(values: list[str], attribute: str) -> Callable[[str, Part], Meaning | None]:
    def read(value: str, _: Part) -> Meaning | None:
        wanted = value.lower().replace("-", "_")
        if wanted not in [each.lower() for each in values]:
            return UNREADABLE
        return lambda event: str(getattr(event, attribute)).lower() == wanted

    return read


def of_label(value: str, _: Part) -> Meaning | None:
    words = value.lower().split()
    labels = [
        kind.label for kind in KINDS.values() if all(word in kind.english_label.lower() for word in words)
    ]
    return (lambda event: event.label in labels) if labels else UNREADABLE


def of_address(value: str, _: Part) -> Meaning | None:
    valid = re.fullmatch(r"\d+\.\d+\.\d+\.\d+", value)
    return (lambda event: event.details.get("client_address") == value) if valid else UNREADABLE


def of_time(name: str, value: str) -> Meaning | None:
    midnight = NOON.replace(hour=0)
    starts: dict[str, tuple[datetime, timedelta]] = {
        "today": (midnight, DAY),
        "yesterday": (midnight - DAY, DAY),
        "sunday": (midnight, DAY),  # NOON is on a Sunday
        "monday": (midnight - 6 * DAY, DAY),
        "7d": (NOON - 7 * DAY, timedelta()),
        "24h": (NOON - DAY, timedelta()),
        "1h": (NOON - timedelta(hours=1), timedelta()),
        "2026": (datetime(2026, 1, 1, tzinfo=UTC), 365 * DAY),
        "2026-11": (datetime(2026, 11, 1, tzinfo=UTC), 30 * DAY),
        "2026-11-20": (datetime(2026, 11, 20, tzinfo=UTC), DAY),
        "2026-11-22": (datetime(2026, 11, 22, tzinfo=UTC), DAY),
        "2026-11-20t12:00": (datetime(2026, 11, 20, 12, tzinfo=UTC), timedelta()),
    }
    if value.lower() not in starts:
        return UNREADABLE
    start, length = starts[value.lower()]
    if name == "on":
        return (lambda event: start <= event.occurred_at < start + length) if length else UNREADABLE
    return {
        "after": lambda event: event.occurred_at >= start,
        "before": lambda event: event.occurred_at < start,
    }[name]


READERS: dict[str, Callable[[str, Part], Meaning | None]] = {
    "repo": of_repository,
    "namespace": of_namespace,
    "organization": of_namespace,
    "tag": of_tag,
    "digest": of_digest,
    "actor": of_actor,
    "actor-type": one_of(list(ActorType.values), "actor_type"),
    "type": one_of(["CREATE", "GET", "UPDATE", "DELETE", "SEND", "FAIL", "SCAN"], "type"),
    "category": one_of(list(Category.values), "category"),
    "kind": one_of(list(KINDS), "kind"),
    "label": of_label,
    "ip": of_address,
}


# --- Tests ----------------------------------------------------------------------------------------


@pytest.fixture
def events(db: None) -> list[Event]:
    for name in REPOSITORIES:
        factories.repository(name)
    for name in ("dana", "Li", "o'brien"):
        factories.UserFactory(username=name)
    for number in range(36):
        type_, name = ACTORS[number % len(ACTORS)]
        factories.record(
            KEYS[number % 5 if number % 7 else 5],
            REPOSITORIES[number % 4],
            tag=f"v{number % 3}",
            digest=DIGEST if number % 2 else "",
            actor_type=type_,
            actor_name=name,
            occurred_at=NOON - timedelta(hours=5 * number + 1),
            details={"client_address": f"10.0.0.{number % 3 + 6}"},
        )
    return list(Event.objects.order_by("-id"))


def answer(text: str) -> plans.Plan:
    return search.plan(plans.Plan(Event.objects.all(), SEES_EVERYTHING), parse(text, UTC, now=NOON))


@pytest.mark.long
@pytest.mark.django_db
@settings(
    max_examples=2000,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
@given(made=st.lists(parts, min_size=1, max_size=3))
def test_random_search_is_answered_as_restated_or_refused(events: list[Event], made: list[Part]) -> None:
    text, expected = " ".join(map(str, made)), restate(made, events)
    plan = answer(text)

    if expected is UNREADABLE:
        assert plan.problems, text
    elif plan.problems:
        assert expected == [], (text, plan.problems)
    else:
        assert reading.find(plan, 50).rows == expected, text


@pytest.mark.long
@pytest.mark.django_db
@settings(
    max_examples=60, derandomize=True, database=None, suppress_health_check=list(HealthCheck), deadline=None
)
@given(made=st.lists(parts, min_size=1, max_size=2))
def test_pages_and_the_api_refuse_the_same_searches(
    events: list[Event], made: list[Part], log_in: Any
) -> None:
    client: Client = log_in(factories.auditor())
    text, refused = " ".join(map(str, made)), restate(made, events) is UNREADABLE
    if not refused:
        return
    html = client.get("/activity/", {"q": text, "exclude_pull": "false"}).content.decode()
    admin = client.get("/admin/registry_activity/event/", {"q": text}).content.decode()

    assert "Nothing is shown" in html
    assert column(html, "Label") == []
    assert "Correct the search to see events." in admin
    assert client.get("/api/v0/events/", {"search": text}).status_code == 400
