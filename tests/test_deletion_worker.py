"""Auto-deletion works with real processes: with killed workers, concurrent recording, and Celery beat."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event as Signal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
from celery import Celery
from django.db import connection

from tests import services
from tests.deletion import count_archived
from tests.factories import notification
from tests.running import PASSWORD, PROJECT, TIMEOUT, Application, application, poll

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql",
    reason="only PostgreSQL has partitions and concurrent writers",
)

TURN_ON = """
from activity.models import AutoDeletion, Hold
from repositories.models import Repository
AutoDeletion.get_solo()
AutoDeletion.objects.update(enabled=True, archive={archive}, age=1, age_unit="months")
held = Repository.objects.exclude(namespace__name="acme").first()
Hold.objects.create(repository=held, reason="An inquiry")
print(Repository.objects.get(namespace__name="acme", name="web").pk, held.pk, held.full_name)
"""
CREATE_PARTITIONS = """
from datetime import UTC, datetime
from activity.storage import partitions
for month in (1, 4):
    partitions.create_ahead(datetime(2021, month, 1, tzinfo=UTC))
"""
FILL = """
    WITH filled AS (
    INSERT INTO registry_activity_event (id, occurred_at, received_at, position, kind, is_pull, repository_id,
        repository_name, tag, digest, actor_type, actor_name, delivered_with, more_details)
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0')
            || '7000' || substr(md5(n::text || %(repository)s), 1, 16))::uuid,
        moment, moment, n, 2, false, %(repository)s, 'acme/web', 'v' || n, '',
        'user', 'jane', '', jsonb_build_object('number', n)
    FROM (SELECT n, %(begin)s::timestamptz + n * %(step)s::interval AS moment
          FROM generate_series(1, %(count)s) AS n) AS moments
    RETURNING repository_id, occurred_at, 1 AS category, is_pull
    )
    INSERT INTO registry_activity_tallychange (repository_id, start, category, is_pull, events)
    SELECT repository_id, date_bin('30 minutes', occurred_at, '1970-01-01 00:00Z'), category, is_pull,
        count(*)
    FROM filled GROUP BY 1, 2, 3, 4
"""
FIRST = datetime(2021, 1, 1, tzinfo=UTC)


class Database:
    """A connection to the application's database."""

    def __init__(self, app: Application) -> None:
        self.connection = psycopg.connect(app.environ["DATABASE_URL"], autocommit=True)

    def query_value(self, sql: str, **params: Any) -> Any:
        """Return the first column of the first row, or None if there are no rows."""
        row = self.connection.execute(sql, params).fetchone()
        return row and row[0]

    def ids(self) -> set[str]:
        """Return the ids of all events except `system` events, such as the events that record runs."""
        rows = self.connection.execute("SELECT id::text FROM registry_activity_event WHERE kind = 2")
        return {id for (id,) in rows}

    def fill(self, repository: int, count: int, begin: datetime, span: timedelta) -> set[str]:
        """Store events for a repository at evenly spaced times, and return their ids."""
        before = self.ids()
        values = {"repository": repository, "count": count, "begin": begin, "step": span / (count + 1)}
        self.connection.execute(FILL, values)
        return self.ids() - before


@contextmanager
def killable_worker(app: Application) -> Iterator[Callable[[], None]]:
    """Start a worker, and yield a function that kills it together with its child processes."""
    celery = str(Path(sys.executable).parent / "celery")
    command = [celery, "-A", "msr_project", "worker", "--loglevel", "WARNING", "--concurrency", "1"]
    folder = app.folder / f"worker-{uuid4().hex}"
    folder.mkdir()
    with services.running(command, folder, lambda: None, cwd=PROJECT, env=app.environ) as process:

        def kill() -> None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

        yield kill


# The first run is killed as soon as the first condition is true, the second run as soon as the second
# condition is true, and so on.
IN_BATCHES = [
    "SELECT count(*) > 0 FROM registry_activity_archive",
    "SELECT sum(deleted) > 5000 FROM registry_activity_run",
    "SELECT count(*) > 2 FROM registry_activity_archive",
]
IN_PARTITIONS = [
    "SELECT count(*) > 0 FROM registry_activity_archive",
    "SELECT count(*) > 0 FROM registry_activity_archive WHERE written_at IS NOT NULL",
    "SELECT sum(deleted) > 0 FROM registry_activity_run",
]
LAST_RUN = "SELECT state FROM registry_activity_run ORDER BY id DESC LIMIT 1"


@pytest.mark.long
@on_postgresql
@pytest.mark.parametrize("conditions", [IN_BATCHES, IN_PARTITIONS], ids=["in batches", "in partitions"])
def test_run_is_completed_after_its_worker_is_killed_three_times(
    tmp_path: Path, conditions: list[str], redis_url: str
) -> None:
    with application(tmp_path, redis_url=redis_url) as app:
        database, queue = Database(app), Celery(broker=redis_url)
        web, held, _ = app.shell(TURN_ON.format(archive=True)).split()
        if conditions is IN_PARTITIONS:
            app.shell(CREATE_PARTITIONS)
        kept = database.ids()
        kept |= database.fill(int(held), 1000, FIRST + timedelta(days=70), timedelta(days=10))
        expired = database.fill(int(web), 50_000, FIRST, timedelta(days=58))

        for number, condition in enumerate(conditions, 1):
            with killable_worker(app) as kill:
                queue.send_task("activity.tasks.delete_events")
                reached = (
                    f"SELECT count(*) = {number} AND bool_or(state = 'running') AND ({condition})"
                    " FROM registry_activity_run"
                )
                assert poll(partial(database.query_value, reached), True) is True
                kill()
            assert database.query_value(LAST_RUN) == "running"
            assert kept <= database.ids()
            database.connection.execute(
                "UPDATE registry_activity_run SET lease_until = now() - interval '1 second'"
            )
        with killable_worker(app):
            queue.send_task("activity.tasks.delete_events")
            assert poll(lambda: database.query_value(LAST_RUN), "finished") == "finished"

        assert database.ids() == kept
        assert count_archived(app.folder / "data" / "archives") == Counter(expired)
        assert database.query_value("SELECT sum(deleted) FROM registry_activity_run") == len(expired)
        assert (
            database.query_value("SELECT count(*) FROM registry_activity_archive WHERE deleted_at IS NULL")
            == 0
        )
        assert database.query_value("SELECT to_regclass('registry_activity_event_other_2021_01')") is None


class Client:
    """A registry that delivers notifications with the same timestamp, one by one, until `over` is set."""

    def __init__(self, app: Application, repository: str, moment: datetime, over: Signal) -> None:
        self.app, self.repository, self.moment, self.over = app, repository, moment, over
        self.sent = 0
        self.statuses: Counter[int] = Counter()

    def __call__(self) -> None:
        url = f"{self.app.url}/api/v0/notifications/registry"
        target = {"repository": self.repository, "tag": None}
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {self.app.token('registry')}"
            while not self.over.is_set():
                event = notification(id=str(uuid4()), timestamp=self.moment.isoformat(), target=target)
                response = session.post(url, json.dumps({"events": [event]}), timeout=TIMEOUT)
                self.statuses[response.status_code] += 1
                self.sent += 1


@pytest.mark.long
@on_postgresql
def test_recording_continues_while_a_run_drops_partitions(tmp_path: Path) -> None:
    with application(tmp_path) as app, ThreadPoolExecutor() as threads, set_at_end() as over:
        database = Database(app)
        web, _, held = app.shell(TURN_ON.format(archive=False)).split()
        app.shell(CREATE_PARTITIONS)
        kept = database.ids()
        expired = database.fill(int(web), 50_000, FIRST, timedelta(days=150))
        now = datetime.now(UTC)
        clients = [
            Client(app, "acme/web", now, over),
            Client(app, "acme/web", now, over),
            # These clients deliver late events for months whose partitions the run is about to drop.
            # Of the late events, only those in the held repository remain.
            Client(app, held, FIRST + timedelta(days=40), over),
            Client(app, "acme/web", FIRST + timedelta(days=70), over),
        ]
        with psycopg.connect(app.environ["DATABASE_URL"]) as reader:
            reader.execute("SELECT count(*) FROM registry_activity_event")
            recording = [threads.submit(client) for client in clients]
            run = threads.submit(app.manage, "delete_events")
            waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
            assert poll(lambda: database.query_value(waiting), True) is True
            reader.execute("SELECT pg_sleep(2)")
        assert "Run 1: Finished" in run.result()
        over.set()
        for done in recording:
            done.result()

        for client in clients:
            assert client.statuses.keys() <= {200, 202}
            assert client.sent > 10
        waiting = "SELECT count(*) FROM registry_activity_journalentry"
        assert poll(lambda: database.query_value(waiting), 0) == 0
        remaining = database.ids()
        assert database.query_value("SELECT to_regclass('registry_activity_event_other_2021_05')") is None
        assert not expired & remaining
        assert kept <= remaining
        count = """
            SELECT count(*) FROM registry_activity_event
            WHERE repository_name = %(name)s AND digest != '' AND occurred_at = %(moment)s
        """
        assert database.query_value(count, name="acme/web", moment=now) == clients[0].sent + clients[1].sent
        assert database.query_value(count, name=held, moment=clients[2].moment) == clients[2].sent


@contextmanager
def set_at_end() -> Iterator[Signal]:
    """Yield a signal that is set when the block ends, even if the block raises an exception."""
    signal = Signal()
    try:
        yield signal
    finally:
        signal.set()


EVERY_SECOND = """
from activity.models import AutoDeletion
from django_celery_beat.models import IntervalSchedule, PeriodicTask
AutoDeletion.get_solo()
AutoDeletion.objects.update(enabled=True, age=1)
second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.create(name="every second", task="activity.tasks.delete_events", interval=second)
"""
WAIT_FOR_RUNS = """
from activity.models import Run
from tests.running import poll
finished = Run.objects.exclude(state__in=["queued", "running"]).values_list("started_by", "state", "error")
print(*poll(lambda: set(finished.all()), {("the schedule", "finished", "")}))
"""


@pytest.mark.long
@pytest.mark.parametrize("broker", ["files", "redis"])
def test_beat_starts_scheduled_runs(tmp_path: Path, broker: str) -> None:
    with ExitStack() as stack:
        redis_url = stack.enter_context(services.redis(tmp_path)) if broker == "redis" else None
        app = stack.enter_context(application(tmp_path, redis_url=redis_url))
        app.shell(EVERY_SECOND)
        with app.program("worker"), app.program("beat"):
            assert app.shell(WAIT_FOR_RUNS).strip() == "('the schedule', 'finished', '')"


FIND_TASK = """
from activity.models import AutoDeletion
from django_celery_beat.models import PeriodicTask
AutoDeletion.get_solo()
AutoDeletion.objects.update(enabled=True, age=1)
print(PeriodicTask.objects.get(task="activity.tasks.delete_events").pk)
"""


@pytest.mark.long
def test_run_started_in_celery_beats_admin_is_attributed_to_the_user(tmp_path: Path) -> None:
    with application(tmp_path) as app, app.program("worker"), requests.Session() as session:
        task = app.shell(FIND_TASK).strip()
        for path, data in (
            ("/accounts/login/", {"username": "admin", "password": PASSWORD}),
            (
                "/admin/django_celery_beat/periodictask/",
                {"action": "run_tasks", "_selected_action": task},
            ),
        ):
            session.get(app.url + path, timeout=TIMEOUT)
            token = {"csrfmiddlewaretoken": session.cookies["csrftoken"]}
            assert session.post(app.url + path, {**data, **token}, timeout=TIMEOUT).status_code == 200

        expected = "('admin', 'finished', '')"
        assert app.shell(WAIT_FOR_RUNS.replace("the schedule", "admin")).strip() == expected
