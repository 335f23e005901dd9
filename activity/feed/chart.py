"""A chart of events over time: stacked bars by category, rendered on the server as inline SVG.

This module only lays out the bars. The caller supplies the counts and each bar's link. The template is
`registry_activity/_chart.html` and the style sheet is `registry_activity/chart.css`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import accumulate

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from activity.feed.chart_counts import Bucket
from repositories.access.levels import Category
from repositories.utils.moments import format_time

OTHER = "other"
LABELS: Mapping[str, Promise] = {category.value: category.label for category in Category} | {
    OTHER: _("Other")
}

SLOT_WIDTH, CHART_HEIGHT = 20, 1000
"""The width of a bar with its gap, and the height of the tallest bar, in SVG units. CSS scales both."""
MIN_SEGMENT_HEIGHT = 20
"""Keeps a single deletion visible among thousands of pulls."""


@dataclass(frozen=True)
class Segment:
    """The part of a bar that represents one category."""

    category: str
    y: int
    height: int


@dataclass(frozen=True)
class Bar:
    """A bucket laid out as a stacked bar."""

    x: int
    period: str
    """The start and end of the bucket, formatted in the time zone of the chart."""
    url: str
    total: int
    summary: str
    counts: list[int]
    """The count for each series, in legend order."""
    segments: list[Segment]


@dataclass(frozen=True)
class Series:
    """A category with events in the chart: one legend entry and one table column."""

    category: str
    label: str
    total: int


@dataclass(frozen=True)
class Chart:
    """Everything the template needs to render a chart."""

    bars: list[Bar]
    series: list[Series]
    total: int
    peak: int
    """The number of events in the tallest bar."""
    width: int
    height: int
    zone: tzinfo
    """The time zone of the periods: the viewer's, or UTC in charts of long ranges."""
    bar_width: int = SLOT_WIDTH * 4 // 5

    @property
    def summary(self) -> str:
        """A description of the chart for screen readers."""
        if not self.total:
            return gettext("No events.")
        text = gettext("%(events)s from %(first)s to %(last)s: %(parts)s. The tallest bar has %(peak)s.")
        return text % {
            "events": event_count_text(self.total),
            "first": self.first,
            "last": self.last,
            "parts": ", ".join(f"{series.label} {intcomma(series.total)}" for series in self.series),
            "peak": intcomma(self.peak),
        }

    @property
    def is_in_utc(self) -> bool:
        """Whether the periods are in UTC, although the viewer's time zone is another."""
        return str(self.zone) != timezone.get_current_timezone_name()

    @property
    def first(self) -> str:
        return self.bars[0].period.partition(" – ")[0] if self.bars else ""

    @property
    def last(self) -> str:
        return self.bars[-1].period.partition(" – ")[2] if self.bars else ""


def draw(buckets: Sequence[Bucket], url_for: Callable[[Bucket], str]) -> Chart:
    """Return a chart of consecutive buckets.

    `url_for` returns the URL of a page that lists a bucket's events, or an empty string if there is no link.
    """
    counts = [_merge_unknown(bucket.counts) for bucket in buckets]
    totals: Counter[str] = Counter()
    for counted in counts:
        totals.update(counted)
    labels = {category: label for category, label in LABELS.items() if totals[category]}
    series = [Series(category, str(label), totals[category]) for category, label in labels.items()]
    peak = max((counted.total() for counted in counts), default=0)
    stacks = [[_segment_height(counted[item.category], peak) for item in series] for counted in counts]
    chart_height = max([CHART_HEIGHT, *map(sum, stacks)])
    # Each bucket ends where the next one starts.
    edges = {(moment, bucket.zone) for bucket in buckets for moment in (bucket.start, bucket.end)}
    times = {edge: _format_time(*edge) for edge in edges}
    bars = []
    for index, (bucket, counted, stack) in enumerate(zip(buckets, counts, stacks, strict=True)):
        period = f"{times[bucket.start, bucket.zone]} – {times[bucket.end, bucket.zone]}"
        parts = ", ".join(f"{item.label} {intcomma(n)}" for item in series if (n := counted[item.category]))
        tops = [chart_height - height for height in accumulate(stack)]
        bars.append(
            Bar(
                x=index * SLOT_WIDTH + SLOT_WIDTH // 10,
                period=period,
                url=url_for(bucket),
                total=counted.total(),
                summary=f"{period}: {event_count_text(counted.total())}{f' ({parts})' if parts else ''}",
                counts=[counted[item.category] for item in series],
                segments=[
                    Segment(item.category, y, height)
                    for item, y, height in zip(series, tops, stack, strict=True)
                    if height
                ],
            )
        )
    width = SLOT_WIDTH * max(len(bars), 1)
    zone = buckets[0].zone if buckets else UTC
    return Chart(bars, series, totals.total(), peak, width, chart_height, zone)


def event_count_text(number: int) -> str:
    return ngettext("%(number)s event", "%(number)s events", number) % {"number": intcomma(number)}


def _merge_unknown(counts: Mapping[str, int]) -> Counter[str]:
    """Return the counts by category, with all unknown categories merged into `OTHER`."""
    merged: Counter[str] = Counter()
    for category, number in counts.items():
        merged[category if category in LABELS else OTHER] += number
    return merged


def _segment_height(number: int, peak: int) -> int:
    return max(MIN_SEGMENT_HEIGHT, CHART_HEIGHT * number // peak) if number else 0


def _format_time(moment: datetime, zone: tzinfo) -> str:
    return format_time(moment.astimezone(zone), "moment")
