"""How notifications are read: tables of targets, names, actors, credentials, addresses and times."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from activity.models import DeadLetter
from repositories.models import Repository
from tests import factories
from tests.capture_files import Notification, read_events, shown
from tests.factories import IMAGE, INDEX, LAYER, LIST, notification

A, B = ("sha256:" + digit * 64 for digit in "ab")
UNKNOWN = "application/vnd.example.thing.v1+json"
URL = "https://registry.example.com/v2/"

# --- Manifests and layers -----------------------------------------------------------------------

PUSH = ["Create Manifest"]
PUSH_OF_TAG = ["Create Manifest", "Update Tag"]
NOTHING: list[str] = []
REJECTED = ["dead letter"]


def manifest_url(repository: str = "acme/web", reference: str = A) -> str:
    return f"{URL}{repository}/manifests/{reference}"


def blob_url(repository: str = "acme/web") -> str:
    return f"{URL}{repository}/blobs/{A}"


UNKNOWN_ACTIONS: list[Any] = [
    *("", None, "Push", "pushed", "chart_push", "quarantine", "scan"),
    *(["push"], 7, {}, True),
]

# The action, the changed members of the target, and the labels of the resulting events.
TARGETS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    # --- By URL ---------------------------------------------------------------------------------
    **{
        f"{action} of a layer of {name}": (
            action,
            {"mediaType": LAYER, "repository": name, "url": blob_url(name)},
            NOTHING,
        )
        for action in ("push", "pull", "mount")
        for name in ("stefanprodan/manifests/podinfo", "manifests/app", "acme/manifests", "manifests")
    },
    "layer of an unknown type": ("push", {"mediaType": UNKNOWN, "url": blob_url()}, NOTHING),
    "layer of a manifest's type": ("push", {"mediaType": IMAGE, "url": blob_url()}, NOTHING),
    "layer below a path /manifests/": (
        "push",
        {"mediaType": UNKNOWN, "url": f"https://h/manifests/v2/acme/web/blobs/{A}"},
        NOTHING,
    ),
    "manifest of an unknown type": ("push", {"mediaType": UNKNOWN, "url": manifest_url()}, PUSH),
    "manifest without a type": ("push", {"mediaType": None, "url": manifest_url()}, PUSH),
    "manifest below a path /blobs/": (
        "push",
        {"mediaType": UNKNOWN, "url": f"https://h/blobs/v2/acme/web/manifests/{A}"},
        PUSH,
    ),
    "manifest of a repository with the component blobs": (
        "push",
        {"mediaType": UNKNOWN, "repository": "acme/blobs/app", "url": manifest_url("acme/blobs/app")},
        PUSH,
    ),
    "manifest of a repository that is called blobs": (
        "push",
        {"mediaType": UNKNOWN, "repository": "acme/blobs", "url": manifest_url("acme/blobs")},
        PUSH,
    ),
    "manifest by a URL with a query": (
        "push",
        {"mediaType": UNKNOWN, "url": manifest_url() + "?ns=docker.io"},
        PUSH,
    ),
    # --- By media type --------------------------------------------------------------------------
    **{
        f"manifest of type {type}": ("push", {"mediaType": type}, PUSH)
        for type in (
            IMAGE,
            INDEX,
            LIST,
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "Application/Vnd.Docker.Distribution.Manifest.V2+JSON",
            f"{INDEX};charset=utf-8",
            f'{IMAGE} ; charset="UTF-8"; q=1',
            f" {IMAGE} ",
        )
    },
    **{
        f"{action} of a layer of type {type}": (action, {"mediaType": type}, NOTHING)
        for action in ("push", "pull", "delete")
        for type in (
            LAYER,
            "application/octet-stream; charset=binary",
            "Application/Octet-Stream",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.empty.v1+json",
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        )
    },
    "push of an unknown type by digest": ("push", {"mediaType": UNKNOWN}, REJECTED),
    "pull of an unknown type by digest": ("pull", {"mediaType": UNKNOWN}, REJECTED),
    "push of an unknown type by tag": ("push", {"mediaType": UNKNOWN, "tag": "v1"}, PUSH_OF_TAG),
    "pull of an unknown type by tag": ("pull", {"mediaType": UNKNOWN, "tag": "v1"}, ["Get Tag"]),
    "push without a type": ("push", {"mediaType": None}, REJECTED),
    "push with an empty type": ("push", {"mediaType": ""}, REJECTED),
    # --- Deletions ------------------------------------------------------------------------------
    "deletion of an unknown type": ("delete", {"mediaType": UNKNOWN}, ["Delete Manifest"]),
    "deletion without a type": ("delete", {"mediaType": None}, ["Delete Manifest"]),
    "deletion of a manifest without digest": ("delete", {"digest": None}, REJECTED),
    "deletion of a manifest with an empty digest": ("delete", {"digest": ""}, REJECTED),
    "deletion of an index without digest": (
        "delete",
        {"digest": None, "mediaType": f"{INDEX}; charset=utf-8"},
        REJECTED,
    ),
    "deletion of a tag": ("delete", {"digest": None, "mediaType": None, "tag": "v1"}, ["Delete Tag"]),
    "deletion of a tag with empty members": (
        "delete",
        {"digest": "", "mediaType": "", "size": 0, "tag": "v1"},
        ["Delete Tag"],
    ),
    "deletion of a repository": ("delete", {"digest": None, "mediaType": None}, ["Delete Repository"]),
    "deletion of a repository with empty members": (
        "delete",
        {"digest": "", "mediaType": "", "size": 0, "tag": ""},
        ["Delete Repository"],
    ),
    # --- Actions --------------------------------------------------------------------------------
    **{f"action {action!r}": (action, {}, REJECTED) for action in UNKNOWN_ACTIONS},
    "unknown action on a layer": ("chart_push", {"mediaType": LAYER, "url": blob_url()}, REJECTED),
    "mount of a manifest": ("mount", {"mediaType": IMAGE, "url": manifest_url()}, REJECTED),
    # --- Tags in the URL, as registry 2.0 sends them --------------------------------------------
    "push of a tag in the URL": ("push", {"url": manifest_url(reference="v1")}, PUSH_OF_TAG),
    "pull of a tag in the URL": ("pull", {"url": manifest_url(reference="v1.2_x-3")}, ["Get Tag"]),
    "pull of a digest in the URL": ("pull", {"url": manifest_url()}, ["Get Manifest"]),
    "push of the tag `manifests`": ("push", {"url": manifest_url(reference="manifests")}, PUSH_OF_TAG),
    "tag in the URL and in the target": (
        "push",
        {"tag": "v1", "url": manifest_url(reference="v1")},
        PUSH_OF_TAG,
    ),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_are_told_apart(case: str, registry: Any, admin: Client) -> None:
    action, target, expected = TARGETS[case]
    method = {"pull": "GET", "push": "PUT", "delete": "DELETE"}.get(str(action), "POST")

    receipt = registry(
        notification(action=action, target={"tag": None, **target}, request={"method": method})
    ).json()

    labels = [event.label for event in shown(read_events(admin)) if event.label != "Create Repository"]
    assert labels + ["dead letter"] * DeadLetter.objects.count() == expected
    assert receipt == {"events": len(labels), "dead_letters": DeadLetter.objects.count()}


@pytest.mark.parametrize("action", ["pull", "delete", "push"])
def test_only_a_push_creates_a_repository(action: str, registry: Any, admin: Client) -> None:
    registry(notification(action=action, request={"method": "GET"}))

    assert Repository.objects.get().full_name == "acme/web"
    creations = [event for event in shown(read_events(admin)) if event.label == "Create Repository"]
    assert len(creations) == (action == "push")


def test_tag_in_the_url_is_recorded_like_any_other(registry: Any, admin: Client) -> None:
    by_url = {"tag": None, "url": manifest_url(reference="v1")}
    registry(notification(action="pull", target=by_url, request={"method": "HEAD"}))
    later = "2026-11-22T10:37:11Z"
    registry(notification(action="pull", target={"tag": None}, request={"method": "GET"}, timestamp=later))

    assert [(event.label, event.tag) for event in shown(read_events(admin))] == [("Get Tag", "v1")]


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("alpine", "acme/web", "acme/team/web", "a--b/web", "a__b/x.y", "0/1"),
        *("Acme/web", "ACME/team/web", "My-Host/web", "Acme.example.com/web"),
        *("localhost:5000/web", "mirror.example.com:5000/library/alpine", "a/" * 127 + "a"),
    ],
)
def test_name_is_recorded_unchanged(name: str, registry: Any, admin: Client) -> None:
    registry(notification(target={"repository": name}))

    assert not DeadLetter.objects.exists()
    assert {event.repository for event in shown(read_events(admin))} == {name}


@pytest.mark.parametrize(
    "name",
    [
        *("Acme", "acme/Web", "Acme/Web", "acme/web/X", "a_/web", "acme/_web", "Acme_x/web", "-Acme/web"),
        *(
            "acme//web",
            "/acme/web",
            "acme/web/",
            "acme/web:v1",
            "acme/..",
            "../web",
            "acme/ web",
            "\u00e9/web",
        ),
        *("acme/web\n", "localhost:/web", "a/" * 128 + "a", "_/alpine"),
    ],
)
def test_invalid_name_is_a_dead_letter(name: str, registry: Any) -> None:
    assert registry(notification(target={"repository": name})).json() == {"events": 0, "dead_letters": 1}
    assert "not a valid repository name" in DeadLetter.objects.get().reason


def test_capitals_make_a_different_namespace(registry: Any, admin: Client) -> None:
    for name in ("Acme/web", "acme/web", "ACME/web"):
        registry(notification(target={"repository": name}))

    assert {(repository.namespace.name, repository.name) for repository in Repository.objects.all()} == {
        ("Acme", "web"),
        ("acme", "web"),
        ("ACME", "web"),
    }
    for name in ("Acme/web", "acme/web", "ACME/web"):
        assert f"{name}:latest" in admin.get(f"/repositories/{name}/activity/").content.decode()


def test_repository_with_a_host_in_its_name_has_pages(registry: Any, admin: Client) -> None:
    name = "mirror.example.com:5000/library/alpine"
    registry(notification(target={"repository": name}))

    for tab in ("activity", "tags", "info", "permissions"):
        response = admin.get(f"/repositories/{name}/{tab}/")
        assert response.status_code == 200
        assert name in response.content.decode()


# --- Actors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "label"),
    [
        (None, "anonymous"),
        ({}, "anonymous"),
        ({"name": ""}, "anonymous"),
        ({"name": None, "user_type": ""}, "anonymous"),
        ({"name": "jane"}, "jane"),
        ({"name": "jane", "user_type": "gitlab_or_ldap"}, "jane"),
        # The name of a person who logged in with this name, or made it up.
        ({"name": "anonymous"}, "USER anonymous"),
    ],
)
def test_actor_with_a_name_or_without_anything(actor: Any, label: str, registry: Any, admin: Client) -> None:
    registry({**notification(), "actor": actor})

    assert {event.actor for event in shown(read_events(admin))} == {label}


@pytest.mark.parametrize("user_type", ["deploy_token", "build", "personal_access_token"])
@pytest.mark.parametrize("name", [{}, {"name": ""}, {"name": None}], ids=str)
def test_actor_without_a_name_but_with_a_type_is_not_anonymous(
    name: dict[str, Any], user_type: str, registry: Any, admin: Client
) -> None:
    registry({**notification(), "actor": {**name, "user_type": user_type}})

    (event, *_) = read_events(admin)
    assert event["actor"]["type"] not in ("anonymous", "user")
    assert user_type in event["actor"]["label"]
    assert event["actor"]["url"] is None


def test_user_with_the_name_of_a_type_is_not_the_actor(registry: Any, admin: Client) -> None:
    factories.UserFactory(username="deploy_token")
    registry({**notification(), "actor": {"user_type": "deploy_token"}})

    assert {event["actor"]["url"] for event in read_events(admin)} == {None}


# --- Credentials --------------------------------------------------------------------------------

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJlLW9mLWphbmU"
SECRETS: dict[str, dict[str, Any]] = {
    "token of a user": {"actor": {"name": "jane", "user": JWT}},
    "opaque token of a user": {"actor": {"name": "jane", "user": "opaque-secret"}},
    "user as an object": {"actor": {"name": "jane", "user": {"id": 7, "token": "opaque-secret"}}},
    "token of an actor without a name": {"actor": {"user_type": "deploy_token", "user": JWT}},
    "token in an unknown member": {"extension": {"session": [JWT]}},
    "token within a text": {"extension": f"as {JWT}."},
    "token in an unknown member of the actor": {"actor": {"name": "jane", "session": JWT}},
    "token in the user agent": {"request": {"id": "r1", "method": "PUT", "useragent": f"client/1 {JWT}"}},
    "token as the name of the actor": {"actor": {"name": JWT}},
    "token as a key": {"extension": {JWT: 1}},
}


def stored_texts(admin: Client) -> str:
    """Return all that the API and the admin show of events and dead letters."""
    letters = [
        admin.get(f"/admin/registry_activity/deadletter/{letter.pk}/download/").content.decode()
        + admin.get(f"/admin/registry_activity/deadletter/{letter.pk}/change/").content.decode()
        for letter in DeadLetter.objects.all()
    ]
    return json.dumps(read_events(admin)) + "".join(letters)


def has_secret(text: str) -> bool:
    return "opaque-secret" in text or any(part in text for part in JWT.split(".")[1:])


class TestCredentials:
    @pytest.mark.parametrize("case", SECRETS)
    def test_credentials_are_removed_from_events(self, case: str, registry: Any, admin: Client) -> None:
        registry({**notification(), **SECRETS[case]})

        text = stored_texts(admin)
        assert "Create Manifest" in text
        assert not has_secret(text)

    @pytest.mark.parametrize("case", SECRETS)
    def test_credentials_are_removed_from_dead_letters(self, case: str, registry: Any, admin: Client) -> None:
        damages: list[dict[str, Any]] = [{"action": "polish"}, {"target": 7}, {"timestamp": "yesterday"}]
        for damage in damages:
            registry({**notification(), **SECRETS[case], **damage})

        assert DeadLetter.objects.count() == len(damages)
        assert not has_secret(stored_texts(admin))

    @pytest.mark.parametrize(
        "damage",
        [
            {"action": JWT},
            {"timestamp": JWT},
            {"actor": JWT},
            {"actor": {"name": JWT + " x" * 200}},
            {"target": {"repository": JWT}},
            {"target": {"tag": f"{JWT} "}},
            {"target": {"digest": JWT}},
            {"target": {"mediaType": JWT, "tag": None}},
        ],
        ids=lambda damage: "-".join(damage),
    )
    def test_credentials_are_removed_from_the_reason_of_a_dead_letter(
        self, damage: dict[str, Any], registry: Any, admin: Client
    ) -> None:
        registry(notification(**damage))

        assert DeadLetter.objects.count() == 1
        assert not has_secret(stored_texts(admin))

    @pytest.mark.parametrize("case", SECRETS)
    def test_credentials_are_removed_from_envelopes_that_are_not_understood(
        self, case: str, registry: Any, admin: Client
    ) -> None:
        content = {**notification(), **SECRETS[case]}
        envelopes = [content, {"events": content}, [content], {"event": [content]}, {"events": [[content]]}]
        for envelope in envelopes:
            assert registry(body=json.dumps(envelope).encode()).json()["dead_letters"] == 1

        assert not has_secret(stored_texts(admin))

    def test_credentials_are_removed_if_recording_fails(
        self, registry: Any, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("activity.sources.notifications.record_events", lambda *_: 1 / 0)
            registry({**notification(), **SECRETS["token of a user"]})
        letter = DeadLetter.objects.get()
        assert not has_secret(stored_texts(admin))

        admin.post(f"/admin/registry_activity/deadletter/{letter.pk}/replay/")

        assert {event.actor for event in shown(read_events(admin))} == {"jane"}

    def test_redelivered_dead_letter_with_credentials_is_stored_once(self, registry: Any) -> None:
        message = {**notification(action="polish"), **SECRETS["token of a user"]}
        for _ in range(2):
            registry(message)

        assert DeadLetter.objects.count() == 1

    @pytest.mark.parametrize(
        "text", ["v1.2.3", "eyJ.a.b", "token", "containers/5.23.1 (github.com/containers/image)"]
    )
    def test_other_texts_are_kept(self, text: str, registry: Any, admin: Client) -> None:
        registry(notification(extension=text))

        event = next(event for event in read_events(admin) if event["details"])
        assert event["details"]["message"]["extension"] == text


# --- Addresses ----------------------------------------------------------------------------------

# Addresses as registries send them, with the canonical form of the client's address.
ADDRESSES = {
    "10.0.0.7:56544": "10.0.0.7",
    "10.0.0.7": "10.0.0.7",
    " 10.0.0.7 ": "10.0.0.7",
    "::ffff:203.0.113.77": "203.0.113.77",
    "::FFFF:CB00:714D": "203.0.113.77",
    "[::ffff:203.0.113.77]:4711": "203.0.113.77",
    "0:0:0:0:0:ffff:203.0.113.77": "203.0.113.77",
    "2001:DB8::AB": "2001:db8::ab",
    "[2001:db8::1]:4711": "2001:db8::1",
    "[2001:DB8::1]": "2001:db8::1",
    "2001:0db8:0000:0000:0000:0000:0000:0001": "2001:db8::1",
    "2001:db8::1:4711": "2001:db8::1:4711",
    "::1": "::1",
    "[::1]:4711": "::1",
    "fe80::1%eth0": "fe80::1%eth0",
    "[fe80::1%eth0]:4711": "fe80::1%eth0",
    "203.0.113.9, 10.0.0.1": "203.0.113.9",
    "203.0.113.9:4711, 10.0.0.1:80": "203.0.113.9",
    "2001:DB8::AB,10.0.0.1": "2001:db8::ab",
    "[2001:DB8::AB]:4711 , [::1]:80": "2001:db8::ab",
    "::ffff:203.0.113.77, ::1": "203.0.113.77",
    "build-7.example.com:4711": "build-7.example.com",
    "unknown": "unknown",
}
REWRITTEN = [sent for sent in ADDRESSES if "," in sent or sent != sent.lower() or "ffff" in sent]
"""Addresses that are stored differently than they were sent, not only without the port."""


class TestAddresses:
    @pytest.mark.parametrize("sent", ADDRESSES)
    def test_address_is_stored_in_canonical_form(self, sent: str, registry: Any, admin: Client) -> None:
        registry(notification(request={"addr": sent}))

        details = next(event["details"] for event in read_events(admin) if event["details"])
        assert details["client_address"] == ADDRESSES[sent]

    @pytest.mark.parametrize("sent", REWRITTEN)
    def test_address_as_sent_is_kept_where_it_differs(self, sent: str, registry: Any, admin: Client) -> None:
        registry(notification(request={"addr": sent}, filler="x" * 5000))  # too long to be kept whole

        details = next(event["details"] for event in read_events(admin) if event["details"])
        assert "message" not in details
        assert sent in details.values()

    @pytest.mark.parametrize(
        ("sent", "term"),
        [
            ("10.0.0.7:56544", "10.0.0.7"),
            ("::ffff:203.0.113.77", "203.0.113.77"),
            ("203.0.113.77:4711", "::ffff:203.0.113.77"),
            ("2001:DB8::AB", "2001:db8::ab"),
            ("[2001:db8::ab]:4711", "2001:DB8:0::AB"),
            ("[2001:db8::ab]:4711", "[2001:db8::ab]"),
            ("203.0.113.9:4711, 10.0.0.1:80", "203.0.113.9"),
        ],
    )
    def test_event_is_found_by_any_form_of_its_address(
        self, sent: str, term: str, registry: Any, admin: Client
    ) -> None:
        registry(notification(request={"addr": sent}))

        assert labels_found(admin, f"ip:{term}") == ["Update Tag", "Create Manifest"]
        assert labels_found(admin, "ip:10.0.0.99") == []

    def test_event_is_not_found_by_the_address_of_a_proxy(self, registry: Any, admin: Client) -> None:
        registry(notification(request={"addr": "203.0.113.9, 10.0.0.1"}))

        assert labels_found(admin, "ip:10.0.0.1") == []


def labels_found(admin: Client, search: str) -> list[str]:
    """Return the labels of the events that a search in the admin finds."""
    page = admin.get("/admin/registry_activity/event/", {"q": search})
    return [event.label for event in page.context["cl"].result_list]


# --- Clocks -------------------------------------------------------------------------------------


def push(tag: str, digest: str, moment: datetime) -> Notification:
    return notification(target={"tag": tag, "digest": digest}, timestamp=moment.isoformat())


class TestClocks:
    @pytest.mark.parametrize(
        ("ahead", "digest"),
        [
            (timedelta(minutes=4), A),  # within the tolerance, the times of the events count
            (timedelta(minutes=6), B),
            (timedelta(days=365), B),
            (timedelta(days=365 * 5000), B),
        ],
        ids=str,
    )
    def test_tag_pushed_by_a_node_whose_clock_is_ahead_can_be_pushed_again(
        self, ahead: timedelta, digest: str, registry: Any, admin: Client
    ) -> None:
        now = timezone.now()
        registry(push("v1", A, now + ahead))
        registry(push("v1", B, now + timedelta(minutes=1)))

        page = admin.get("/repositories/acme/web/tags/").content.decode()
        assert digest in page
        assert ({A, B} - {digest}).pop() not in page

    def test_tag_deleted_by_a_node_whose_clock_is_ahead_can_be_pushed_again(
        self, registry: Any, admin: Client
    ) -> None:
        now = timezone.now()
        registry(push("v1", A, now))
        registry(
            notification(
                action="delete",
                target={"tag": None, "mediaType": None, "digest": A},
                timestamp=(now + timedelta(days=365)).isoformat(),
            )
        )
        assert A not in admin.get("/repositories/acme/web/tags/").content.decode()

        registry(push("v1", A, now + timedelta(minutes=1)))

        assert A in admin.get("/repositories/acme/web/tags/").content.decode()

    def test_event_keeps_its_time_and_is_recorded_once(self, registry: Any, admin: Client) -> None:
        ahead = timezone.now().replace(microsecond=0) + timedelta(days=365)
        message = push("v1", A, ahead)
        for _ in range(2):
            registry(message)

        events = [event for event in read_events(admin) if event["label"] != "Create Repository"]
        assert [event["label"] for event in events] == ["Update Tag", "Create Manifest"]
        assert {datetime.fromisoformat(event["occurred_at"]) for event in events} == {ahead}
