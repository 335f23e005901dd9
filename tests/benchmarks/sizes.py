"""Measure the bytes that an event takes: its row, each index, and everything else that recording stores."""

from __future__ import annotations

import json
from collections import defaultdict

from django.db import connection

from tests.benchmarks.report import Findings, Table

EVENT = "registry_activity_event"
RELATIONS = """
    SELECT relation.relname, pg_table_size(relation.oid),
        jsonb_object_agg(
            COALESCE(substring(pg_get_indexdef(indexrelid) from '\\(.*'), ''), pg_relation_size(indexrelid)
        )::text
    FROM pg_class AS relation LEFT JOIN pg_index ON indrelid = relation.oid
    WHERE relkind = 'r' AND relname LIKE 'registry\\_activity\\_%' AND pg_relation_size(relation.oid) > 0
    GROUP BY relation.oid
"""
"""The tables that contain rows, and their indexes. Empty partitions would count for what they reserve."""
PARTS = {
    "tally": "tallies",
    "messagebatch": "evidence",
    "manifestrequest": "memory",
    "journal": "memory",
    "node": "memory",
}
"""What a table belongs to, by the beginning of its name. All others but the events belong to `lookups`."""


def measure(messages: int) -> Findings:
    """Measure the tables. `messages` is the number of messages that were recorded."""
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*), COUNT(*) FILTER (WHERE is_pull) FROM {EVENT}")
        events, pulls = cursor.fetchone()
        cursor.execute(RELATIONS)
        for name, size, indexes in cursor.fetchall():
            if name.startswith(EVENT) and not name.startswith(f"{EVENT}_default"):
                sizes["event", "row"] += size
                for definition, bytes in _sizes(indexes).items():
                    sizes["event", f"index {definition.replace(' WHERE ', ' where ')}"] += bytes
            else:
                table = name.removeprefix("registry_activity_")
                part = next((part for start, part in PARTS.items() if table.startswith(start)), "lookups")
                sizes[part, table] += size + sum(_sizes(indexes).values())
    figures = {
        "bytes an event": sum(size for (part, _), size in sizes.items() if part in ("event", "lookups"))
        / events,
        "tallies, bytes an event": sum(size for (part, _), size in sizes.items() if part == "tallies")
        / events,
        "evidence, bytes a message": sum(size for (part, _), size in sizes.items() if part == "evidence")
        / messages,
    }
    ordered = sorted(sizes.items(), key=lambda item: (item[0][0] != "event", item[0][0], -item[1]))
    rows = [[f"{part}: {label}", size / events] for (part, label), size in ordered if size / events >= 0.05]
    note = (
        f"{events:,} events, {pulls / events:.1%} of them pulls, of {messages:,} messages, as"
        " recording left the tables, without rebuilding them. What is kept for an hour at most is listed as"
        " memory, and isn't counted."
    )
    if not figures["evidence, bytes a message"]:
        del figures["evidence, bytes a message"]
    return Findings([Table("Bytes an event", ["bytes"], rows, note)], figures)


def _sizes(indexes: str) -> dict[str, int]:
    """Return the size of each index of a table, by its columns."""
    return {definition: size for definition, size in json.loads(indexes).items() if size}
