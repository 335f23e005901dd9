"""Heartbeats of the programs, and the clock that is judged by them.

A program that beats regularly is alive. The heartbeats also show when the clock of the machine jumps ahead:
after a jump, heartbeats and events come with the wrong time, so the clock is compared with the last sign of
life from before the jump. Auto-deletion would otherwise take all events for old ones.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

from celery.signals import beat_init, worker_ready
from django.db import connections
from django.db.models import Max
from django.utils import timezone

from activity.identity import first_id
from activity.models import Event, Heartbeat
from activity.storage.rows import insert_rows

logger = logging.getLogger(__name__)

INTERVAL = 10
"""Seconds between the heartbeats of a program."""
ALIVE = timedelta(seconds=45)
"""A program without a heartbeat for longer than this isn't alive."""
MAX_LEAD = timedelta(days=7)
"""If the clock is further ahead of the last event, heartbeat or run than this, it may be wrong."""
MAX_STEPS = 1_000
"""The maximum number of events to follow from the last heartbeat to the present."""

REPLACE = """
    ON CONFLICT (program) DO UPDATE SET beat_at = excluded.beat_at, trusted_at = excluded.trusted_at
"""

WORKER, BEAT, RECORDER = "worker", "beat", "recorder"
FOLDING, RUNS, MIGRATIONS = "folding", "auto-deletion", "migrations"


def connect() -> None:
    """Let the Celery worker and Celery beat send heartbeats. Called when the application is ready."""
    worker_ready.connect(_start_worker)
    beat_init.connect(_start_beat)


def _start_worker(**_: Any) -> None:
    keep_beating(WORKER)


def _start_beat(**_: Any) -> None:
    keep_beating(BEAT)


def keep_beating(program: str) -> None:
    """Send heartbeats of a program from a thread until the process ends."""
    threading.Thread(target=_beat_forever, args=(program,), name="heartbeat", daemon=True).start()


def _beat_forever(program: str) -> None:
    pause = threading.Event()
    while True:
        try:
            beat(program)
        except Exception:  # the database may be down: a missing heartbeat is reported elsewhere
            logger.debug("The heartbeat of %s could not be stored.", program, exc_info=True)
        finally:
            connections.close_all()
        pause.wait(INTERVAL)


def beat(program: str) -> None:
    """Store a heartbeat of a program."""
    now = timezone.now()
    trusted_at = now - (lead(now) or timedelta())
    insert_rows([Heartbeat(program=program, beat_at=now, trusted_at=trusted_at)], REPLACE)


def lead(moment: datetime) -> timedelta | None:
    """Return how far a time is ahead of the last event, heartbeat or run, if that is more than `MAX_LEAD`."""
    last = last_trusted_time(moment)
    return moment - last if last and moment - last > MAX_LEAD else None


def last_trusted_time(now: datetime) -> datetime | None:
    """Return the time of the last trusted heartbeat or, if that is long past, of the events received since.

    An event counts only if it was received within `MAX_LEAD` after the event, heartbeat or run before it,
    because the events that are received after a jump of the clock prove nothing.
    """
    last = Heartbeat.objects.aggregate(last=Max("trusted_at"))["last"]
    for _ in range(MAX_STEPS):
        if last is None or now - last <= MAX_LEAD:
            break
        until = last + MAX_LEAD
        received = Event.objects.filter(id__gte=first_id(last), id__lt=first_id(until))
        received = received.filter(received_at__gt=last, received_at__lte=until)
        following = received.order_by("-id").values_list("received_at", flat=True).first()
        if following is None:
            break
        last = following
    return last


def trust_clock() -> None:
    """Accept the present time as right, because a person says so."""
    Heartbeat.objects.update(trusted_at=timezone.now())
