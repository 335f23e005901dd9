"""The chart of events: its bars, its series, and its text alternatives."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from django.template.loader import render_to_string
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from activity.feed import chart
from activity.feed.chart import Chart
from activity.feed.chart_counts import Bucket
from tests.factories import NOON

HOUR = timedelta(hours=1)


def draw(*counts: dict[str, int]) -> Chart:
    """Draw a chart that has one bar per hour, for these event counts by category."""
    buckets = [
        Bucket(
            NOON + number * HOUR,
            NOON + (number + 1) * HOUR,
            Counter(each),
            timezone.get_current_timezone(),
        )
        for number, each in enumerate(counts)
    ]
    return chart.draw(buckets, lambda bucket: f"?bar={(bucket.start - NOON) // HOUR}")


class TestDrawing:
    def test_chart_stacks_categories_in_proportion_to_their_counts(self) -> None:
        chart = draw({"push": 30, "pull": 10}, {}, {"push": 20})

        assert [(bar.total, sum(part.height for part in bar.segments)) for bar in chart.bars] == [
            (40, 1000),
            (0, 0),
            (20, 500),
        ]
        first = chart.bars[0]
        assert [(part.category, part.y, part.height) for part in first.segments] == [
            ("push", 250, 750),
            ("pull", 0, 250),
        ]
        assert (chart.total, chart.peak) == (60, 40)

    def test_chart_shows_a_single_event_among_a_million(self) -> None:
        chart = draw({"pull": 1_000_000, "delete": 1})

        assert min(part.height for part in chart.bars[0].segments) >= 20
        assert min(part.y for part in chart.bars[0].segments) >= 0

    def test_chart_combines_unknown_categories_as_other(self) -> None:
        chart = draw({"teleport": 2, "<b>": 1})

        assert [(series.label, series.total) for series in chart.series] == [("Other", 3)]

    @given(
        st.lists(st.dictionaries(st.sampled_from(["push", "pull", "x"]), st.integers(0, 10**9)), max_size=9)
    )
    def test_chart_stays_within_its_frame(self, counts: list[dict[str, int]]) -> None:
        chart = draw(*counts)

        for bar in chart.bars:
            assert all(part.y >= 0 and part.y + part.height <= chart.height for part in bar.segments)
            assert 0 <= bar.x <= chart.width - chart.bar_width
        assert chart.total == sum(sum(each.values()) for each in counts)

    def test_chart_has_text_alternatives_and_links(self) -> None:
        with timezone.override("Asia/Tokyo"):
            html = render_to_string(
                "registry_activity/_chart.html", {"chart": draw({"push": 3, "delete": 1}, {})}
            )

        period = "Nov 22, 2026 9:00 PM – Nov 22, 2026 10:00 PM"
        assert f'aria-label="{period}: 4 events (Push 3, Delete 1)"' in html
        assert html.count('href="?bar=0"') == 2  # one link on the bar, and one in the table
        assert "?bar=1" not in html
        assert "4 events from Nov 22, 2026 9:00 PM to Nov 22, 2026 11:00 PM: Push 3, Delete 1." in html
        assert "style=" not in html

    def test_empty_chart_says_no_events(self) -> None:
        assert "No events." in render_to_string("registry_activity/_chart.html", {"chart": draw()})
