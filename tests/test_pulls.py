"""A pull by digest is a pull of the tag that the client looked up before, or a part of another pull."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity import tasks
from activity.models import ManifestRequest
from activity.sources import manifest_requests
from activity.storage import tags, tallies
from tests import factories
from tests.capture_files import Notification, Shown, message_of, read_events, read_tags, shown
from tests.factories import IMAGE, INDEX, LAYER, LIST, NOON, notification

A, B, C = ("sha256:" + digit * 64 for digit in "abc")


def request(
    seconds: float,
    method: str,
    digest: str,
    tag: str | None = None,
    *,
    type: str = IMAGE,
    references: list[str] | None = None,
    repository: str = "acme/web",
    actor: str | None = "jane",
    agent: str | None = "docker/27.3.1",
    addr: str | None = "10.0.0.7:50001",
    id: str | None = None,
) -> Notification:
    """Return the notification of a HEAD or GET request, this many seconds after noon."""
    described = [{"mediaType": IMAGE, "digest": digest, "size": 7} for digest in references or []]
    return notification(
        action="pull",
        timestamp=(NOON + timedelta(seconds=seconds)).isoformat(),
        target={
            "mediaType": type,
            "digest": digest,
            "tag": tag,
            "repository": repository,
            "references": described or None,
            "url": f"https://h/v2/{repository}/{'blobs' if type == LAYER else 'manifests'}/{digest}",
        },
        request={"id": id or f"request-{seconds}", "method": method, "addr": addr, "useragent": agent},
        actor={"name": actor},
    )


def head(seconds: float, digest: str, tag: str | None = None, **values: Any) -> Notification:
    return request(seconds, "HEAD", digest, tag, **values)


def get(seconds: float, digest: str, tag: str | None = None, **values: Any) -> Notification:
    return request(seconds, "GET", digest, tag, **values)


def head_index(seconds: float, digest: str, tag: str | None = None, **values: Any) -> Notification:
    return head(seconds, digest, tag, type=INDEX, **values)


def get_index(seconds: float, digest: str, tag: str | None = None, **values: Any) -> Notification:
    return get(seconds, digest, tag, type=INDEX, **values)


def pulls(admin: Client) -> list[tuple[str, str, str, int | None]]:
    """Return the label, tag and digest of each event, and the position of the pull that it belongs to."""
    return [(event.label, event.tag, event.digest, event.pull) for event in shown(read_events(admin))]


REFERENCES: dict[str, Any] = {"references": [B, C]}
OTHERS = [f"sha256:{number:064}" for number in range(499)]

# The requests, and the label, tag, digest and pull of each resulting event.
PULLS: dict[str, tuple[list[Notification], list[tuple[str, str, str, int | None]]]] = {
    # --- One client -----------------------------------------------------------------------------
    "HEAD of a tag": ([head(0, A, "v1"), get(1, A)], [("Get Tag", "v1", A, None)]),
    "HEAD of a digest": ([head(0, A), get(1, A)], [("Get Manifest", "", A, None)]),
    "HEAD alone": ([head(0, A, "v1")], []),
    "HEAD of a tag, then of the digest": (
        [head(0, A, "v1"), head(1, A), get(2, A)],
        [("Get Manifest", "", A, None)],
    ),
    "HEAD of a digest, then of a tag": (
        [head(0, A), head(1, A, "v1"), get(2, A)],
        [("Get Tag", "v1", A, None)],
    ),
    "HEADs of two tags of one image": (
        [head(0, A, "v1"), head(1, A, "v2"), get(2, A)],
        [("Get Tag", "v2", A, None)],
    ),
    "HEAD of another image in between": (
        [head(0, A, "v1"), head(1, B, "v2"), get(2, A), get(3, B)],
        [("Get Tag", "v1", A, None), ("Get Tag", "v2", B, None)],
    ),
    "a tag pulled, then its digest": (
        [head(0, A, "v1"), get(1, A), head(2, A), get(3, A)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "", A, None)],
    ),
    "GET of a tag says nothing about a later GET of the digest": (
        [get(0, A, "v1"), get(1, A)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "", A, None)],
    ),
    "layers in between": (
        [head(0, A, "v1"), head(1, B, type=LAYER), get(2, C, type=LAYER), get(3, A)],
        [("Get Tag", "v1", A, None)],
    ),
    "HEAD 59 s before": ([head(0, A, "v1"), get(59, A)], [("Get Tag", "v1", A, None)]),
    "HEAD 61 s before": ([head(0, A, "v1"), get(61, A)], [("Get Manifest", "", A, None)]),
    "HEAD that occurred later, but arrived before": (
        [head(2, A, "v1"), get(1, A)],
        [("Get Manifest", "", A, None)],
    ),
    "HEADs that arrived in the wrong order": (
        [head(2, A), head(1, A, "v1"), get(3, A)],
        [("Get Manifest", "", A, None)],
    ),
    # --- Other clients --------------------------------------------------------------------------
    "another actor": ([head(0, A, "v1"), get(1, A, actor="joe")], [("Get Manifest", "", A, None)]),
    "an anonymous GET": ([head(0, A, "v1"), get(1, A, actor=None)], [("Get Manifest", "", A, None)]),
    "another program": ([head(0, A, "v1"), get(1, A, agent="crane")], [("Get Manifest", "", A, None)]),
    "another host": ([head(0, A, "v1"), get(1, A, addr="10.0.0.8:50001")], [("Get Manifest", "", A, None)]),
    "another repository": (
        [head(0, A, "v1"), get(1, A, repository="acme/api")],
        [("Get Manifest", "", A, None)],
    ),
    "two people behind one address": (
        [
            head(0, A, "v1"),
            head(1, A, "v2", actor="joe"),
            get(2, A),
            get(3, A, actor="joe"),
        ],
        [("Get Tag", "v1", A, None), ("Get Tag", "v2", A, None)],
    ),
    "a HEAD of a digest by another person": (
        [head(0, A, "v1"), head(1, A, actor="joe"), get(2, A)],
        [("Get Tag", "v1", A, None)],
    ),
    "another port": ([head(0, A, "v1"), get(1, A, addr="10.0.0.7:50002")], [("Get Tag", "v1", A, None)]),
    "neither address nor program known": (
        [head(0, A, "v1", addr=None, agent=None), get(1, A, addr=None, agent=None)],
        [("Get Tag", "v1", A, None)],
    ),
    "anonymous client": (
        [head(0, A, "v1", actor=None), get(1, A, actor=None)],
        [("Get Tag", "v1", A, None)],
    ),
    "an IPv4 address written as IPv6": (
        [head(0, A, "v1", addr="::ffff:10.0.0.7"), get(1, A, addr="10.0.0.7:50002")],
        [("Get Tag", "v1", A, None)],
    ),
    "an IPv6 address written in two ways": (
        [head(0, A, "v1", addr="[2001:DB8:0::AB]:50001"), get(1, A, addr="2001:db8::ab")],
        [("Get Tag", "v1", A, None)],
    ),
    "one client behind two proxies": (
        [head(0, A, "v1", addr="203.0.113.9, 10.0.0.1"), get(1, A, addr="203.0.113.9:7,10.0.0.2:8")],
        [("Get Tag", "v1", A, None)],
    ),
    "two clients behind one proxy": (
        [head(0, A, "v1", addr="203.0.113.9, 10.0.0.1"), get(1, A, addr="203.0.113.8, 10.0.0.1")],
        [("Get Manifest", "", A, None)],
    ),
    # --- Indexes without references -------------------------------------------------------------
    "index, then a platform": (
        [head_index(0, A, "v1"), get_index(1, A), get(2, B)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "", B, None)],
    ),
    "platform of an index that the client has": (
        [head_index(0, A, "v1"), get(5, B)],
        [("Get Tag", "v1", B, None)],
    ),
    "platform of a manifest list that the client has": (
        [head(0, A, "v1", type=LIST), get(1, B)],
        [("Get Tag", "v1", B, None)],
    ),
    "index type with a parameter and capitals": (
        [head(0, A, "v1", type="Application/vnd.oci.image.index.v1+JSON; charset=utf-8"), get(1, B)],
        [("Get Tag", "v1", B, None)],
    ),
    "layers between index and platform": (
        [head_index(0, A, "v1"), get(1, C, type=LAYER), get(2, B)],
        [("Get Tag", "v1", B, None)],
    ),
    "manifest 6 s after an index": ([head_index(0, A, "v1"), get(6, B)], [("Get Manifest", "", B, None)]),
    "manifest after the HEAD of an image": ([head(0, A, "v1"), get(1, B)], [("Get Manifest", "", B, None)]),
    "manifest after the HEAD of an index by digest": (
        [head_index(0, A), get(1, B)],
        [("Get Manifest", "", B, None)],
    ),
    "manifest after an index and another image": (
        [head_index(0, A, "v1"), head(1, C, "v2"), get(2, B)],
        [("Get Manifest", "", B, None)],
    ),
    "manifest after an index, from another person": (
        [head_index(0, A, "v1"), get(1, B, actor="joe")],
        [("Get Manifest", "", B, None)],
    ),
    # --- Indexes with references ----------------------------------------------------------------
    "index and platform by HEAD and GET": (
        [head_index(0, A, "v1", **REFERENCES), get_index(1, A, **REFERENCES), get(2, B)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "v1", B, 0)],
    ),
    "index and all platforms by GET of the tag": (
        [get_index(0, A, "v1", **REFERENCES), get(20, B), get(40, C)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "v1", B, 0), ("Get Manifest", "v1", C, 0)],
    ),
    "index pinned by digest": (
        [head_index(0, A, **REFERENCES), get_index(1, A, **REFERENCES), get(2, B)],
        [("Get Manifest", "", A, None), ("Get Manifest", "", B, 0)],
    ),
    "referenced platform of an index that the client has": (
        [head_index(0, A, "v1", **REFERENCES), get(30, B)],
        [("Get Tag", "v1", B, None)],
    ),
    "two tags of one index": (
        [
            head_index(0, A, "v1", **REFERENCES),
            get_index(1, A, **REFERENCES),
            get(2, B),
            head_index(3, A, "v2", **REFERENCES),
            get(4, C),
        ],
        [("Get Tag", "v1", A, None), ("Get Manifest", "v1", B, 0), ("Get Tag", "v2", C, None)],
    ),
    "platform pinned by digest after the pull of its index": (
        [get_index(0, A, "v1", **REFERENCES), get(1, B), head(2, B), get(3, B)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "v1", B, 0), ("Get Manifest", "", B, None)],
    ),
    "platform that has a tag of its own": (
        [get_index(0, A, "v1", **REFERENCES), get(1, B, "v1-amd64")],
        [("Get Tag", "v1", A, None), ("Get Tag", "v1-amd64", B, None)],
    ),
    "platform 61 s after its index": (
        [get_index(0, A, "v1", **REFERENCES), get(61, B)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "", B, None)],
    ),
    "platform after the first 500 of an index": (
        [get_index(0, A, "v1", references=[B, *OTHERS, C]), get(1, B), get(2, C)],
        [("Get Tag", "v1", A, None), ("Get Manifest", "v1", B, 0), ("Get Manifest", "", C, None)],
    ),
    "two clients pull the platforms of one index": (
        [
            get_index(0, A, "v1", **REFERENCES),
            get_index(1, A, "v2", actor="joe", **REFERENCES),
            get(2, B),
            get(3, B, actor="joe"),
        ],
        [
            ("Get Tag", "v1", A, None),
            ("Get Tag", "v2", A, None),
            ("Get Manifest", "v1", B, 0),
            ("Get Manifest", "v2", B, 1),
        ],
    ),
    # --- Two notifications of one request -------------------------------------------------------
    "HEAD converted for a client that takes no lists": (
        [head(0, A, "v1", type=LIST, id="r"), head(0.1, B, id="r"), get(1, B, id="s")],
        [("Get Tag", "v1", B, None)],
    ),
    "GET converted for a client that takes no lists": (
        [get(0, A, "v1", type=LIST, id="r"), get(0.1, B, id="r")],
        [("Get Tag", "v1", A, None), ("Get Manifest", "v1", B, 0)],
    ),
    "one request id from two persons": (
        [get(0, A, "v1", type=LIST, id="r"), get(0.1, B, id="r", actor="joe")],
        [("Get Tag", "v1", A, None), ("Get Manifest", "", B, None)],
    ),
}


class TestTagOfPull:
    """A pull by digest is of the tag that the same client looked up before."""

    @pytest.mark.parametrize("case", PULLS)
    def test_requests_are_shown_as_pulls(self, case: str, registry: Any, admin: Client) -> None:
        requests, expected = PULLS[case]

        for message in requests:
            registry(message)

        assert pulls(admin) == expected

    @pytest.mark.parametrize("case", PULLS)
    def test_order_in_a_message_makes_no_difference(self, case: str, registry: Any, admin: Client) -> None:
        requests, expected = PULLS[case]

        registry(*reversed(requests))

        assert pulls(admin) == expected

    def test_request_reported_by_another_registry_does_not_count(self, registry: Any, admin: Client) -> None:
        registry(head(0, A, "v1"))

        headers = factories.bearer(factories.producer())
        Client().post(
            "/api/v0/notifications/registry/", message_of(get(1, A)), "application/json", headers=headers
        )

        assert pulls(admin) == [("Get Manifest", "", A, None)]

    def test_requests_are_not_kept_in_the_cache(self, registry: Any, admin: Client) -> None:
        registry(head(0, A, "v1"))
        cache.clear()
        registry(get(1, A))

        assert pulls(admin) == [("Get Tag", "v1", A, None)]


def test_pull_of_several_manifests_is_counted_once(registry: Any, admin: Client) -> None:
    registry(notification(target={"tag": "v1", "digest": A, "mediaType": INDEX}))
    for message in (
        head_index(0, A, "v1", **REFERENCES),
        get_index(1, A, **REFERENCES),
        get(2, B),
        get(3, C),
    ):
        registry(message)

    assert len(pulls(admin)) == 6
    for _ in range(2):
        assert ("Pulls", "1") in read_tags(admin, "acme/web")
        # The chart counts the pull, and the three events of the push.
        for path in ("/activity/", "/repositories/acme/web/activity/"):
            assert admin.get(path, {"exclude_pull": "false"}).context["chart"].total == 4
        tags.fold()
        tallies.fold()


# --- Any requests -------------------------------------------------------------------------------

INDEXES = ["sha256:" + digit * 64 for digit in "de"]
"""Two indexes. The registry reports the references of the first one."""
PLATFORMS = [A, B]


@dataclass(frozen=True)
class Request:
    """A request for a manifest or a layer."""

    seconds: int
    method: str
    actor: str
    digest: str
    tag: str | None
    type: str
    references: tuple[str, ...]

    @property
    def is_pull(self) -> bool:
        return self.method == "GET" and self.type != LAYER

    def names(self, digest: str) -> bool:
        """Return whether the response to the request told the client this digest."""
        return digest in self.references or (self.method == "HEAD" and self.digest == digest)

    def notification(self) -> dict[str, Any]:
        return request(
            self.seconds,
            self.method,
            self.digest,
            self.tag,
            type=self.type,
            references=list(self.references),
            actor=self.actor,
        )


@st.composite
def requests(draw: st.DrawFn, seconds: int) -> Request:
    digest = draw(st.sampled_from([*INDEXES, *PLATFORMS]))
    type = INDEX if digest in INDEXES else draw(st.sampled_from([IMAGE, IMAGE, LAYER]))
    knows_references = type == INDEX and digest == INDEXES[0]
    return Request(
        seconds=seconds,
        method=draw(st.sampled_from(["HEAD", "GET"])),
        actor=draw(st.sampled_from(["jane", "jane", "joe"])),
        digest=digest,
        tag=None if type == LAYER else draw(st.sampled_from([None, None, "v1", "v2"])),
        type=type,
        references=tuple(PLATFORMS) if knows_references else (),
    )


@st.composite
def request_lists(draw: st.DrawFn) -> list[Request]:
    """Generate requests at different times."""
    gaps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 4, 6, 20, 40]), min_size=2, max_size=9))
    return [draw(requests(sum(gaps[: number + 1]))) for number in range(len(gaps))]


def expected_events(made: list[Request]) -> list[Shown]:
    """Return the events of requests that are sorted by time."""
    events: list[Shown] = []
    positions: dict[Request, int] = {}
    for pull in made:
        if pull.is_pull:
            positions[pull] = len(events)
            tag, belongs_to = (pull.tag, None) if pull.tag else find_tag(pull, made, events, positions)
            label = "Get Tag" if tag and belongs_to is None else "Get Manifest"
            events.append(Shown(label, "acme/web", tag or "", pull.digest, pull.actor, belongs_to))
    return events


def find_tag(
    pull: Request, made: list[Request], events: list[Shown], positions: dict[Request, int]
) -> tuple[str | None, int | None]:
    """Return the tag of a pull by digest, and the position of the pull that it belongs to."""
    earlier = [
        other
        for other in made
        if other.actor == pull.actor
        and other.type != LAYER
        and pull.seconds - 60 <= other.seconds < pull.seconds
    ]
    naming = [other for other in earlier if other.names(pull.digest)]
    if naming:
        deciding = naming[-1]
        if deciding.method == "HEAD":
            return deciding.tag, None
        position = positions[deciding]
        root = events[position].pull
        return events[position].tag, position if root is None else root
    if earlier:
        last = earlier[-1]
        has_index = last.type == INDEX and not last.references and last.method == "HEAD"
        if has_index and last.tag and last.seconds >= pull.seconds - 5:
            return last.tag, None
    return None, None


@pytest.mark.long
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_tag_of_each_pull_follows_the_rule(data: st.DataObject, registry: Any, admin: Client) -> None:
    made = data.draw(request_lists())
    in_one_message = data.draw(st.booleans())
    sent = [each.notification() for each in made]
    messages = [message_of(*data.draw(st.permutations(sent)))] if in_one_message else map(message_of, sent)

    with transaction.atomic():
        for message in messages:
            assert registry(body=message.encode()).status_code == 200
        found = shown(read_events(admin))
        transaction.set_rollback(True)

    assert found == expected_events(made)


@pytest.mark.django_db
def test_expired_requests_are_deleted_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_requests, "MAX_EXPIRED", 2)
    received = timezone.now() - manifest_requests.KEPT_FOR
    for age in (0, 1, 1, 1, 1, 1):
        ManifestRequest.objects.create(
            id=uuid4(), is_head=True, is_index=False, received_at=received + timedelta(minutes=1 - 2 * age)
        )

    tasks.fold_tallies()

    assert ManifestRequest.objects.count() == 1
