"""A chart of events over time: stacked bars by category, as inline SVG that the server draws.

It only draws: what to count, and where a bar leads, its caller says. The template is
`activity/_chart.html`, the style sheet `activity/chart.css`; neither knows more than this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format

from activity.feed.counting import Bucket
from repositories.access.levels import Category

OTHER = "other"
LABELS: dict[str, str] = {category.value: str(category.label) for category in Category} | {OTHER: "Other"}

WIDTH, HEIGHT = 20, 1000
"""Of a bar with its gap, and of the tallest bar, in units of the drawing: the page stretches them."""
LEAST = 20
"""A single deletion among thousands of pulls must stay visible."""


@dataclass(frozen=True)
class Segment:
    """The part of a bar that stands for one category."""

    category: str
    y: int
    height: int


@dataclass(frozen=True)
class Bar:
    """A bucket, drawn."""

    x: int
    start: datetime
    period: str
    """From when to when, in the viewer's time zone."""
    url: str
    total: int
    summary: str
    counts: list[int]
    """In the order of the legend."""
    segments: list[Segment]


@dataclass(frozen=True)
class Series:
    """A category that has events in the chart: a line of its legend, and a column of its table."""

    category: str
    label: str
    total: int


@dataclass(frozen=True)
class Chart:
    """What the template shows."""

    bars: list[Bar]
    series: list[Series]
    total: int
    top: int
    """The events of the tallest bar."""
    width: int
    height: int
    bar_width: int = WIDTH * 4 // 5

    @property
    def summary(self) -> str:
        """The chart in a sentence."""
        if not self.total:
            return "No events."
        parts = ", ".join(f"{series.label} {series.total:,}" for series in self.series)
        period = f"from {self.first} to {self.last}"
        return f"{events(self.total)} {period}: {parts}. The highest bar has {self.top:,}."

    @property
    def first(self) -> str:
        return self.bars[0].period.partition(" – ")[0] if self.bars else ""

    @property
    def last(self) -> str:
        return self.bars[-1].period.partition(" – ")[2] if self.bars else ""


def draw(buckets: Sequence[Bucket], address: Callable[[Bucket], str]) -> Chart:
    """Draw buckets, which follow each other in time; `address` says where the events of one are listed."""
    counts = [_by_series(bucket.counts) for bucket in buckets]
    series = [
        Series(category, label, total)
        for category, label in LABELS.items()
        if (total := sum(counted.get(category, 0) for counted in counts))
    ]
    top = max((sum(counted.values()) for counted in counts), default=0)
    heights = [[_height(counted.get(one.category, 0), top) for one in series] for counted in counts]
    height = max([HEIGHT, *(sum(stack) for stack in heights)])
    bars = [
        _bar(number, bucket, address(bucket), series, counted, stack, height)
        for number, (bucket, counted, stack) in enumerate(zip(buckets, counts, heights, strict=True))
    ]
    return Chart(
        bars=bars,
        series=series,
        total=sum(one.total for one in series),
        top=top,
        width=WIDTH * max(len(bars), 1),
        height=height,
    )


def events(number: int) -> str:
    return "1 event" if number == 1 else f"{number:,} events"


def _by_series(counts: Mapping[str, int]) -> dict[str, int]:
    """Put the categories that the software doesn't know together."""
    known = {category: number for category, number in counts.items() if category in LABELS}
    unknown = sum(number for category, number in counts.items() if category not in LABELS)
    return {**known, OTHER: known.get(OTHER, 0) + unknown}


def _height(number: int, top: int) -> int:
    return max(LEAST, HEIGHT * number // top) if number else 0


def _bar(
    number: int,
    bucket: Bucket,
    url: str,
    series: Sequence[Series],
    counted: Mapping[str, int],
    heights: Sequence[int],
    bottom: int,
) -> Bar:
    segments = []
    for one, height in zip(series, heights, strict=True):
        bottom -= height
        if height:
            segments.append(Segment(one.category, bottom, height))
    period = f"{_moment(bucket.start)} – {_moment(bucket.end)}"
    total = sum(counted.values())
    parts = ", ".join(f"{one.label} {n:,}" for one in series if (n := counted.get(one.category, 0)))
    return Bar(
        x=number * WIDTH + WIDTH // 10,
        start=bucket.start,
        period=period,
        url=url,
        total=total,
        summary=f"{period}: {events(total)}{f' ({parts})' if parts else ''}",
        counts=[counted.get(one.category, 0) for one in series],
        segments=segments,
    )


def _moment(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "M j, Y g:i A")
