"""Dumps of the databases of earlier versions, from which upgrades are tested.

Each folder is named after a version. For SQLite and for PostgreSQL, it contains a database as SQL, with rows
in every table of the apps, the archives, and the events that each demo user could see.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

FOLDER = Path(__file__).parent
VIEWERS = ("admin", "auditor", "repoadmin", "reader", "outsider")

Events = dict[str, list[dict[str, Any]]]
"""The exported events by the name of the user who exported them."""


def versions() -> list[str]:
    """Return the names of the dumped versions."""
    return sorted(path.parent.name for path in FOLDER.glob("*/sqlite.sql.gz"))


def read_events(version: str, database: str) -> Events:
    """Return what the viewers could see in a dumped database, `sqlite` or `postgresql`."""
    events: Events = json.loads(_read(version, f"{database}.json.gz"))
    return events


def restore_sqlite(version: str, data: Path) -> None:
    """Create the database and the archives in an empty data folder."""
    shutil.copytree(FOLDER / version / "sqlite-archives", data / "archives")
    with closing(sqlite3.connect(data / "db.sqlite3")) as connection:
        connection.executescript(_read(version, "sqlite.sql.gz"))


def restore_postgresql(version: str, data: Path, url: str) -> None:
    """Fill an empty database, and create the archives in an empty data folder."""
    shutil.copytree(FOLDER / version / "postgresql-archives", data / "archives")
    with psycopg.connect(url) as connection:
        connection.execute(_read(version, "postgresql.sql.gz").encode())


def _read(version: str, name: str) -> str:
    return gzip.decompress((FOLDER / version / name).read_bytes()).decode()
