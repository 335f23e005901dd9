"""What the benchmarks found, and the report about it: tables in Markdown, and a chart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import chart

Cell = str | float | None


@dataclass
class Table:
    title: str
    columns: list[str]
    """The headings of all columns but the first, which has none."""
    rows: list[list[Cell]]
    note: str = ""


@dataclass
class Findings:
    """What one subject's benchmarks found."""

    tables: list[Table] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """The figures that the targets and the chart use, by name."""


class Notebook:
    """The findings so far, in a file, so that benchmarks that were stopped continue where they were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, name: str, value: Any) -> Any:
        """Store a value under a name, and return it."""
        self.values[name] = value
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(self.values, indent=1))
        unfinished.replace(self.path)
        return value

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what `measure` returned, now or before the benchmarks were stopped."""
        return self.values[name] if name in self.values else self.keep(name, measure())

    def findings(self, name: str, measure: Callable[[], Findings]) -> Findings:
        """Return the findings of a subject, measured now or before the benchmarks were stopped."""
        kept = self.once(name, lambda: asdict(measure()))
        return Findings([Table(**table) for table in kept["tables"]], kept["figures"])


@dataclass(frozen=True)
class Target:
    """A bound for a figure."""

    subject: str
    figure: str
    bound: float
    at_least: bool = False
    unit: str = ""
    why: str = ""
    """Why the target was missed, if it was, according to a profile."""

    def row(self, figures: dict[str, float]) -> list[Cell]:
        value = figures.get(self.figure)
        if value is None:
            return [self.subject, self._text(self.bound), "not measured", ""]
        met = value >= self.bound if self.at_least else value <= self.bound
        verdict = "met" if met else f"**missed** {self.why}".strip()
        return [self.subject, self._text(self.bound), f"{text(value)} {self.unit}".strip(), verdict]

    def _text(self, bound: float) -> str:
        return f"{'≥' if self.at_least else '≤'} {text(bound)} {self.unit}".strip()


# Why targets were missed, according to profiles. Remove what has become untrue.
SHARED = "The recorder takes a core of its own while messages wait."
PYTHON = "Python takes most of the time; see *Where the recorder's time goes* below."
LAYER = (
    "Checking the token and reading the message take 40% of the request's CPU; the empty view reads nothing."
)
ROW = (
    "The row, with the digest, the repository and the actor as text, takes 238 bytes; the index of actors"
    " takes 85; lookups, which grow more slowly than events, take 124."
)
TALLIES = (
    "In quiet repositories, most events are alone in their half hour, day, week and four weeks, with four"
    " tallies."
)
QUIET = (
    "A page of many quiet repositories takes a descent into an index for each repository and month. The kinds"
    " of a type are planned one by one."
)
API_PAGES = (
    "Django compiles the SQL of 7 to 30 statements; of a page of 100 events, their objects and values take"
    " half of the time."
)
EXPORTS = "Python builds each line from an object; COPY writes rows as they are stored."
PARTITIONS = (
    "A third of a run replaces partitions, and a quarter counts events, for the plans and the progress. The"
    " DELETE takes an eighth."
)
ARCHIVES = (
    "Python takes 25 µs an event, 15 times as long as the DELETE: a third for compression, a quarter for"
    " reading rows, and the rest for details, messages and JSON."
)

TARGETS = [
    *(
        target
        for clients, label, share in ((1, "1 client", 0.8), (8, "8 clients", 0.7))
        for target in (
            *(
                Target(
                    f"{disk}{kind}, {label}, to a raw INSERT",
                    f"{disk}{kind}, {clients}",
                    share,
                    True,
                    "",
                    SHARED,
                )
                for disk in ("", "slow disk, ")
                for kind in ("push", "pull")
            ),
            Target(f"layer, {label}, to an empty view", f"layer, {clients}", 0.8, True, why=LAYER),
            Target(
                f"accepted alone, {label}, to a raw INSERT", f"recorder stopped, push, {clients}", 1, True
            ),
            Target(
                f"from accepted to visible, p99, {label}",
                f"visible p99, {clients}",
                500,
                unit="ms",
                why=SHARED,
            ),
            Target(f"messages that wait after a minute, {label}", f"backlog, {clients}", 1_000, why=PYTHON),
        )
    ),
    Target(
        "recorded in bulk, all repositories known", "bulk, known", 20_000, True, "events a second", PYTHON
    ),
    Target("recorded in bulk, a mixture", "bulk, mixed", 15_000, True, "events a second", PYTHON),
    Target("an event: row, indexes, lookups", "bytes an event", 340, unit="bytes", why=ROW),
    Target("its tallies", "tallies, bytes an event", 40, unit="bytes", why=TALLIES),
    Target("evidence of a message", "evidence, bytes a message", 150, unit="bytes"),
    Target("slowest first page, planning and execution", "slowest page, ms", 10, unit="ms", why=QUIET),
    Target("largest first page", "largest page, buffers", 2_000, unit="buffers", why=QUIET),
    *(
        Target(
            f"API page of {size}, {viewer}, to a bare view",
            f"API page, {viewer}, {size}",
            0.5,
            True,
            why=API_PAGES,
        )
        for viewer in ("MSR admin", "a tenth of the repositories", "3 quiet repositories")
        for size in (10, 100)
    ),
    Target("export, to COPY TO", "export to COPY", 0.3, True, why=EXPORTS),
    Target("tail, from commit to receipt, p99", "tail, p99", 1_000, unit="ms"),
    Target(
        "deletion by age, to DELETE and VACUUM", "deletion, by age within partitions", 0.5, why=PARTITIONS
    ),
    Target("the same with an archive", "deletion, by age within partitions, archived", 3, why=ARCHIVES),
    Target("first page beside deletion, p99 to its rest", "first page beside deletion", 3),
    Target("recording beside deletion, p99 to its rest", "recording beside deletion", 3),
    Target("CPU of the client, a request to the empty view", "client's CPU, ms", 0.1, unit="ms"),
]
LINES = {
    "Activity page, MSR admin": "pages, Activity, MSR admin",
    "API statements, MSR admin": "pages, API, MSR admin, statements alone",
    "API statements, 3 quiet repositories": "pages, API, 3 quiet repositories, statements alone",
    "Harbor, administrator": "Harbor, administrator, everything",
    "Harbor, five projects": "Harbor, member of five projects",
    "Quay, superuser": "Quay, superuser, everything",
    "django-auditlog, admin list": "django-auditlog, admin list",
}
"""The lines of the chart, and the figures that they show."""


def text(cell: Cell) -> str:
    """Return a cell as text: large numbers without decimals, small ones with up to three."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    decimals = (
        0 if abs(cell) >= 100 or cell == int(cell) else 1 if abs(cell) >= 10 else 2 if abs(cell) >= 0.1 else 3
    )
    return f"{cell:,.{decimals}f}"


def write(path: Path, description: str, found: dict[str, Findings]) -> None:
    """Write the report to a Markdown file, and the chart to an SVG file beside it."""
    figures = {name: value for findings in found.values() for name, value in findings.figures.items()}
    chart_path = path.with_suffix(".svg")
    targets = Table("", ["target", "measured", ""], [target.row(figures) for target in TARGETS])
    parts = [
        "# Benchmarks",
        description,
        f"![Response times of first pages against the number of events]({chart_path.name})",
        "## Targets",
        markdown(targets),
        *(
            "\n".join([f"## {title}", "", *(markdown(table) for table in findings.tables)])
            for title, findings in found.items()
        ),
    ]
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n")
    lines = {label: _points(figures, name) for label, name in LINES.items()}
    chart_path.write_text(
        chart.draw(
            "Response time of the first page",
            "events",
            "ms",
            {label: points for label, points in lines.items() if points},
        )
    )


def _points(figures: dict[str, float], name: str) -> list[tuple[float, float]]:
    """Return the figures whose names are this name and a number of events."""
    prefix = f"{name}|"
    return [
        (float(key.removeprefix(prefix)), value) for key, value in figures.items() if key.startswith(prefix)
    ]


def markdown(table: Table) -> str:
    """Return a table in Markdown, with its title and its note."""
    lines = [
        *([f"### {table.title}", ""] if table.title else []),
        _line(["", *table.columns]),
        _line(["---", *["---:"] * len(table.columns)]),
        *(_line(map(text, row)) for row in table.rows),
    ]
    return "\n".join([*lines, *(["", table.note] if table.note else []), ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")
