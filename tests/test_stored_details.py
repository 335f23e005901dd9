"""The details of an event are stored in columns where they fit, and are always read as they were recorded."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.feed.conditions import about
from activity.models import Event, Text
from activity.models.details import COLUMNS, with_detail
from activity.storage.events import insert
from tests import factories
from tests.worlds import rolled_back

pytestmark = pytest.mark.django_db

REQUEST = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
USUAL = {
    "client_address": "10.0.0.7",
    "client_port": 56544,
    "user_agent": "skopeo/1.9.3",
    "media_type": factories.IMAGE,
    "size": 439,
    "request_id": REQUEST,
    "node": "node1:5000",
    "notification_id": "0a1ac10b-58cc-4372-a567-0e02b2c3d479",
}
ADDRESSES = [
    *("10.0.0.7", "010.0.0.7", "fd00::7", "FD00::7", "::ffff:10.0.0.7", "::ffff:a00:7", "::10.0.0.7", "::"),
    *("fe80::1%eth0", "1:0:2:3:4:5:6:7", "2001:db8::1:0:0:1", "build.example.com", "10.0.0.0/8", "", " "),
]
NUMBERS = [0, -1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**70, True, 1.0, 1.5, "56544"]
IDS = [REQUEST, REQUEST.upper(), REQUEST.replace("-", ""), f"{{{REQUEST}}}", "x" * 255, "é" * 255, "1"]
TEXTS = ["skopeo/1.9.3", "x" * 255, "x" * 256, "x" * 5000, "é\u2028", " ", ""]
MESSAGES = [factories.notification(), {}, {"x": [None, {"é": "\u2028"}]}, {"x": "y" * 20_000}]
VALUES = st.sampled_from([*MESSAGES, *ADDRESSES, *NUMBERS, *IDS, *TEXTS, None, [], {}, ["x"], {"x": None}])


def stored(details: Any) -> Event:
    (event,) = insert([factories.event_row(details=details)])
    return Event.objects.get(pk=event.pk)


def in_order(details: Any) -> str:
    """Return details as a text that reflects the types of values, but, like PostgreSQL, no key order."""
    return json.dumps(details, sort_keys=True)


def test_usual_details_are_stored_in_columns_alone() -> None:
    event = stored(USUAL)

    assert event.more_details is None
    assert (event.request_id, event.client_address) == (UUID(REQUEST), "10.0.0.7")
    assert event.details == USUAL


def test_common_texts_are_stored_once() -> None:
    insert([factories.event_row(details=USUAL) for _ in range(3)])
    stored({**USUAL, "media_type": factories.INDEX})

    texts = ["skopeo/1.9.3", factories.IMAGE, "node1:5000", factories.INDEX]
    assert sorted(Text.objects.values_list("value", flat=True)) == sorted(texts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(details=st.dictionaries(st.sampled_from([*COLUMNS, "message", "other", "more_details"]), VALUES))
def test_details_are_read_as_they_were_recorded(details: dict[str, Any]) -> None:
    with rolled_back():
        assert in_order(stored(details).details) == in_order(details)


@pytest.mark.parametrize("details", [{}, [], ["x"], "x", 7], ids=repr)
def test_details_of_any_type_are_kept(details: Any) -> None:
    assert stored(details).details == details


@pytest.mark.skipif(connection.vendor == "postgresql", reason="PostgreSQL can't store these texts")
@pytest.mark.parametrize("text", ["x\0y", "\ud83d"], ids=ascii)
def test_texts_that_not_every_database_can_store_are_kept(text: str) -> None:
    assert stored(dict.fromkeys(COLUMNS, text)).details == dict.fromkeys(COLUMNS, text)


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("client_address", each) for each in ADDRESSES[:-2]), *(("request_id", each) for each in IDS)],
)
def test_events_are_found_by_a_detail_wherever_it_is_stored(name: str, value: str) -> None:
    found = stored({name: value})
    others = {stored({}).pk, stored({name: "x"}).pk, stored([name]).pk, stored({"other": value}).pk}

    assert [event.pk for event in Event.objects.filter(with_detail(name, value))] == [found.pk]
    assert {event.pk for event in Event.objects.filter(~with_detail(name, value))} == others


def test_events_are_found_by_whom_they_are_about_and_the_others_by_the_negation() -> None:
    found = {stored({"subject": "mara"}).pk, stored({"members": ["joe", "mara"]}).pk}
    others = {stored(details).pk for details in ({}, ["subject"], {"subject": "tamara"}, {"members": None})}

    condition = about(["mara"], factories.SEES_EVERYTHING).matches
    assert {event.pk for event in Event.objects.filter(condition)} == found
    assert {event.pk for event in Event.objects.filter(~condition)} == others
