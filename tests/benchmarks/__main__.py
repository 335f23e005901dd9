"""Measure how fast events are recorded, found and deleted, and how much space they take, and write a report.

`make bench` measures a million events, `make bench-large` 20 million; `EVENTS` is another number. Both start
their own PostgreSQL, which flushes to disk as in production, and Redis. What has been measured is kept in a
folder. If the benchmarks are stopped and started again, they continue there.

| module | measures |
| --- | --- |
| `world.py`, `messages.py`, `filling.py` | nothing: they create the data |
| `sizes.py` | bytes an event |
| `pages.py` | first pages |
| `peers.py` | first pages of other audit logs |
| `api.py` | pages, exports and the tail of the API |
| `recording.py`, `load.py`, `servers.py`, `bare.py` | recording |
| `deletion.py` | auto-deletion |
| `embedded.py` | an installation on SQLite |
| `report.py`, `chart.py` | nothing: they write the report |
"""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from tests import services
from tests.benchmarks import report
from tests.benchmarks.report import Notebook
from tests.standalone import configure

SECONDS, SECONDS_PER_MILLION = 450, 150
GIGABYTES, GIGABYTES_PER_MILLION = 7, 1.5
"""What the benchmarks take, apart from and for each million events, on two cores.

20 million events take 12 GB with their tallies, and another audit log beside them up to 10 GB. Auto-deletion
needs two copies of a million events.
"""


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="number of events")
    parser.add_argument("--folder", type=Path, required=True, help="keeps the data and the findings")
    parser.add_argument("--report", type=Path, required=True, help="the report to write, a Markdown file")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    millions = arguments.events / 1e6
    minutes = (SECONDS + SECONDS_PER_MILLION * millions) / 60
    gigabytes = GIGABYTES + GIGABYTES_PER_MILLION * millions
    arguments.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(arguments.folder).free / 1e9
    print(
        f"{arguments.events:,} events take about {minutes:.0f} minutes and up to {gigabytes:.0f} GB in"
        f" {arguments.folder}, where {free:.0f} GB are free. Ctrl-C stops, and the same command continues.",
        flush=True,
    )
    if free < gigabytes:
        raise SystemExit("Not enough free space. `--folder` selects another place.")
    with (
        services.postgresql(arguments.folder, durable=True, data=arguments.folder / "postgresql") as database,
        services.redis(arguments.folder) as cache,
    ):
        configure(
            DATABASE_URL=database,
            REDIS_URL=cache,
            DATA_DIR=str(arguments.folder / "data"),
            SECRET_KEY="bench",
            DELETION_DELAY="0",
            DJANGO_SETTINGS_MODULE="tests.benchmarks.settings",
        )
        try:
            measure(arguments)
        except KeyboardInterrupt:
            raise SystemExit("Stopped. The same command continues.") from None


def measure(arguments: Namespace) -> None:
    # These modules import models, so Django must be set up first.
    from tests.benchmarks import api, embedded, filling, pages, peers, recording
    from tests.benchmarks.world import World

    folder, notebook = arguments.folder, Notebook(arguments.folder / "findings.json")
    world = World(notebook.once("events", lambda: arguments.events))
    if world.events != arguments.events:
        raise SystemExit(f"{folder} contains a world of {world.events:,} events. Delete it to start anew.")
    filled = filling.fill(world, notebook)
    subjects = {
        "Deliveries": ("deliveries", lambda: recording.measure_all(folder, world)),
        "Recording in bulk": ("bulk", lambda: recording.measure_bulk(world)),
        "Space": ("sizes", lambda: filled.sizes),
        "First pages": ("matrix", lambda: pages.measure_matrix(world, filled.start)),
        "First pages of other audit logs": ("peers", lambda: peers.measure_all(filled.bounds)),
        "The API": ("api", lambda: api.measure_all(folder, world)),
        "Auto-deletion": ("deletion", lambda: filled.deletion),
        "An installation on SQLite": ("embedded", lambda: embedded.measure(folder / "embedded")),
    }
    # Deliveries come last, because they add events. The report begins with them.
    order = ("sizes", "deletion", "matrix", "peers", "api", "bulk", "deliveries", "embedded")
    for title, (name, work) in sorted(subjects.items(), key=lambda item: order.index(item[1][0])):
        print(f"{title} …", flush=True)
        notebook.findings(name, work)
    found = {title: notebook.findings(*subject) for title, subject in subjects.items()}
    found["First pages"].tables.insert(0, pages.responses_table(filled.responses))
    found["First pages"].figures |= {
        f"pages, {label}|{size}": ms
        for size, times in filled.responses.items()
        for label, ms in times.items()
    }
    report.write(arguments.report, filled.description, found)


if __name__ == "__main__":
    main()
