"""Measures how fast events are recorded and deleted, and whether lists stay as fast while they pile up.

`make bench`, or `EVENTS=20000000 make bench`, starts a PostgreSQL of its own, which waits for the
disk as one in production does, and a Redis; `bench_world` says what they are filled with. The result
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
from tests.plugin import SETTINGS

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


def configure(**environment: str) -> None:
    """Start Django with these settings; the developer's own are none of the benchmark's business."""
    for setting in SETTINGS:
        os.environ.pop(setting, None)
    os.environ.update(environment, DJANGO_SETTINGS_MODULE="msr_project.settings")
    django.setup()


def measure(folder: Path, many: int) -> None:
    # These import models, so Django has to be set up before.
    from django.core.management import call_command

    from tests import bench_admin, bench_deletion, bench_delivery, bench_lists, bench_world

    call_command("migrate", verbosity=0)
    world = bench_world.make(many)
    bench_world.record(world, range(FEW))
    few_measures = bench_lists.measure_all(world, FEW)
    few_pages = bench_admin.measure_all(world, FEW)
    seconds = bench_world.record(world, range(FEW, many))
    many_measures = bench_lists.measure_all(world, many)
    many_pages = bench_admin.measure_all(world, many)
    deliveries = [bench_delivery.measure(folder, world.names, clients) for clients in CLIENTS]
    deletions = bench_deletion.measure_all(world.names)

    print(f"\n{os.cpu_count()} cores, Python {platform.python_version()}, Django {django.__version__}")
    print(f"{many:,} events, {bench_world.PULLS:.0%} of them pulls, in {len(world.names):,} repositories\n")
    print("Notifications through the HTTP endpoint, each a push, which makes two events:\n")
    for delivery in deliveries:
        print(f"  {delivery}")
    print(f"\nEvents in bulk, {bench_world.BATCH:,} at a time: {(many - FEW) / seconds:,.0f} a second\n")
    print("Lists, a page of 10; the median time, and the buffers of all queries:\n")
    print(bench_lists.table({FEW: few_measures, many: many_measures}))
    print("\nThe admin's pages of events, 50 to a page; likewise:\n")
    print(bench_lists.table({FEW: few_pages, many: many_pages}))
    print("\nAuto-deletion, and a plain statement that deletes as many from an unpartitioned table:\n")
    print(bench_deletion.table(deletions))


if __name__ == "__main__":
    main()
