"""Draws a line chart with logarithmic axes as an SVG."""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 30, 50
COLORS = ("#1f77b4", "#2ca02c", "#17becf", "#d62728", "#ff7f0e", "#9467bd", "#8c564b")

Points = list[tuple[float, float]]


def draw(title: str, x_label: str, y_label: str, lines: dict[str, Points]) -> str:
    """Return an SVG with one line for each entry. All values must be positive."""
    x_low, x_high = _decades([x for points in lines.values() for x, _ in points])
    y_low, y_high = _decades([y for points in lines.values() for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (log10(x) - x_low) / (x_high - x_low), (log10(y) - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        _text(LEFT, 18, title, "start", "bold"),
        _text(LEFT, HEIGHT - 8, x_label),
        _text(4, TOP - 2, y_label),
    ]
    for power in range(x_low, x_high + 1):
        x, y = place(10**power, 10**y_low)
        parts += [_line(x, TOP, x, y), _text(x, y + 16, f"{10**power:,}", "middle")]
    for power in range(y_low, y_high + 1):
        x, y = place(10**x_low, 10**power)
        parts += [_line(x, y, WIDTH - RIGHT, y), _text(x - 6, y + 4, f"{10.0**power:,g}", "end")]
    ends: list[float] = []
    for color, (label, points) in zip(COLORS, lines.items(), strict=False):
        placed = [place(*point) for point in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in placed]
        y = placed[-1][1]
        while any(abs(y - other) < 14 for other in ends):  # labels must not overlap
            y += 1
        ends.append(y)
        parts.append(_text(WIDTH - RIGHT + 10, y + 4, label, fill=color))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
            ' font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _decades(values: list[float]) -> tuple[int, int]:
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return low, max(high, low + 1)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(
    x: float, y: float, text: str, anchor: str = "start", weight: str = "normal", fill: str = "#333"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{fill}">'
        f"{escape(text)}</text>"
    )
