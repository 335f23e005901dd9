"""The notifications endpoint records each notification once, and never rejects or loses a notification."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from activity.api import senders
from activity.models import DeadLetter, Event, JournalEntry
from activity.sources import notifications
from activity.storage import journal
from repositories.models import Namespace, Repository
from tests import factories
from tests.factories import notification

URL = "/api/v0/notifications/registry/"
OTHER_DIGEST = "sha256:" + "0123abcd" * 8


def recorded() -> list[tuple[str, str, str, str]]:
    """Return each event's label, reference, digest and actor, oldest first, but skip new repositories."""
    events = Event.objects.exclude(kind="create_repository").order_by("pk")
    return [(event.label, event.reference, event.short_digest, event.actor_label) for event in events]


def pull(method: str = "GET", tag: str | None = None, **target: Any) -> dict[str, Any]:
    return notification(action="pull", target={"tag": tag, **target}, request={"method": method})


class TestAuthentication:
    def test_request_without_token_is_unauthorized(self, db: None) -> None:
        assert Client().post(URL, "{}", content_type="application/json").status_code == 401

    @pytest.mark.parametrize("token", ["wrong", "\xff\xfe", "a b", ""])
    def test_wrong_token_is_unauthorized(self, db: None, token: str) -> None:
        response = Client().post(URL, "{}", "application/json", HTTP_AUTHORIZATION=f"Bearer {token}")

        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"

    def test_account_without_permission_to_add_events_is_forbidden(self, db: None) -> None:
        headers = factories.bearer(factories.UserFactory())

        assert Client().post(URL, "{}", "application/json", headers=headers).status_code == 403
        assert not DeadLetter.objects.exists()

    @pytest.mark.parametrize("by_group", [False, True], ids=["user permission", "group permission"])
    @pytest.mark.parametrize(
        ("revoke", "status"),
        [
            (lambda account: account.access_tokens.all().delete(), 401),
            (lambda account: type(account).objects.update(is_active=False), 401),
            (lambda account: (account.user_permissions.clear(), account.groups.clear()), 403),
        ],
        ids=["token", "account", "permission"],
    )
    def test_revoked_access_takes_effect_within_two_seconds(
        self, db: None, monkeypatch: pytest.MonkeyPatch, by_group: bool, revoke: Any, status: int
    ) -> None:
        clock = SimpleNamespace(monotonic=lambda: 100.0)
        monkeypatch.setattr(senders, "time", clock)
        account = factories.producer()
        if by_group:
            producers = Group.objects.create(name="producers")
            producers.permissions.set(account.user_permissions.all())
            account.user_permissions.clear()
            account.groups.add(producers)
        headers = factories.bearer(account)
        assert Client().post(URL, '{"events": []}', "application/json", headers=headers).status_code == 200

        revoke(account)
        clock.monotonic = lambda: 102.0

        assert Client().post(URL, '{"events": []}', "application/json", headers=headers).status_code == status

    def test_any_accept_header_is_allowed(self, registry: Any) -> None:
        assert registry(notification(), accept="text/html").status_code == 200

    def test_url_works_without_trailing_slash(self, db: None) -> None:
        headers = factories.bearer(factories.producer())

        response = Client().post(URL.rstrip("/"), '{"events": []}', "application/json", headers=headers)

        # The registry would consider a redirect a success, and the event would be lost.
        assert response.status_code == 200

    def test_notifications_are_not_redirected_to_https(self, registry: Any, settings: Any) -> None:
        settings.SECURE_SSL_REDIRECT = True
        settings.SECURE_REDIRECT_EXEMPT = [r"^api/"]

        assert registry(notification()).status_code == 200


class TestEventsOfNotification:
    def test_push_by_tag_creates_a_manifest_and_updates_a_tag(self, registry: Any) -> None:
        registry(notification())

        assert recorded() == [
            ("Create Manifest", "acme/web", "sha256:bbf09ba3", "jane"),
            ("Update Tag", "acme/web:latest", "sha256:bbf09ba3", "jane"),
        ]

    def test_push_by_digest_creates_a_manifest(self, registry: Any) -> None:
        registry(notification(target={"tag": None}))

        assert recorded() == [("Create Manifest", "acme/web", "sha256:bbf09ba3", "jane")]

    def test_get_of_tag_is_a_pull_of_the_tag(self, registry: Any) -> None:
        registry(pull(tag="v1"))

        assert recorded() == [("Get Tag", "acme/web:v1", "sha256:bbf09ba3", "jane")]

    def test_get_of_digest_is_a_pull_of_the_manifest(self, registry: Any) -> None:
        registry(pull())

        assert recorded() == [("Get Manifest", "acme/web", "sha256:bbf09ba3", "jane")]

    def test_deletion_of_manifest_and_tag(self, registry: Any) -> None:
        registry(
            notification(action="delete", target={"tag": None, "mediaType": None}),
            notification(action="delete", target={"digest": None, "mediaType": None, "tag": "v1"}),
        )

        assert sorted(recorded()) == [
            ("Delete Manifest", "acme/web", "sha256:bbf09ba3", "jane"),
            ("Delete Tag", "acme/web:v1", "", "jane"),
        ]

    @pytest.mark.parametrize("action", ["push", "pull", "mount"])
    @pytest.mark.parametrize(
        "media_type", ["application/octet-stream", "application/vnd.docker.container.image.v1+json"]
    )
    def test_blobs_cause_no_events_and_create_no_repository(
        self, registry: Any, action: str, media_type: str
    ) -> None:
        response = registry(notification(action=action, target={"mediaType": media_type, "tag": None}))

        assert response.json() == {"events": 0, "dead_letters": 0}
        assert not Repository.objects.exists()

    @pytest.mark.parametrize("tag", ["v1", None])
    def test_head_requests_cause_no_events_and_create_no_repository(
        self, registry: Any, tag: str | None
    ) -> None:
        registry(pull("HEAD", tag=tag))

        assert not Event.objects.exists()
        assert not Repository.objects.exists()

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
        ],
    )
    def test_indexes_and_manifest_lists_are_manifests(self, registry: Any, media_type: str) -> None:
        registry(notification(target={"mediaType": media_type}))

        assert [label for label, *_ in recorded()] == ["Create Manifest", "Update Tag"]

    def test_empty_actor_name_is_anonymous(self, registry: Any) -> None:
        registry(notification(actor={"name": ""}, target={"tag": None}))

        assert recorded() == [("Create Manifest", "acme/web", "sha256:bbf09ba3", "anonymous")]

    def test_actor_is_linked_to_the_user_of_that_name(self, registry: Any) -> None:
        jane = factories.UserFactory(username="jane")

        registry(notification())

        assert {event.actor_user_id for event in Event.objects.all()} == {jane.pk}

    def test_time_is_stored_in_utc_to_the_microsecond(self, registry: Any) -> None:
        registry(notification(timestamp="2026-11-22T12:37:10.173601825+02:00"))

        assert Event.objects.latest("pk").occurred_at.isoformat() == "2026-11-22T10:37:10.173601+00:00"

    def test_details_contain_the_other_values_and_the_message(self, registry: Any) -> None:
        message = notification(id="n1")

        registry(message)

        assert Event.objects.latest("pk").details == {
            "client_address": "10.0.0.7",
            "client_port": 56544,
            "user_agent": "skopeo/1.9.3",
            "media_type": "application/vnd.docker.distribution.manifest.v2+json",
            "size": 439,
            "request_id": "r1",
            "node": "node1:5000",
            "notification_id": "n1",
            "message": message,
        }

    @pytest.mark.parametrize(
        "value",
        ["x" * 5000, "\0", "\ud800", float("nan"), [[]] * 60],
        ids=["long", "NUL", "surrogate", "NaN", "nested"],
    )
    def test_message_that_cannot_be_stored_is_left_out_of_the_details(
        self, registry: Any, value: object
    ) -> None:
        body = json.dumps({"events": [notification(id="n1", unknown=value)]}).encode()

        assert registry(body=body).json() == {"events": 2, "dead_letters": 0}
        details = Event.objects.latest("pk").details
        assert details["notification_id"] == "n1"
        assert "message" not in details

    def test_details_that_cannot_be_stored_are_cleaned_and_truncated(self, registry: Any) -> None:
        agent = "x\0y\ud800" + "z" * 5000
        body = json.dumps({"events": [notification(request={"useragent": agent})]}).encode()

        assert registry(body=body).json() == {"events": 2, "dead_letters": 0}
        assert Event.objects.latest("pk").details["user_agent"].startswith("x�y�zzz")


class TestPullsByDocker:
    """To pull a tag, Docker sends a HEAD request with the tag and then a GET request with only the digest."""

    def test_head_request_and_get_are_one_pull_of_the_tag(self, registry: Any) -> None:
        registry(pull("HEAD", tag="v1"))
        registry(pull("GET"))

        assert recorded() == [("Get Tag", "acme/web:v1", "sha256:bbf09ba3", "jane")]

    def test_head_request_matches_get_from_another_port_of_the_host(self, registry: Any) -> None:
        registry(
            notification(action="pull", target={"tag": "v1"}, request={"method": "HEAD", "addr": "[::1]:1"})
        )
        registry(
            notification(action="pull", target={"tag": None}, request={"method": "GET", "addr": "[::1]:2"})
        )

        assert [label for label, *_ in recorded()] == ["Get Tag"]

    @pytest.mark.parametrize(
        "other", [{"digest": OTHER_DIGEST}, {"repository": "acme/api"}], ids=["digest", "repository"]
    )
    def test_head_request_for_another_digest_or_repository_does_not_match(
        self, registry: Any, other: dict[str, str]
    ) -> None:
        registry(pull("HEAD", tag="v1"))
        registry(pull("GET", **other))

        assert [label for label, *_ in recorded()] == ["Get Manifest"]

    def test_head_request_from_another_host_does_not_match(self, registry: Any) -> None:
        registry(pull("HEAD", tag="v1"))
        registry(
            notification(action="pull", target={"tag": None}, request={"method": "GET", "addr": "10.0.0.8:1"})
        )

        assert [label for label, *_ in recorded()] == ["Get Manifest"]

    def test_head_request_matches_get_in_the_same_envelope(self, registry: Any) -> None:
        registry(pull("HEAD", tag="v1"), pull("GET"))

        assert [label for label, *_ in recorded()] == ["Get Tag"]

    def test_late_head_request_does_not_change_the_recorded_pull(self, registry: Any) -> None:
        head, get = pull("HEAD", tag="v1"), pull("GET")

        for message in (get, head, get):
            registry(message)

        assert [label for label, *_ in recorded()] == ["Get Manifest"]


class TestRedelivery:
    def test_redelivered_message_is_recorded_once(self, registry: Any) -> None:
        message = notification()
        for _ in range(3):
            assert registry(message).status_code == 200

        assert len(recorded()) == 2

    def test_same_notification_in_another_envelope_is_recorded_once(self, registry: Any) -> None:
        message = notification()
        registry(message)
        registry(notification(), message, message)

        assert len(recorded()) == 4

    def test_same_id_from_another_account_is_recorded_separately(self, registry: Any) -> None:
        message = notification()
        registry(message)
        headers = factories.bearer(factories.producer())
        Client().post(URL, json.dumps({"events": [message]}), "application/json", headers=headers)

        assert len(recorded()) == 4

    def test_redelivery_does_not_recreate_a_deleted_repository(self, registry: Any) -> None:
        message = notification()
        registry(message)
        deleted = Repository.objects.get()
        Repository.objects.update(deleted_at=Event.objects.latest("pk").occurred_at)

        registry(message)

        assert Repository.objects.get() == deleted


class TestNewRepository:
    def test_new_repository_is_private_and_recorded_with_one_event(self, registry: Any) -> None:
        factories.OrganizationFactory(name="acme")

        registry(notification(), notification())

        repository = Repository.objects.get()
        assert (repository.full_name, repository.visibility) == ("acme/web", "private")
        created = Event.objects.get(kind="create_repository")
        assert (created.actor_label, created.repository) == ("jane", repository)
        assert Event.objects.order_by("pk").first() == created

    def test_new_namespace_is_unclaimed(self, registry: Any) -> None:
        registry(notification(target={"repository": "newcorp/team/app"}))

        assert Namespace.objects.get(name="newcorp").is_unclaimed
        assert Repository.objects.get().full_name == "newcorp/team/app"

    def test_new_namespace_with_the_name_of_a_user_belongs_to_the_user(self, registry: Any) -> None:
        user = factories.UserFactory(username="mara")

        registry(notification(target={"repository": "mara/app"}))

        assert Repository.objects.get().namespace.owner == user

    def test_repository_name_without_namespace_is_unchanged(self, registry: Any) -> None:
        registry(notification(target={"repository": "alpine"}))

        assert Repository.objects.get().namespace.name == "_"
        assert Event.objects.latest("pk").reference == "alpine:latest"

    def test_repository_can_be_recreated_after_deletion_in_the_registry(self, registry: Any) -> None:
        registry(notification(timestamp="2026-11-22T10:00:00Z"))
        deletion = notification(
            action="delete",
            target={"tag": None, "digest": None, "mediaType": None},
            timestamp="2026-11-22T11:00:00Z",
        )
        registry(deletion)
        former = Repository.objects.get()
        assert former.deleted_at
        registry(notification(timestamp="2026-11-22T12:00:00Z"))

        registry(deletion)

        assert [repository == former for repository in Repository.objects.order_by("pk")] == [True, False]
        assert Repository.objects.live().count() == 1
        assert [event.repository for event in Event.objects.filter(kind="delete_repository")] == [former]

    def test_late_events_belong_to_the_repository_that_existed_then(self, registry: Any) -> None:
        registry(notification())
        former = Repository.objects.get()
        Repository.objects.update(deleted_at=factories.NOON)
        registry(notification(timestamp="2026-11-22T13:00:00Z"))

        registry(notification(id="late", timestamp="2026-11-22T11:00:00Z"))

        late = Event.objects.filter(more_details__notification_id="late")
        assert {event.repository for event in late} == {former}
        assert Repository.objects.count() == 2


class TestDeadLetters:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "empty"),
            (b" \n", "empty"),
            (b"{", "not JSON"),
            (b"\xff\x00", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b'{"events": ' + b"9" * 5000 + b"}", "not JSON"),
            (b"[]", 'no list of "events"'),
            (b'{"events": {}}', 'no list of "events"'),
            (b'{"events": [1]}', "not an object"),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_invalid_envelope_is_stored_as_a_dead_letter(
        self, registry: Any, body: bytes, reason: str
    ) -> None:
        response = registry(body=body)

        assert (response.status_code, response.json()) == (200, {"events": 0, "dead_letters": 1})
        assert reason in DeadLetter.objects.get().reason

    def test_message_leaves_a_bounded_number_of_dead_letters(self, registry: Any) -> None:
        body = json.dumps({"events": [*range(5_000), notification()]}).encode()

        assert registry(body=body).json() == {"events": 2, "dead_letters": 101}
        rest = DeadLetter.objects.get(reason__startswith="4900 events of a message")
        assert len(json.loads(bytes(rest.content))["events"]) == 4_900

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"action": "polish"}, "action"),
            ({"action": ["push"]}, "action"),
            ({"timestamp": "yesterday"}, "not a time"),
            ({"timestamp": "2026-11-22T10:37:10"}, "not a timestamp"),
            ({"timestamp": "1969-12-31T23:59:59Z"}, "between 1970"),
            ({"timestamp": "0001-01-01T00:00:00+14:00"}, "between 1970"),
            ({"timestamp": "9999-12-31T23:59:59Z"}, "and 8999"),
            ({"timestamp": "9999-12-31T23:59:59-14:00"}, "and 8999"),
            ({"timestamp": "9999999-01-01T00:00:00Z"}, "not a time"),
            ({"timestamp": "9999-12-31T23:59:59-14:00"}, "not a time"),
            ({"timestamp": None}, "not a time"),
            ({"id": ""}, "no valid id"),
            ({"id": "x" * 256}, "no valid id"),
            ({"id": 7}, "not a string"),
            ({"actor": {"name": "x" * 256}}, "actor"),
            ({"actor": {"name": "a\0b"}}, "actor"),
            ({"actor": {"name": "\ud800"}}, "actor"),
            ({"actor": "jane"}, "not an object"),
            ({"target": {"repository": "Acme/Web"}}, "not a valid repository name"),
            ({"target": {"repository": "../etc"}}, "not a valid repository name"),
            ({"target": {"repository": "a/" * 200 + "a"}}, "not a valid repository name"),
            ({"target": {"repository": None}}, "not a valid repository name"),
            ({"target": {"tag": "<script>"}}, "not a valid tag"),
            ({"target": {"digest": "sha256:xyz"}}, "not a valid digest"),
            ({"target": {"digest": None}}, "no digest"),
            ({"target": {"mediaType": None, "tag": None}}, "no media type"),
            ({"target": {"mediaType": ["x"]}}, "not a string"),
        ],
        ids=str,
    )
    def test_invalid_notification_does_not_prevent_recording_others(
        self, registry: Any, changes: dict[str, Any], reason: str
    ) -> None:
        response = registry(notification(), notification(**changes), notification())

        assert (response.status_code, response.json()) == (200, {"events": 4, "dead_letters": 1})
        assert reason in DeadLetter.objects.get().reason

    def test_oversized_message_is_stored_truncated_as_a_dead_letter(self, registry: Any) -> None:
        size = notifications.MAX_SIZE + 1

        assert registry(body=b"x" * size).json() == {"events": 0, "dead_letters": 1}
        letter = DeadLetter.objects.get()
        assert (letter.size, len(letter.content)) == (size, 64 * 1024)
        assert "larger than" in letter.reason

    def test_message_of_the_maximum_size_is_recorded(self, registry: Any) -> None:
        body = json.dumps({"events": [notification()]}).encode()

        assert registry(body=body.ljust(notifications.MAX_SIZE)).json()["events"] == 2

    def test_redelivered_invalid_message_is_stored_once(self, registry: Any) -> None:
        for _ in range(3):
            registry(body=b"{")

        assert DeadLetter.objects.count() == 1

    def test_message_is_stored_as_a_dead_letter_if_recording_raises(
        self, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notifications, "record_events", lambda *_: 1 / 0)

        assert registry(notification()).json() == {"events": 0, "dead_letters": 1}
        assert "ZeroDivisionError" in DeadLetter.objects.get().reason

    def test_message_is_not_acknowledged_if_it_cannot_be_stored(
        self, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal, "append", fail)
        with pytest.raises(OperationalError):  # the web server returns status 503, and the registry retries
            registry(notification())

    def test_stored_message_waits_until_the_database_works_again(
        self, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(notifications, "record_events", fail)
            response = registry(notification())
        assert (response.status_code, response.json()) == (202, {"events": None, "dead_letters": None})
        assert JournalEntry.objects.exists()

        registry(notification())

        assert len(recorded()) == 4
        assert not JournalEntry.objects.exists()
        assert not DeadLetter.objects.exists()


def fail(*_: Any) -> None:
    raise OperationalError("The database is down.")


class TestQueries:
    """The number of database queries per message, not counting transactions and locks."""

    def count_queries(self, registry: Any, *notifications: dict[str, Any]) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert registry(*notifications).status_code == 200
        # The token is checked every two seconds.
        ignored = re.compile(r"^SELECT pg_advisory_xact_lock|SAVEPOINT|accesstoken")
        return sum(not ignored.search(query["sql"]) for query in captured.captured_queries)

    @pytest.mark.parametrize(
        ("message", "queries"),
        [
            # Queries to append to the journal, to take from it, and for the repository, actor, positions,
            # texts, events, message, tally changes, newest events, tag and, for pushes, manifest.
            (notification(), 12),
            (pull(tag="latest"), 12),
            # Also queries that find the client's earlier requests and store this one.
            (pull(), 12),
            (notification(target={"tag": None}), 11),
            # Queries for the journal, repository, tag and request, and for the hour of the last pull.
            (pull("HEAD", tag="latest"), 6),
            # This message isn't recorded.
            (
                notification(target={"mediaType": "application/octet-stream", "url": "/blobs/", "tag": None}),
                0,
            ),
        ],
        ids=["push", "pull of a tag", "pull", "push without a tag", "HEAD request", "layer"],
    )
    def test_message_takes_few_queries(self, registry: Any, message: dict[str, Any], queries: int) -> None:
        registry(notification())  # creates the repository, and stores when the token was last used

        assert self.count_queries(registry, message) == queries
        # A redelivered message changes no tallies or tags.
        assert self.count_queries(registry, message) <= min(queries, 9)

    def test_pull_of_a_tag_that_was_looked_up_takes_few_queries(self, registry: Any) -> None:
        registry(notification())
        registry(pull("HEAD", tag="latest"))

        assert self.count_queries(registry, pull()) == 12
        assert recorded()[-1][:2] == ("Get Tag", "acme/web:latest")

    def test_query_count_does_not_grow_with_the_number_of_notifications(self, registry: Any) -> None:
        def messages(number: int) -> list[dict[str, Any]]:
            pushes = [notification(target={"tag": f"v{tag}"}) for tag in range(number)]
            return [*pushes, *(pull(tag=f"v{tag}") for tag in range(number))]

        registry(notification())

        assert self.count_queries(registry, *messages(2)) == self.count_queries(registry, *messages(8)) == 14
