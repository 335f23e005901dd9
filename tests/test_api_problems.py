"""Every error of the API is a problem in the format of RFC 9457."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import translation

from activity.api import views
from repositories.models import Repository
from tests import factories

EVENTS = "/api/v0/events/"


def problem(response: Any, status: int) -> dict[str, Any]:
    """Check that a response is a problem, and return the problem."""
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    found = response.json()
    assert found["status"] == status
    assert found["type"] == "about:blank"
    assert found["title"] == response.reason_phrase
    assert isinstance(found["detail"], str)
    assert "no-store" in response["Cache-Control"]
    return found


@pytest.fixture
def caller(web: Repository) -> Client:
    return Client(headers=factories.bearer(factories.user_with("level_read", web)))


@pytest.fixture
def producer(db: None) -> Client:
    return Client(headers=factories.bearer(factories.producer()))


class TestStatuses:
    @pytest.mark.django_db
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("get", EVENTS),
            ("post", EVENTS),
            ("get", "/api/v0/schema/"),
            ("get", "/api/v0/repositories/acme/web/events/"),
            ("post", "/api/v0/notifications/registry"),
            ("put", "/api/v0/notifications/registry"),
        ],
    )
    def test_401_says_how_to_authenticate(self, method: str, path: str) -> None:
        for headers in ({}, {"authorization": "Bearer nonsense"}):
            response = getattr(Client(headers=headers), method)(path)

            problem(response, 401)
            assert response["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("path", [EVENTS, "/api/v0/notifications/registry"])
    def test_403(self, caller: Client, path: str) -> None:
        assert "can't add events" in problem(caller.post(path, {}, "application/json"), 403)["detail"]

    def test_403_without_a_csrf_token(self, web: Repository) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(factories.producer())

        problem(client.post(EVENTS, {}, "application/json"), 403)

    @pytest.mark.parametrize(
        "path",
        [
            f"{EVENTS}00000000-0000-0000-0000-000000000000/",
            "/api/v0/repositories/acme/none/events/",
            "/api/v0/repositories/acme/none",
            "/api/v0/nothing/",
            "/api/v0/nothing",
            "/api/v0/events/nothing/",
            "/api/v0/",
            "/api/v1/events/",
            "/api/",
        ],
    )
    @pytest.mark.parametrize("method", ["get", "post", "delete"])
    def test_404(self, caller: Client, path: str, method: str) -> None:
        if method == "get" or "v0/nothing" in path:
            problem(getattr(caller, method)(path), 404)

    def test_404_is_the_same_for_strangers(self, caller: Client) -> None:
        paths = ["/api/v0/nothing/", "/api/v1/nothing/"]
        found = [Client().get(path).json() for path in paths]

        assert found == [caller.get(path).json() for path in paths]

    def test_405_says_what_is_allowed(self, caller: Client) -> None:
        response = caller.delete(EVENTS)

        problem(response, 405)
        assert response["Allow"] == "GET, POST, HEAD, OPTIONS"

    @pytest.mark.parametrize("path", [EVENTS, "/api/v0/schema/"])
    def test_406(self, caller: Client, path: str) -> None:
        problem(caller.get(path, headers={"accept": "text/csv"}), 406)

    def test_415(self, producer: Client) -> None:
        problem(producer.post(EVENTS, "a=b", "application/x-www-form-urlencoded"), 415)

    def test_413(self, producer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("activity.api.parsers.MAX_SIZE", 3)

        problem(producer.post(EVENTS, b"[{}]", "application/json"), 413)

    def test_options_describe_no_fields_that_cannot_be_sent(self, producer: Client) -> None:
        assert "actions" not in producer.options(EVENTS).json()

    def test_429_says_when_to_try_again(
        self, caller: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("repositories.accounts.throttling.time", lambda: 1_000.0)
        settings.REGISTRY_ACTIVITY = {**settings.REGISTRY_ACTIVITY, "READS_PER_MINUTE": 1}
        caller.get(EVENTS)

        response = caller.get(EVENTS)

        problem(response, 429)
        assert response["Retry-After"] == "20"

    @pytest.mark.parametrize(("error", "status"), [(RuntimeError(), 500), (OperationalError(), 503)])
    def test_500_is_logged(
        self,
        caller: Client,
        error: Exception,
        status: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(view: Any) -> Any:
            raise error

        monkeypatch.setattr(views.EventListView, "get_queryset", fail)
        caller.raise_request_exception = False

        problem(caller.get(EVENTS), status)
        (record,) = caplog.records
        assert type(error).__name__ in str(record.exc_info or record.getMessage())

        caller.raise_request_exception = True
        with pytest.raises(type(error)):  # other programs learn of the error as usual
            caller.get(EVENTS)

    @pytest.mark.django_db
    def test_400_for_an_unknown_host(self) -> None:
        response = Client(headers={"host": "elsewhere.example.com"}).get(EVENTS)

        assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")


class TestPlaces:
    def test_parameters_are_named(self, caller: Client) -> None:
        found = problem(caller.get(EVENTS, {"colour": "red", "type": "BAR"}), 400)

        assert {error["parameter"] for error in found["errors"]} == {"colour", "type"}
        assert found["detail"].startswith("type: ")

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ({}, {"#/id", "#/kind", "#/repository", "#/occurred_at"}),
            ({"details": {"a": [], "b/c": "", "d~": True}}, {"#/details/a", "#/details/d~0"}),
            (7, {"#"}),
            ([{}] * 1_001, {"#"}),
        ],
        ids=["missing", "in details", "not an object", "too many"],
    )
    def test_places_in_bodies_are_pointers(self, producer: Client, body: Any, pointers: set[str]) -> None:
        found = problem(producer.post(EVENTS, body, "application/json"), 400)

        assert {error["pointer"] for error in found["errors"]} >= pointers

    def test_number_of_errors_is_limited(self, producer: Client) -> None:
        found = problem(
            producer.post(EVENTS, {"details": {f"d{n}": [] for n in range(150)}}, "application/json"), 400
        )

        assert len(found["errors"]) == 100


def test_slash_at_the_end_is_added(caller: Client) -> None:
    response = caller.get("/api/v0/repositories?page_size=1")

    assert (response.status_code, response["Location"]) == (301, "/api/v0/repositories/?page_size=1")


@pytest.mark.parametrize("path", ["", "acme/web/tags/"])
def test_errors_are_in_the_language_of_the_request(caller: Client, path: str) -> None:
    details = []
    for language in ("en", "de", "en"):
        with translation.override(language):
            response = caller.get(f"/api/v0/repositories/{path}", {"not_pulled_for": "0"})
        details.append(problem(response, 400)["errors"][0]["detail"])

    assert details[0] == details[2] == "Ensure this value is greater than or equal to 1."
    assert details[1] != details[0]
