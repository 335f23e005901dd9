"""Charts of up to 31 days consist of the viewer's days, and agree with the API across clock changes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from activity.feed import chart_counts
from activity.models import Event, Tally
from activity.storage import events as event_storage
from activity.storage import tallies
from repositories.models import Profile, Repository
from tests import factories

URL = "/repositories/acme/web/activity/"
DAY = timedelta(days=1)
CHANGES = [
    ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Asia/Kolkata", "2026-10-25"),
    ("America/St_Johns", "2026-03-08"),
    ("America/St_Johns", "2026-11-01"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
]


def midnight(day: datetime, zone: ZoneInfo) -> datetime:
    return day.replace(tzinfo=zone).astimezone(UTC)


def set_time(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment)


def log_in_from(zone: str) -> Client:
    viewer = factories.msr_admin()
    Profile.objects.create(user=viewer, time_zone=zone)
    client = Client()
    client.force_login(viewer)
    return client


def record_at(web: Repository, moments: list[datetime]) -> None:
    """Record an event at each of these times, and count half of them with the tallies."""
    for part in (moments[::2], moments[1::2]):
        event_storage.insert(
            [
                factories.event_row(occurred_at=moment, repository=web, repository_name="acme/web")
                for moment in part
            ]
        )
        if part is not moments[1::2]:
            tallies.fold()


def moments_around(midnights: list[datetime]) -> list[datetime]:
    """Return times around each midnight, and in the hours in which clocks change."""
    offsets = [timedelta(minutes=minutes) for minutes in (-40, -10, 0, 20, 50, 100, 130, 160, 190, 700)]
    return [moment + offset for moment in midnights for offset in offsets]


def count_in_api(client: Client, link: dict[str, list[str]]) -> int:
    """Return how many events the API lists from the start to the end of a bar."""
    query = {"after": link["after"][0], "before": link["before"][0], "page_size": "100"}
    return len(client.get("/api/v0/events/", query).json()["results"])


@pytest.mark.parametrize(
    ("zone", "change"), [CHANGES[0], *(pytest.param(*each, marks=pytest.mark.long) for each in CHANGES[1:])]
)
def test_days_of_the_chart_agree_with_the_api(
    web: Repository, monkeypatch: pytest.MonkeyPatch, zone: str, change: str
) -> None:
    local = ZoneInfo(zone)
    first = datetime.fromisoformat(change) - 20 * DAY
    midnights = [midnight(first + number * DAY, local) for number in range(32)]
    set_time(monkeypatch, midnights[-1] + timedelta(hours=5))
    record_at(web, moments_around(midnights))
    client = log_in_from(zone)

    month = {"after": midnights[0].isoformat(), "before": midnights[-1].isoformat()}
    chart = client.get(URL, month).context["chart"]

    assert str(chart.zone) == zone
    links = [parse_qs(bar.url[1:]) for bar in chart.bars]
    assert [datetime.fromisoformat(link["after"][0]) for link in links] == midnights[:-1]
    assert sum(bar.total for bar in chart.bars) == 10 * 31
    assert [count_in_api(client, link) for link in links[19:22]] == [bar.total for bar in chart.bars[19:22]]
    hours = [bar for bar in client.get(URL, links[20]).context["chart"].bars if bar.total]
    counts = [count_in_api(client, parse_qs(bar.url[1:])) for bar in hours]
    assert counts == [bar.total for bar in hours]
    assert sum(counts) == chart.bars[20].total == 10
    day = f"{first + 20 * DAY:%Y-%m-%d}"
    assert client.get(URL, {"q": f"on:{day}"}).context["chart"].total == 10


@pytest.mark.parametrize(
    ("zone", "days"),
    [("Europe/Berlin", 32), ("Asia/Kathmandu", 7)],  # Kathmandu is 5:45 hours ahead
)
def test_chart_says_that_its_days_are_in_utc(
    web: Repository, monkeypatch: pytest.MonkeyPatch, zone: str, days: int
) -> None:
    now = datetime(2026, 10, 20, 12, tzinfo=UTC)
    set_time(monkeypatch, now)
    record_at(web, [now - number * timedelta(hours=7) for number in range(days * 3)])

    response = log_in_from(zone).get(
        URL, {"after": (now - days * DAY).isoformat(), "before": now.isoformat()}
    )

    chart = response.context["chart"]
    assert "The times in this chart are in UTC." in response.content.decode()
    assert chart.total == response.context["chart"].total == days * 3 - 1
    assert chart.last.endswith("12:00 PM")


def test_half_hours_are_deleted_after_a_month_and_days_remain(
    web: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 10, 20, 12, tzinfo=UTC)
    moments = [now - number * timedelta(hours=5) for number in range(200)]  # 41 days
    set_time(monkeypatch, now)
    record_at(web, moments)
    tallies.fold()
    half_hours = Tally.objects.filter(repository=web.pk, unit=Tally.Unit.HALF_HOUR)
    assert 150 < half_hours.count() < 165
    client = log_in_from("Europe/Berlin")

    def count(**bounds: timedelta) -> int:
        times = {name: (now - ago).isoformat() for name, ago in bounds.items()}
        return client.get(URL, times).context["chart"].total

    ranges = [
        (timedelta(days=start), timedelta(days=end)) for start, end in [(42, 0), (40, 38), (39, 30), (20, 3)]
    ]
    spans = [{"after": after, "before": before} for after, before in ranges]
    expected = [sum(now - after <= moment < now - before for moment in moments) for after, before in ranges]
    assert [count(**span) for span in spans] == expected

    set_time(monkeypatch, now + 40 * DAY)
    tallies.fold()

    client = log_in_from("Europe/Berlin")
    assert not half_hours.exists()
    assert [count(**span) for span in spans] == expected
    assert Event.objects.count() == 200


zones = st.sampled_from(
    [
        "UTC",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "America/Havana",
        "Africa/Cairo",
        "Pacific/Apia",
        "Asia/Kathmandu",
    ]
).map(ZoneInfo)
moments = st.datetimes(datetime(2006, 1, 1), datetime(2026, 12, 31)).map(
    lambda naive: naive.replace(tzinfo=UTC)
)
lengths = st.one_of(
    st.timedeltas(timedelta(seconds=1), 31 * DAY), st.timedeltas(timedelta(seconds=1), 900 * DAY)
)


@given(zone=zones, after=moments, length=lengths)
def test_buckets_cover_the_range_in_whole_days(zone: ZoneInfo, after: datetime, length: timedelta) -> None:
    before = after + length

    buckets = chart_counts.make_buckets(after, before, zone)

    assert (buckets[0].start, buckets[-1].end) == (after, before)
    assert all(bucket.end == following.start for bucket, following in pairwise(buckets))
    assert all(bucket.start < bucket.end for bucket in buckets)
    assert len(buckets) <= chart_counts.MAX_BUCKETS + 2  # a 25-hour day can add one
    if timedelta(days=10) < length <= 31 * DAY:
        clocks = Counter(bucket.start.astimezone(zone).time() for bucket in buckets[1:])
        # A day begins later if clocks are set forward at midnight.
        assert clocks.most_common(1)[0][0] == datetime.min.time()
        assert clocks.total() - clocks[datetime.min.time()] <= 1
