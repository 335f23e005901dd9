"""Whatever the OpenAPI schema allows, the API answers as the schema says, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from django.urls import get_resolver
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from activity.api.docs import Generator
from activity.catalogue import Type
from activity.feed import tail
from activity.feed.filters import EventFilterSet
from activity.storage.events import insert
from repositories.access.levels import Category
from repositories.models import Repository
from tests import factories
from tests.factories import DIGEST
from tests.hostile_parameters import encode_cursor

EXAMPLES = 12
"""The number of random requests for each operation and caller, besides those for each rule of the schema."""
SEARCHES = ["type:delete", "actor:jane -type:get", "repo:acme/web tag:v1", "after:2026-11-01", "kind:scan"]
CALLERS = ["anonymous", "reader", "repository admin", "MSR admin", "registry", "scanner"]


directions = st.sampled_from("np")
words = st.text("abc", min_size=1, max_size=5)
positions = st.tuples(st.integers(0, 5), st.integers(5, 10))
schemathesis.openapi.format("search", st.sampled_from(SEARCHES))
schemathesis.openapi.format(
    "cursor", st.builds(encode_cursor, directions, st.integers(0, 2**128 - 1).map(lambda n: str(UUID(int=n))))
)
schemathesis.openapi.format("cursor-by-name", st.builds(encode_cursor, directions, words))
schemathesis.openapi.format("cursor-by-position", positions.map(lambda both: f"{both[0]}-{both[1]}-0"))

schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(1970, 1, 2), datetime(8999, 1, 1)).map(lambda m: f"{m.isoformat('T', 'seconds')}Z"),
)

schema: Any = schemathesis.openapi.from_dict(Generator().get_schema(public=True))
schema.app = get_wsgi_application()
# The answer to a list of events has this status if some are invalid, and says which ones.
schema.config.checks.negative_data_rejection.expected_statuses.append("207")


@pytest.fixture
def world(web: Repository) -> Repository:
    """A repository with events and tags."""
    factories.enable_scanning()
    for kind in ("update_tag", "get_tag", "delete_tag", "scan", "push_mirror"):
        for tag in ("v1", "v2"):
            factories.record(kind, web, tag=tag, digest=DIGEST, actor_name="jane")
    for kind in ("create_grant", factories.UNKNOWN_KIND):
        insert([factories.event_row(kind=kind, repository=web, repository_name="acme/web")])
    insert([factories.event_row(kind="create_session")])
    return web


@pytest.fixture
def headers(caller: str, world: Repository) -> dict[str, str]:
    """The headers of a caller."""
    create = {
        "reader": lambda: factories.user_with("level_read", world),
        "repository admin": lambda: factories.user_with("level_admin", world),
        "MSR admin": factories.msr_admin,
        "registry": lambda: factories.producer(username="acme-registry"),
        "scanner": lambda: factories.producer(username="scanner"),
    }
    bearer = factories.bearer(create[caller]()) if caller in create else {}
    # What the schema says is about the content, which the tests would have to decompress.
    return {"Accept-Encoding": "identity", **{name.title(): value for name, value in bearer.items()}}


@pytest.fixture
def open_connection() -> Iterator[None]:
    """Keep the test's transaction open at the end of a request, as Django's client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer requests for the tail at once, whether there are events or not."""
    monkeypatch.setattr(tail, "wait_for_newer", lambda position, deadline: False)


@pytest.mark.long
@pytest.mark.usefixtures("no_waiting", "open_connection")
@pytest.mark.parametrize("caller", CALLERS)
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_the_schema_says(case: Case, caller: str, headers: dict[str, str]) -> None:
    # Whoever can't see system events, a repository or its pulls, can't ask for them.
    query = case.query or {}
    asks_for_hidden = (
        caller != "MSR admin" and ("system" in str(query.get("category")) or "not_pulled_for" in query)
    ) or (caller in ("registry", "scanner") and "repo:" in str(query.get("search")))
    excluded: list[Any] = [positive_data_acceptance] if asks_for_hidden else []
    case.call_and_validate(headers=headers, excluded_checks=excluded)


class TestSchema:
    @pytest.fixture
    def operations(self, db: None) -> dict[str, Any]:
        """The operations of the schema, by method and path."""
        response = Client(headers=factories.bearer(factories.UserFactory())).get(
            "/api/v0/schema/", {"format": "json"}
        )
        found = response.json()
        assert found["openapi"].startswith("3.1")
        return {
            f"{method.upper()} {path}": operation
            for path, operations in found["paths"].items()
            for method, operation in operations.items()
        }

    def test_every_address_is_described(self, operations: dict[str, Any]) -> None:
        _, resolver = get_resolver().namespace_dict["registry_api"]
        views = [getattr(pattern.callback, "view_class") for pattern in resolver.url_patterns]  # noqa: B009
        described = {f"{method} {path}" for method, path in map(str.split, operations)}

        assert len(described) == sum(
            method in view.http_method_names and hasattr(view, method)
            for view in set(views)
            if view.schema
            for method in ("get", "post")
        )

    def test_every_operation_describes_its_errors(self, operations: dict[str, Any]) -> None:
        for name, operation in operations.items():
            errors = {status for status in operation["responses"] if status >= "400"}
            assert errors >= {"401", "403", "500", "503"}, name
            assert ("404" in errors) == ("{" in name), name
            assert ("429" in errors) == name.startswith("GET"), name
            assert ("415" in errors) == (name == "POST /api/v0/events/"), name
            for status in errors:
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"]

    def test_parameters_are_described_with_their_values(self, operations: dict[str, Any]) -> None:
        parameters = {each["name"]: each for each in operations["GET /api/v0/events/"]["parameters"]}

        assert set(parameters) == {
            *EventFilterSet.base_filters,
            *("cursor", "page_size", "sort", "fields", "If-None-Match"),
        }
        assert all(each["description"] for each in parameters.values())
        assert parameters["type"]["schema"]["items"]["enum"] == sorted(Type.values)
        assert parameters["category"]["schema"]["items"]["enum"] == sorted(Category.values)
        assert parameters["sort"]["schema"]["enum"] == ["-time", "time"]
        assert parameters["page_size"]["schema"]["maximum"] == 1000

    def test_sending_has_no_parameters_of_reading(self, operations: dict[str, Any]) -> None:
        assert "parameters" not in operations["POST /api/v0/events/"]
