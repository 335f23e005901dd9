"""Measure how fast events are recorded, deleted and listed, and whether lists get slower with more events.

`make bench` starts its own Redis and its own PostgreSQL, which flushes to disk as in production. To measure
with more events, run `EVENTS=20000000 make bench`, for example. `world.py` defines the data. The results are
printed to standard output as tables. The times vary on a busy machine, but the numbers of buffers (pages that
PostgreSQL reads from memory or disk) don't.
"""

import os
import platform
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

import django

from tests import services
from tests.standalone import configure

FEW_EVENTS = 10_000
"""The number of events in the first measurement of the lists."""
CLIENTS = (1, 8)
"""How many clients deliver notifications at the same time. Each number is measured separately."""


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    default = int(os.environ.get("EVENTS", 1_000_000))
    parser.add_argument(
        "--events", type=int, default=default, help=f"number of events (more than {FEW_EVENTS:,})"
    )
    many = parser.parse_args().events
    with (
        TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name,
        services.postgresql(Path(name), durable=True) as database,
        services.redis(Path(name)) as cache,
    ):
        configure(DATABASE_URL=database, REDIS_URL=cache, DATA_DIR=name, SECRET_KEY="bench")
        measure(Path(name), many)


def measure(folder: Path, many: int) -> None:
    # These modules import models, so Django must be set up first.
    from django.core.management import call_command

    from tests.benchmarks import admin, deletion, delivery, lists
    from tests.benchmarks import world as worlds

    call_command("migrate", verbosity=0)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, Django {django.__version__}")
    world = worlds.create_world(many)
    print(f"{many:,} events, {worlds.PULLS:.0%} of them pulls, in {len(world.names):,} repositories")
    worlds.record(world, range(FEW_EVENTS))
    few_lists, few_pages = lists.measure_all(world, FEW_EVENTS), admin.measure_all(world, FEW_EVENTS)
    remaining = range(FEW_EVENTS, min(many, worlds.PROTOTYPE_EVENTS))
    seconds = worlds.record(world, remaining)
    worlds.copy_events(world, many)

    print_title("Lists, 10 events per page: median time, and buffers of all queries")
    print(lists.table({FEW_EVENTS: few_lists, many: lists.measure_all(world, many)}))
    print_title("Event pages of the admin, 50 events per page: median time, and buffers of all queries")
    print(lists.table({FEW_EVENTS: few_pages, many: admin.measure_all(world, many)}))
    print_title("Notifications delivered to the HTTP endpoint, each a push that creates two events")
    for clients in CLIENTS:
        print(f"  {delivery.measure(folder, world.names, clients)}")
    print_title(
        f"Recording in batches of {worlds.BATCH:,} events: {len(remaining) / seconds:,.0f} events per second"
    )
    print_title("Auto-deletion, compared to one DELETE statement on an unpartitioned table")
    print(deletion.table(deletion.measure_all(world.names)))


def print_title(title: str) -> None:
    """Print a title immediately, without buffering, because the benchmarks take minutes."""
    print(f"\n{title}\n", flush=True)


if __name__ == "__main__":
    main()
