"""The front page notices within a minute that a program has stopped, or that a registry was cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
import requests

from tests.factories import notification
from tests.running import PASSWORD, TIMEOUT, Application, application, poll

WITHIN_A_MINUTE = 60
TURN_ON = """
from activity.models import AutoDeletion
from django_celery_beat.models import PeriodicTask
AutoDeletion.get_solo()
AutoDeletion.objects.update(enabled=True, age=1)
PeriodicTask.objects.get(task="activity.tasks.delete_events").delete()
"""
CUT_OFF = """
from django.contrib.auth.models import User
User.objects.get(username="registry").delete()
"""


def front_page(app: Application, session: requests.Session) -> Callable[[], str]:
    """Log in as an MSR admin, and return a function that returns the problems on the front page."""
    login = f"{app.url}/accounts/login/"
    session.get(login, timeout=TIMEOUT)
    data = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    session.post(login, data, timeout=TIMEOUT)

    def read() -> str:
        html = session.get(f"{app.url}/admin/", timeout=TIMEOUT).text
        (part,) = re.findall(r'<ul class="health">(.*?)</ul>', html, re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", part)).split())

    return read


@pytest.mark.long
def test_front_page_notices_what_stops_working(tmp_path: Path) -> None:
    with application(tmp_path) as app, requests.Session() as session:
        problems = front_page(app, session)
        assert "The Celery worker is not running" in problems()
        with app.program("worker"), app.program("beat"):
            assert poll(lambda: "is not running: no heartbeat" in problems(), False) is False
            app.notify(json.dumps({"events": [notification()]}))

        for name in ("The Celery worker", "Celery beat"):
            words = f"{name} is not running: last heartbeat"
            assert poll(lambda words=words: words in problems(), True, WITHIN_A_MINUTE) is True  # type: ignore[misc]
        assert requests.get(f"{app.url}/healthz", timeout=TIMEOUT).json() == {"status": "error"}

        app.shell(TURN_ON)
        assert "Auto-deletion is on, but its schedule “Auto-delete events” was deleted." in problems()
        app.manage("migrate", "--verbosity", "0")
        assert "was deleted" not in problems()

        app.shell(CUT_OFF)
        assert "registry is cut off: its account was deleted" in problems()
