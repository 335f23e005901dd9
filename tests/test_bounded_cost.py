"""The statements, the size of the SQL, the rows and the bytes of an answer are bounded for any request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urljoin
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.urls import get_resolver
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from activity.api.docs import Generator
from activity.feed import tail
from activity.identity import event_id
from activity.models import Tag
from activity.storage.events import insert
from msr_project.server.connections import MAX_QUERY
from repositories.access.resolving import MAX_IDS
from repositories.models import Namespace, Repository
from tests import factories
from tests.hostile_parameters import HOSTILE, PARAMETERS, cursors, encode, encode_cursor, path_of
from tests.html_forms import post_forms
from tests.walk import Walk
from tests.worlds import rolled_back

pytestmark = [pytest.mark.django_db, pytest.mark.long]

EVENT = event_id(factories.NOON, 1, None, "the event", is_pull=False)
"""The id of the event in the API's paths."""


def api_views() -> Iterator[tuple[str, Any]]:
    """Yield the path and the view of each address of the API."""
    patterns: list[Any] = get_resolver().namespace_dict["registry_api"][1].url_patterns
    for pattern in patterns:
        if pattern.name:
            path = path_of(f"registry_api:{pattern.name}", tuple(pattern.pattern.converters)) or ""
            yield path.replace(str(UUID(int=0)), str(EVENT)), pattern.callback.view_class


def allowed_methods(view: Any) -> set[str]:
    return {method for method in view.http_method_names if hasattr(view, method)}


API = dict(api_views())
"""The views of the API, by path. None can be missing, because the paths come from the URL resolver."""
VALUES = {
    "actor": ["jane"],
    "actor_type": ["user"],
    "after": ["0", "1970-01-02T00:00:00Z"],
    "before": ["8999-01-01T00:00:00Z"],
    "category": ["push"],
    "cursor": [
        encode_cursor("p", str(UUID(int=0))),  # of events
        encode_cursor("n", str(UUID(int=2**128 - 1))),  # of tags
        encode_cursor("n", "a"),  # of repositories
        "0-5000-0",  # of an export
    ],
    "digest": [factories.DIGEST],
    "exclude_pull": ["true"],
    "export_format": ["csv", "jsonl"],
    "fields": ["id", "name"],
    "namespace": ["acme"],
    "not_pulled_for": ["1"],
    "organization": ["acme"],
    "page_size": ["1000"],
    "policy": ["CA5E7822"],
    "repository": ["acme/web"],
    "search": ["kind:update_tag OR tag:v* -tag:w1", "t"],
    "sort": ["time", "-name", "-time"],
    "tag": ["v1"],
    "type": ["CREATE"],
    "wait": ["25"],
}
"""Valid values of the API's parameters, with which the answer is as large or as slow as possible.

If the values differ between addresses, one of them is valid.
"""
UNDESCRIBED = ["format", "lang", "unknown"]
"""Parameters of the addresses that the OpenAPI schema doesn't describe, and one that no address has."""
DELETION = "_delete"
"""The end of the names of the admin's pages that confirm a deletion. They read all rows that go along."""
EXAMPLES = 150
API_EXAMPLES = 8
"""The number of random requests to each address of the API."""
NO_SHRINKING = [Phase.generate]
MAX_BODY = 200_000
"""The maximum size of the forms and messages that are sent. Nearly all of them are much smaller."""
EVENT_KEYS = ["id", "kind", "repository", "tag", "digest", "actor", "occurred_at", "details"]
NOTIFICATION_KEYS = ["timestamp", "action", "target", "request", "actor", "source"]
PRODUCED = {
    "kind": "update_tag",
    "repository": "acme/web",
    "tag": "v1",
    "digest": factories.DIGEST,
    "occurred_at": "2026-11-22T10:37:10Z",
}
MANY = 5_000
"""The number of events, of repositories and of users. An answer that needs all of them is too expensive."""
UNITS = ["a", "a ", "a/", "(", "-", '"', " OR ", "a:b ", "repo:a ", "1,", "9", "é", "NOT ", "%", "[", "*"]
LOOKUPS = ["", "__in", "__exact", "__id__exact", "__isnull", "__gte", "__contains", "__range"]
FIELDS = sorted({field.name for model in apps.get_models() for field in model._meta.fields})


@dataclass
class Cost:
    """What a request costs."""

    statements: int = 0
    sql: int = 0
    """The number of characters of the SQL and its parameters."""
    rows: int = 0
    answer: int = 0
    """The number of bytes of the answer."""

    def plus(self, body: str) -> Cost:
        """Return the limit for a request with a body, which can be stored and repeated in the answer."""
        return Cost(self.statements, self.sql + 10 * len(body), self.rows, self.answer + 10 * len(body))

    def excess(self, limit: Cost) -> dict[str, int]:
        """Return what exceeds a limit."""
        allowed = asdict(limit)
        return {name: value for name, value in asdict(self).items() if value > allowed[name]}


LIMIT = Cost(statements=60, sql=100_000, rows=2_500 + MAX_IDS, answer=1_000_000)
LIMIT_OF_API = replace(LIMIT, answer=2_000_000)
"""The limit for 1,000 events with their details, or the first 2,000 lines of an export."""


@contextmanager
def measured() -> Iterator[Cost]:
    """Count the statements, their size and the rows that they return."""
    cost = Cost()

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        cost.statements += 1
        cost.sql += len(sql) + len(str(params or ""))
        result = execute(sql, params, many, context)
        if connection.vendor == "postgresql" and context["cursor"].description:
            cost.rows += context["cursor"].rowcount
        return result

    def count_row(cursor: Any, row: Any) -> Any:  # sqlite3 doesn't know how many rows a statement returns
        cost.rows += 1
        return row

    connection.ensure_connection()
    if connection.vendor == "sqlite":
        connection.connection.row_factory = count_row
    with connection.execute_wrapper(count):
        yield cost
    if connection.vendor == "sqlite":
        connection.connection.row_factory = None


def create_many() -> None:
    """Create more events, tags, repositories and users than any answer may need."""
    web = Repository.objects.named("acme/web").get()
    acme = Namespace.objects.get(name="acme")
    Repository.objects.bulk_create(Repository(namespace=acme, name=f"r{n}") for n in range(MANY))
    users = factories.UserFactory._meta.model
    users.objects.bulk_create(users(username=f"a{n}") for n in range(MANY))
    events = [factories.event_row(repository=web, repository_name="acme/web", tag="v1") for _ in range(MANY)]
    events[0].id = EVENT
    insert(events)
    ids = (event_id(factories.NOON, 1, None, f"push-{n}", is_pull=False) for n in range(MANY))
    Tag.objects.bulk_create(Tag(repository=web, name=f"t{n}", last_push=id) for n, id in enumerate(ids))


@pytest.fixture
def site(db: None, monkeypatch: pytest.MonkeyPatch) -> Walk:
    """The pages of the site and the admin, and the client of an MSR admin, who never waits for events."""
    monkeypatch.setattr(tail, "wait_for_newer", lambda position, deadline: False)
    # Django's test client doesn't prevent that the end of a partly read export closes the connection.
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)
    walk = Walk()
    walk.client.raise_request_exception = False
    create_many()
    return walk


@contextmanager
def logged_in(client: Client) -> Iterator[None]:
    """Undo what the block does, and log in again after a request that logs out or changes the password."""
    cookies = SimpleCookie(client.cookies)
    with rolled_back():
        yield
    client.cookies = cookies


@pytest.fixture
def producer(db: None) -> dict[str, str]:
    """The headers of requests that deliver events."""
    return factories.bearer(factories.producer(username="registry"))


def paths(site: Walk) -> list[str]:
    return [*(path for name, path in site.pages() if not name.endswith(DELETION)), *API]


def size(response: Any) -> int:
    """Return the number of bytes of an answer, or of the first part of an export, which is read in parts."""
    if not response.streaming:
        return len(response.content)
    length = len(next(iter(response), b""))
    response.close()
    return length


@cache
def described_parameters() -> dict[str, list[str]]:
    """Return the names of the parameters of the API's addresses, according to the OpenAPI schema."""
    paths: dict[str, Any] = Generator().get_schema(public=True)["paths"]
    return {
        path.format(namespace="acme", name="web", id=EVENT): [
            parameter["name"] for parameter in operations["get"]["parameters"] if parameter["in"] == "query"
        ]
        for path, operations in paths.items()
        if "parameters" in operations.get("get", {})
    }


def repeat(text: str, times: int) -> str:
    return (text * times)[:MAX_QUERY]


names = st.sampled_from(PARAMETERS) | st.builds(
    str.__add__, st.sampled_from(FIELDS), st.sampled_from(LOOKUPS)
)
times = st.sampled_from([1, 5, 45, 900, MAX_QUERY])
long_texts = st.builds(repeat, st.sampled_from(UNITS), times)
texts = st.sampled_from([*HOSTILE, *cursors()]) | long_texts | st.text(max_size=20)
parameters = st.lists(st.tuples(names, texts), max_size=4)
repetitions = st.builds(
    lambda pair, times: [pair] * times, st.tuples(names, st.text(max_size=3)), st.integers(100, 900)
)


@given(data=st.data(), query=parameters | repetitions)
@settings(max_examples=EXAMPLES, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
def test_cost_of_parameters_is_bounded(site: Walk, data: st.DataObject, query: list[tuple[str, str]]) -> None:
    path = data.draw(st.sampled_from(paths(site)))
    text = "&".join(f"{key}={encode(value)}" for key, value in query)[:MAX_QUERY]

    with logged_in(site.client), measured() as cost:
        response: Any = site.client.get(f"{path}?{text}")
        cost.answer = size(response)

    assert response.status_code != 500
    assert cost.excess(LIMIT_OF_API if path in API else LIMIT) == {}


def test_cost_of_each_parameter_of_the_api_is_bounded(site: Walk) -> None:
    for path, names in described_parameters().items():
        assert path in API
        for name in names:
            statuses = []
            for value in VALUES[name]:
                url = f"{path}?{urlencode({name: value})}"
                with rolled_back(), measured() as cost:
                    response: Any = site.client.get(url)
                    cost.answer = size(response)
                statuses.append(response.status_code)
                assert (url, cost.excess(LIMIT_OF_API)) == (url, {})
            assert 200 in statuses, (path, name)


@given(data=st.data())
@settings(max_examples=API_EXAMPLES, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
def test_cost_of_all_addresses_of_the_api_is_bounded(site: Walk, data: st.DataObject) -> None:
    for path in API:
        known = [*described_parameters().get(path, []), *UNDESCRIBED]
        chosen = data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True))
        query = [(name, data.draw(st.sampled_from(VALUES.get(name, [""])) | texts)) for name in chosen]
        text = "&".join(f"{key}={encode(value)}" for key, value in query)[:MAX_QUERY]

        with logged_in(site.client), measured() as cost:
            response: Any = site.client.get(f"{path}?{text}")
            cost.answer = size(response)

        assert response.status_code < 500, path
        assert (path, cost.excess(LIMIT_OF_API)) == (path, {})


@given(data=st.data())
@settings(max_examples=EXAMPLES, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
def test_cost_of_forms_is_bounded(site: Walk, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths(site)))
    with logged_in(site.client):
        page: Any = site.client.get(path)
        html = b"".join(page).decode(errors="replace")
    forms = [form for form in post_forms(html) if not form.action.endswith("/logout/")]
    form = data.draw(st.sampled_from(forms)) if forms else None
    fields: dict[str, Any] = {field.name: field.value or "" for field in form.fields} if form else {}
    button = data.draw(st.sampled_from(form.buttons)) if form and form.buttons else None
    if button and button.name:
        fields[button.name] = button.value
    changed = st.sampled_from([*fields, "unknown"]) | names
    for key, values in data.draw(st.lists(st.tuples(changed, st.lists(texts, max_size=3)), max_size=6)):
        fields[key] = values * data.draw(st.sampled_from([1, 1, 1, 20]))
    url = urljoin(path, (button and button.action) or (form and form.action) or path)
    body = "&".join(
        f"{encode(key)}={encode(value)}"
        for key, values in fields.items()
        for value in ([values] if isinstance(values, str) else values)
    )

    with logged_in(site.client), measured() as cost:
        response: Any = site.client.post(url, body, content_type="application/x-www-form-urlencoded")
        cost.answer = size(response)

    assert response.status_code != 500
    assert cost.excess(LIMIT.plus(body)) == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(
    path=st.sampled_from([path for path, view in API.items() if "post" in allowed_methods(view)]),
    value=json_values | st.just({}),
    keys=st.dictionaries(st.sampled_from([*EVENT_KEYS, *NOTIFICATION_KEYS]), json_values, max_size=4),
    times=st.sampled_from([1, 5, 99, 101, 20_000]),
    enclosed=st.booleans(),
)
@settings(max_examples=EXAMPLES, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
def test_cost_of_messages_is_bounded(
    producer: dict[str, str],
    path: str,
    value: Any,
    keys: dict[str, Any],
    times: int,
    enclosed: bool,
) -> None:
    event = {**(factories.notification() if "notifications" in path else PRODUCED), **keys} if keys else value
    times = min(times, MAX_BODY // len(json.dumps(event)))
    events = [{**event, "id": f"{n}"} if isinstance(event, dict) and n else event for n in range(times)]
    body = json.dumps({"events": events} if enclosed else events)

    with rolled_back(), measured() as cost:
        response: Any = Client(raise_request_exception=False).post(
            path, body, content_type="application/json", headers=producer
        )
        cost.answer = size(response)

    assert response.status_code != 500
    assert cost.excess(LIMIT.plus(body)) == {}
