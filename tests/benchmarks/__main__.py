"""Measures how fast events are recorded and deleted, and whether lists stay as fast while they pile up.

`make bench`, or `EVENTS=20000000 make bench`, starts a PostgreSQL of its own, which waits for the
disk as one in production does, and a Redis; `world.py` says what they are filled with. The result
is a table on standard output. Times are noisy on a busy machine, buffers (pages that PostgreSQL read,
from memory or disk) are not.
"""

import os
import platform
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

import django

from tests import services
from tests.standalone import configure

FEW = 10_000
CLIENTS = (1, 8)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    default = int(os.environ.get("EVENTS", 1_000_000))
    parser.add_argument("--events", type=int, default=default, help=f"more than {FEW}")
    many = parser.parse_args().events
    with (
        TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name,
        services.postgresql(Path(name), durable=True) as database,
        services.redis(Path(name)) as cache,
    ):
        configure(DATABASE_URL=database, REDIS_URL=cache, DATA_DIR=name, SECRET_KEY="bench")
        measure(Path(name), many)


def measure(folder: Path, many: int) -> None:
    # These import models, so Django has to be set up before.
    from django.core.management import call_command

    from tests.benchmarks import admin, deletion, delivery, lists
    from tests.benchmarks import world as worlds

    call_command("migrate", verbosity=0)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, Django {django.__version__}")
    world = worlds.make(many)
    print(f"{many:,} events, {worlds.PULLS:.0%} of them pulls, in {len(world.names):,} repositories")
    worlds.record(world, range(FEW))
    few_lists, few_pages = lists.measure_all(world, FEW), admin.measure_all(world, FEW)
    one_by_one = range(FEW, min(many, worlds.PROTOTYPE))
    seconds = worlds.record(world, one_by_one)
    worlds.repeat(world, many)

    show("Lists, a page of 10; the median time, and the buffers of all queries")
    print(lists.table({FEW: few_lists, many: lists.measure_all(world, many)}))
    show("The admin's pages of events, 50 to a page; likewise")
    print(lists.table({FEW: few_pages, many: admin.measure_all(world, many)}))
    show("Notifications through the HTTP endpoint, each a push, which makes two events")
    for clients in CLIENTS:
        print(f"  {delivery.measure(folder, world.names, clients)}")
    show(f"Events in bulk, {worlds.BATCH:,} at a time: {len(one_by_one) / seconds:,.0f} a second")
    show("Auto-deletion, and a plain statement that deletes as many from an unpartitioned table")
    print(deletion.table(deletion.measure_all(world.names)))


def show(title: str) -> None:
    """Print a title; what was measured is told as it comes, since all of it takes minutes."""
    print(f"\n{title}\n", flush=True)


if __name__ == "__main__":
    main()
