"""The newest ids of each repository are those of its events, in whatever order the events arrive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from activity.catalogue import category_of
from activity.models import Event, NewestEvents
from activity.recording.record import record_events
from activity.storage import events
from repositories.access.levels import Category
from tests import factories
from tests.factories import NOON, UNKNOWN_KIND

KINDS = ["update_tag", "delete_tag", "scan", "promote", "update_visibility", "get_tag", "get_manifest"]
READABLE = {Category.PUSH, Category.SCAN, Category.DELETE, Category.CREATE_REPO}


def newest_of(rows: list[Event]) -> dict[str, Any]:
    """Return the ids that a repository with these events should have."""
    found = dict.fromkeys(NewestEvents.COLUMNS, NewestEvents.NEVER)
    for row in rows:
        category = category_of(row.kind)
        column = "pull" if category == "pull" else "readable" if category in READABLE else "restricted"
        found[column] = max(found[column], row.pk)
    return found


def check() -> None:
    expected: dict[Any, list[Event]] = {}
    for event in Event.objects.exclude(repository=None):
        expected.setdefault(event.repository_id, []).append(event)
    assert {
        row.pk: {name: getattr(row, name) for name in row.COLUMNS} for row in NewestEvents.objects.all()
    } == {pk: newest_of(rows) for pk, rows in expected.items()}


class NewestEventsTest(TestCase):
    @given(
        st.lists(
            st.lists(
                st.tuples(
                    st.sampled_from(KINDS), st.sampled_from(["acme/web", "acme/api"]), st.integers(0, 9)
                ),
                max_size=5,
            ),
            max_size=4,
        )
    )
    def test_newest_ids_are_those_of_the_events(self, batches: list[list[tuple[str, str, int]]]) -> None:
        for batch in batches:
            record_events(
                [
                    factories.draft(kind, name, occurred_at=NOON + timedelta(minutes=minute), tag="v1")
                    for kind, name, minute in batch
                ]
            )
        check()


@pytest.mark.django_db
def test_many_repositories_are_updated_at_once() -> None:
    rows = [factories.draft("update_tag", f"acme/r{n}", tag="v1") for n in range(150)]
    record_events(rows)
    record_events([factories.draft("get_tag", f"acme/r{n}", tag="v1") for n in range(150)])

    check()


@pytest.mark.django_db
def test_events_of_unknown_kinds_are_for_admins_only(web: Any) -> None:
    events.insert([factories.event_row(kind=UNKNOWN_KIND, repository=web)])

    check()


@pytest.mark.django_db
def test_deletion_leaves_the_newest_ids(web: Any) -> None:
    newest = factories.record("update_tag", web, tag="v1")
    events.delete_events(Event.objects.filter(pk=newest.pk), "run 1")

    assert NewestEvents.objects.get().readable == newest.pk
