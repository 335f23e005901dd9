"""Event ids start with the time of the event, and a redelivered event gets the same id."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.identity import event_id, first_id, moment_of

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))


@given(MOMENTS, st.integers(0, 7), st.text())
def test_event_id_has_the_layout_of_uuid_version_7(moment: datetime, ordinal: int, source_id: str) -> None:
    id = event_id(moment, ordinal, 1, source_id)

    assert (id.version, id.variant) == (7, RFC_4122)
    assert timedelta() <= moment - moment_of(id) < timedelta(milliseconds=1)


@given(MOMENTS, MOMENTS, st.text(), st.text())
def test_event_ids_are_ordered_by_time_to_the_microsecond(a: datetime, b: datetime, x: str, y: str) -> None:
    if a != b:
        assert (event_id(a, 1, 1, x) < event_id(b, 1, 1, y)) == (a < b)


@given(MOMENTS, MOMENTS, st.text())
def test_time_ranges_are_ranges_of_event_ids(moment: datetime, bound: datetime, source_id: str) -> None:
    bound = bound.replace(microsecond=bound.microsecond // 1000 * 1000)

    assert (event_id(moment, 0, 1, source_id) >= first_id(bound)) == (moment >= bound)


@given(MOMENTS, st.text())
def test_events_of_one_message_are_ordered_by_their_ordinals(moment: datetime, source_id: str) -> None:
    ids = [event_id(moment, ordinal, 1, source_id) for ordinal in range(8)]

    assert ids == sorted(set(ids))


def test_same_source_id_from_two_accounts_gives_two_event_ids() -> None:
    moment = datetime(2026, 11, 22, tzinfo=UTC)

    assert event_id(moment, 1, 1, "same") != event_id(moment, 1, 2, "same")


def test_event_id_of_time_before_1970_raises() -> None:
    with pytest.raises(ValueError, match="before 1970"):
        event_id(datetime(1969, 12, 31, tzinfo=UTC), 1, 1, "x")
