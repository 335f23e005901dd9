"""Fill the database with a world, and measure pages on the way. It continues where it was stopped."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any

import django
from django.core.management import call_command
from django.db import connection, transaction
from tqdm import tqdm

from activity.identity import first_id
from activity.models import Event
from tests.benchmarks import deletion, pages, sizes
from tests.benchmarks import world as worlds
from tests.benchmarks.report import Findings, Notebook
from tests.benchmarks.world import World

DELETION_EVENTS = 1_000_000
"""After how many events auto-deletion is measured. It needs three times their space."""
PARTS = (0.1, 0.25, 0.5, 1)
"""The parts of the world after which pages are measured."""


@dataclass
class Filled:
    """A filled database, and what was measured on the way."""

    start: datetime
    """The time of the first event."""
    sizes: Findings
    deletion: Findings = field(default_factory=Findings)
    responses: dict[str, dict[str, float]] = field(default_factory=dict)
    """The response times of pages, by the number of events."""
    bounds: dict[int, Any] = field(default_factory=dict)
    """The lowest id after the events that had been created, by the number of events."""
    description: str = ""


def fill(world: World, notebook: Notebook) -> Filled:
    """Create, record and copy what isn't there yet."""
    start = datetime.fromisoformat(notebook.once("start", lambda: world.start(datetime.now(UTC)).isoformat()))
    notebook.once("created", lambda: _create(world))
    notebook.once("recorded", lambda: worlds.record_all(world, start))
    filled = Filled(start, notebook.findings("sizes", lambda: sizes.measure(world.recorded)))
    worlds.prepare_copying(world, start)
    deletion_after = min(world.slices, ceil(DELETION_EVENTS / world.recorded))
    measured = {max(1, round(world.slices * part)) for part in PARTS}
    for number in tqdm(range(1, world.slices + 1), desc="Copying", unit="slice"):
        if number > notebook.values.get("slices", 1):
            worlds.copy_slice(world, start, number - 1)
            notebook.keep("slices", number)
        if number in measured:
            size, responses = notebook.once(f"pages after {number}", _measure)
            filled.responses[str(size)] = responses
            filled.bounds[size] = first_id(start + number * world.slice)
        if number == deletion_after:
            filled.deletion = notebook.findings("deletion", lambda: _measure_deletion(world))
    filled.description = notebook.once("description", lambda: _describe(world))
    return filled


def _create(world: World) -> None:
    call_command("migrate", verbosity=0)
    with transaction.atomic():
        worlds.create(world)


def _measure() -> tuple[int, dict[str, float]]:
    worlds.count_tallies()
    return Event.objects.count(), pages.measure_responses()


def _measure_deletion(world: World) -> Findings:
    worlds.count_tallies()
    return deletion.measure_all(world.names())


def _describe(world: World) -> str:
    version = connection.cursor().connection.info.server_version
    return (
        f"Measured on {datetime.now(UTC):%B %-d, %Y} on {os.cpu_count()} cores, which the database, the web"
        f" server, the recorder and the client share, with PostgreSQL {version // 10_000}.{version % 10_000},"
        f" Python {platform.python_version()} and Django {django.__version__}."
        " `make bench` and `make bench-large` write such reports."
        f"\n\nThe database contains {Event.objects.count():,} events of {world.span.days} days in"
        f" {world.repositories:,} repositories, of which a third went out of use at some time. Times depend"
        " on the machine and on what else it does: compare figures of the same report."
    )
