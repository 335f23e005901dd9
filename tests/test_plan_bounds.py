"""The repositories that a page is read from are all that can have events there, and take few descents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from activity.feed.plans import FIRST_ID, LAST_ID, NewestIds, Span
from activity.identity import first_id, moment_of
from activity.models import NewestEvents

START = datetime(2024, 11, 15, tzinfo=UTC)
days = st.integers(0, 700)


def id_on(day: int) -> UUID:
    return first_id(START + timedelta(days=day))


def months_between(low: UUID, high: UUID) -> int:
    """Return the number of months with ids from `low` to `high`, including both."""
    first, last = moment_of(low), moment_of(high)
    return max((last.year - first.year) * 12 + last.month - first.month + 1, 0)


class NewestIdsTests(TestCase):
    @given(
        tops=st.lists(days, max_size=30, unique=True),
        low=st.one_of(st.none(), days),
        high=st.one_of(st.none(), days),
        newer=st.booleans(),
        limit=st.integers(1, 40),
        descents=st.integers(1, 100),
    )
    def test_repositories_are_complete_and_few(
        self, tops: list[int], low: int | None, high: int | None, newer: bool, limit: int, descents: int
    ) -> None:
        ids = {number: id_on(day) for number, day in enumerate(tops)}
        NewestEvents.objects.all().delete()
        NewestEvents.objects.bulk_create(NewestEvents(repository_id=pk, pull=id) for pk, id in ids.items())
        lowest = id_on(low) if low is not None else id_on(0) if newer else FIRST_ID
        span = Span(lowest, id_on(high) if high is not None else LAST_ID, newer)
        newest = NewestIds({"pull": NewestEvents.objects.all()})

        found = newest.above(span, limit, descents)

        assert all(len(fetched) <= max(limit, descents + 1) for fetched in newest.fetched.values())
        if found is None:
            last = span.low if newer else span.high
            assert sum(id >= last for id in ids.values()) >= descents
            return
        known, end = found
        reached = span.low if newer or end is None else max(span.low, end)
        assert known == {pk: id for pk, id in ids.items() if id >= reached}
        if newer:
            read = [months_between(span.low, min(end or LAST_ID, max(ids.values()))) for _ in known]
        else:
            read = [months_between(max(reached, id_on(0)), min(id, span.high)) for id in known.values()]
        assert sum(read) <= descents
