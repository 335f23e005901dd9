"""Celery beat and a worker run tasks while the web server records events, with and without Redis."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import services
from tests.factories import notification
from tests.running import Application, application, poll

CLEAR_EVERY_SECOND = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
task = PeriodicTask.objects.get(task="msr_project.tasks.clear_expired_sessions")
task.interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
task.crontab = None
task.save()
"""
ADD_SESSIONS = """
from datetime import timedelta
from django.contrib.sessions.models import Session
from django.utils import timezone
for key, hours in (("expired", -1), ("current", 1)):
    Session.objects.create(session_key=key, expire_date=timezone.now() + timedelta(hours=hours))
"""
WAIT_FOR_SESSIONS = """
from django.contrib.sessions.models import Session
from tests.running import poll
print(*poll(lambda: list(Session.objects.values_list("session_key", flat=True)), ["current"]))
"""


def push(app: Application) -> int:
    """Deliver a push notification, and return the status code of the response."""
    return app.notify(json.dumps({"events": [notification()]})).status_code


@pytest.mark.long
@pytest.mark.parametrize("broker", ["files", "redis"])
def test_expired_sessions_are_cleared_at_the_configured_interval(tmp_path: Path, broker: str) -> None:
    with ExitStack() as stack:
        redis_url = stack.enter_context(services.redis(tmp_path)) if broker == "redis" else None
        app = stack.enter_context(application(tmp_path, redis_url=redis_url))
        app.shell(CLEAR_EVERY_SECOND + ADD_SESSIONS)
        with app.program("worker"), app.program("beat"), ThreadPoolExecutor(4) as clients:
            statuses = list(clients.map(push, [app] * 200))

            assert app.shell(WAIT_FOR_SESSIONS).split() == ["current"]

        assert set(statuses) <= {200, 202}
        assert poll(lambda: len(app.events("admin", type="CREATE", category="push")), 200) == 200
        for program in ("web", "worker", "beat"):
            assert "database is locked" not in app.log(program)
            assert "Traceback" not in app.log(program)
