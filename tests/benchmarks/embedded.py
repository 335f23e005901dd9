"""Measure an installation on SQLite, in a process of its own: `python -m tests.benchmarks.embedded FOLDER`.

The findings are written to `embedded.json` in the folder.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.report import Cell, Findings, Table
from tests.standalone import configure

EVENTS = 50_000
SECONDS = 4.0
PAGES = (
    "Activity tab of the busiest repository",
    "Activity, MSR admin",
    "Activity, 3 quiet repositories",
    "API, MSR admin",
    "Admin list",
    "Admin list, type:delete",
)


def measure(folder: Path) -> Findings:
    """Measure in another process, because Django can only be set up for one database."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "tests.benchmarks.embedded", str(folder)], check=True)
    kept = json.loads((folder / "embedded.json").read_text())
    return Findings([Table(**table) for table in kept["tables"]], kept["figures"])


def main() -> None:
    folder = Path(sys.argv[1])
    configure(DATA_DIR=str(folder), SECRET_KEY="bench")
    found = measure_here()
    (folder / "embedded.json").write_text(json.dumps(asdict(found)))


def measure_here() -> Findings:
    from django.core.management import call_command
    from django.db import connection

    from activity.models import Event, JournalEntry
    from activity.storage import journal
    from tests.benchmarks import messages, pages
    from tests.benchmarks import world as worlds

    call_command("migrate", verbosity=0)
    world = worlds.World(EVENTS)
    worlds.create(world)
    messages_per_second = world.recorded / worlds.record_all(world, world.start(datetime.now(UTC)))
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare_message (id integer PRIMARY KEY, body blob)")
        cursor.execute("PRAGMA synchronous")
        synchronous = {1: "NORMAL", 2: "FULL"}.get(cursor.fetchone()[0], "another")
    rng = random.Random(1)

    def message() -> bytes:
        digest = f"sha256:{rng.getrandbits(256):064x}"
        values = {
            "repository": world.name(rng.randrange(50)),
            "tag": "v1",
            "digest": digest,
            "actor": "person-1",
        }
        return messages.fill(messages.PUSH, rng, datetime.now(UTC), **values)

    def insert() -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO bare_message (body) VALUES (%s)", [message()])

    def accept() -> None:
        journal.append(JournalEntry.Source.REGISTRY, message())

    def record() -> None:
        worlds.record([(datetime.now(UTC), message())])

    rows: list[list[Cell]] = [
        ["one raw INSERT and commit", _rate(insert)],
        ["one push accepted, that is, committed to the journal", _rate(accept)],
    ]
    JournalEntry.objects.all().delete()
    rows += [
        ["one push accepted and recorded", _rate(record)],
        ["messages recorded in batches of 1,000", messages_per_second],
    ]
    responses = {
        label: pages.median_ms(request) for label, request in pages.all_pages().items() if label in PAGES
    }
    title = f"First pages with {Event.objects.count():,} events, ms"
    return Findings(
        [
            Table(f"Commits a second, with synchronous = {synchronous}", ["a second"], rows),
            Table(title, ["ms"], [[label, ms] for label, ms in responses.items()]),
        ]
    )


def _rate(work: Callable[[], object]) -> float:
    started, number = time.perf_counter(), 0
    while time.perf_counter() < started + SECONDS:
        work()
        number += 1
    return number / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
