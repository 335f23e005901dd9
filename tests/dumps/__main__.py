"""Dumps databases of the current version to `tests/dumps/<version>/`.

`python -m tests.dumps` is run for each release, after the last change to its tables. Later versions must be
able to upgrade what it has written, so the dump of a release never changes.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from activity import __version__
from tests import services
from tests.dumps import FOLDER, VIEWERS
from tests.running import Application, application, poll
from tests.standalone import configure

EVENTS = 400
FILL = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from activity.models import *
from repositories.access import grants
from repositories.models import *
from tests import factories

now = timezone.now()
mara = User.objects.get(username="mara")
web = Repository.objects.get(namespace__name="acme", name="web")
team = factories.team_of(web.namespace.organization, mara)
for place in (web, web.namespace):
    for holder in (mara, team.group):
        grants.grant("level_read", holder, place)
Profile.objects.create(user=mara, theme="dark")
client = Client(headers={"host": "127.0.0.1"})
client.force_login(mara)
client.post("/accounts/login/", {"username": "mara", "password": "wrong"})
Dispute.objects.create(account=mara, since=now, reason="A leaked token")
Hold.objects.create(repository=web, reason="A lawsuit")
rule = DeletionRule.objects.create(repository=web, age=60, age_unit="days")
rules = {"enabled": True, "archive": True, "age": 80, "age_unit": "days"}
AutoDeletion.objects.update_or_create(defaults=rules)
call_command("delete_events")
call_command("import_events", Archive.objects.last().name)
call_command("verify")
WaitingChange.objects.create(
    model=rule._meta.label_lower, object_id=rule.pk, subject=str(rule), changed_by="admin", effective_at=now
)
DroppedTallies.objects.create(is_pull=True, start=now, end=now, weeks_start=now, weeks_end=now)
"""
FIND_EMPTY_TABLES = """
from django.apps import apps
for app in ("registry_activity", "registry_repositories"):
    for model in apps.get_app_config(app).get_models():
        if not model._base_manager.exists():
            print(model.__name__)
"""


def main() -> None:
    folder = FOLDER / __version__
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="dumps-", ignore_cleanup_errors=True) as name:
        temporary = Path(name)
        configure(DATA_DIR=name, SECRET_KEY="dumps")
        write(folder, "sqlite", temporary / "sqlite")
        with services.postgresql(temporary) as url, patch.dict("os.environ", DATABASE_URL=url):
            write(folder, "postgresql", temporary / "postgresql")


def write(folder: Path, database: str, place: Path) -> None:
    """Dump a database, and what the viewers could see in it."""
    place.mkdir()
    with (
        patch.dict("os.environ", SHARED_DIR=str(place)),
        application(place, events=EVENTS, variables={"RECORD_IN_REQUEST": "false"}) as app,
    ):
        fill(app)
        if empty := app.shell(FIND_EMPTY_TABLES).split():
            raise SystemExit(f"These tables are empty: {', '.join(empty)}")
        events = {viewer: app.export(viewer) for viewer in VIEWERS}
        script = dump_sqlite(app) if database == "sqlite" else dump_postgresql(app)
        shutil.copytree(app.folder / "data" / "archives", folder / f"{database}-archives", dirs_exist_ok=True)
    for name, text in ((f"{database}.sql.gz", script), (f"{database}.json.gz", json.dumps(events))):
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))


def fill(app: Application) -> None:
    """Add rows to all tables, and leave a message in the journal."""
    from tests.factories import notification  # imports models, so Django must be set up first

    source = {"addr": "node1:5000", "instanceID": "e0f8cb56"}
    push, pull, waiting = (
        json.dumps({"events": [notification(id=tag, action=action, target={"tag": tag}, source=source)]})
        for action, tag in (("push", "recorded"), ("pull", "recorded"), ("push", "waiting"))
    )
    app.shell(FILL)
    with app.program("recorder"):
        for message in (push, pull, "not JSON"):
            app.notify(message).raise_for_status()
        poll(app.waiting, 0)
    app.notify(waiting).raise_for_status()


def dump_sqlite(app: Application) -> str:
    with closing(sqlite3.connect(app.folder / "data" / "db.sqlite3")) as connection:
        return "\n".join(connection.iterdump())


def dump_postgresql(app: Application) -> str:
    program = services.find_program("pg_dump", "postgresql", *glob("/usr/lib/postgresql/*/bin"))
    options = [
        "--no-owner",
        "--no-privileges",
        "--rows-per-insert=100",
        "--exclude-table-data=django_session",
    ]
    script = subprocess.run(
        [program, *options, app.environ["DATABASE_URL"]], check=True, capture_output=True, text=True
    ).stdout
    # psql's own commands, which begin with a backslash
    return "\n".join(line for line in script.splitlines() if not line.startswith("\\"))


if __name__ == "__main__":
    main()
