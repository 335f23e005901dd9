"""A run whose clock is far ahead of the last event, heartbeat or run waits for a person."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client
from django.utils import timezone

from activity import tasks
from activity.deletion import runs
from activity.models import Event, Run
from activity.storage import heartbeats
from repositories.models import Repository
from tests import factories
from tests.deletion import execute_run, manage, turn_on

pytestmark = [pytest.mark.django_db, pytest.mark.audited]
DAY = timedelta(days=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets the clock ahead."""
    now = timezone.now

    def jump(ahead: timedelta) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now() + ahead)

    return jump


@pytest.fixture
def late_admin(log_in: Any) -> Any:
    """Return a function that logs in an MSR admin. Sessions from before a jump of the clock have expired."""
    return lambda: log_in(factories.msr_admin(username="admin"))


@pytest.fixture
def young(web: Repository) -> Event:
    """An event of today, which auto-deletion deletes after a month."""
    turn_on(age=1)
    return factories.record("update_tag", web, tag="v1", occurred_at=timezone.now())


def start_now(**values: Any) -> Run:
    return execute_run(cutoff=None, **values)  # type: ignore[arg-type]


def test_run_waits_if_the_clock_is_eight_days_ahead(young: Event, clock: Any) -> None:
    clock(8 * DAY)
    tasks.delete_events()

    run = Run.objects.get()
    assert (run.state, run.deleted) == ("waiting", 0)
    assert "The clock is 8 days ahead of the last event, heartbeat or run" in run.error


def test_run_starts_if_the_clock_is_six_days_ahead(young: Event, clock: Any) -> None:
    clock(6 * DAY)
    tasks.delete_events()

    assert Run.objects.get().state == "finished"


@pytest.mark.parametrize("sign", ["heartbeat", "event", "run", "preview", "migrate"])
def test_what_comes_after_the_jump_is_no_sign_of_life(young: Event, clock: Any, sign: str, web: Any) -> None:
    clock(60 * DAY)
    if sign == "heartbeat":
        heartbeats.beat(heartbeats.WORKER)
    elif sign == "event":
        factories.record("update_tag", web, tag="v2", occurred_at=timezone.now())
    elif sign == "migrate":
        manage("migrate", "--verbosity", "0")
    else:
        start_now(preview=sign == "preview")

    with pytest.raises(CommandError, match=r"60 days ahead|waits until somebody"):
        manage("delete_events")

    assert Event.objects.filter(pk=young.pk).exists()


def test_events_received_since_the_last_heartbeat_are_signs_of_life(
    web: Repository, clock: Any, young: Event
) -> None:
    start = timezone.now()
    for days in (5, 11, 17):
        at = start + days * DAY
        factories.record("update_tag", web, tag="v1", occurred_at=at, received_at=at)
    clock(20 * DAY)

    assert start_now().state == "finished"


def test_time_of_receipt_counts_not_the_time_of_the_event(web: Repository, clock: Any, young: Event) -> None:
    now = timezone.now()
    factories.record("update_tag", web, tag="v1", occurred_at=now + 6 * DAY, received_at=now)
    clock(12 * DAY)

    assert start_now().state == "waiting"


def test_run_with_a_cutoff_by_another_clock_waits(young: Event) -> None:
    assert execute_run(cutoff=timezone.now() + 40 * DAY).state == "waiting"


def test_preview_does_not_wait(young: Event, clock: Any) -> None:
    clock(40 * DAY)

    assert start_now(preview=True).state == "finished"


def test_next_run_does_not_start_while_one_waits(young: Event, clock: Any) -> None:
    clock(40 * DAY)
    tasks.delete_events()
    tasks.delete_events()

    assert [run.state for run in Run.objects.all()] == ["waiting"]


def test_next_run_starts_once_the_clock_was_set_right(young: Event, clock: Any) -> None:
    clock(40 * DAY)
    tasks.delete_events()
    clock(timedelta())
    tasks.delete_events()

    assert [run.state for run in Run.objects.all()] == ["finished", "abandoned"]
    assert Event.objects.filter(pk=young.pk).exists()


def test_page_of_the_run_says_why_it_waits_and_offers_to_resume(
    young: Event, clock: Any, late_admin: Any
) -> None:
    clock(40 * DAY)
    admin = late_admin()
    tasks.delete_events()
    run = Run.objects.get()
    page = f"/admin/registry_activity/run/{run.pk}/change/"

    html = admin.get(page).content.decode()
    assert "The clock is 40 days ahead of the last event, heartbeat or run" in html
    assert f'formaction="/admin/registry_activity/run/{run.pk}/resume/"' in html
    assert "waits for a person" in admin.get("/admin/").content.decode()

    admin.post(f"/admin/registry_activity/run/{run.pk}/resume/")

    runs.execute(Run.objects.get())
    assert Run.objects.get().state == "finished"
    assert not Event.objects.filter(pk=young.pk).exists()
    assert Event.objects.get(kind="trust_clock").actor_name == "admin"
    assert heartbeats.lead(timezone.now()) is None


def test_auditor_cannot_resume_a_run(young: Event, clock: Any, log_in: Any) -> None:
    clock(40 * DAY)
    auditor = log_in(factories.auditor())
    tasks.delete_events()
    run = Run.objects.get()

    auditor.post(f"/admin/registry_activity/run/{run.pk}/resume/")

    assert Run.objects.get().state == "waiting"


def test_waiting_run_can_be_stopped(young: Event, clock: Any, late_admin: Any) -> None:
    clock(40 * DAY)
    admin = late_admin()
    tasks.delete_events()
    run = Run.objects.get()

    admin.post(f"/admin/registry_activity/run/{run.pk}/stop/")

    run.refresh_from_db()
    assert (run.state, bool(run.finished_at)) == ("stopped", True)


def test_front_page_shows_the_clock(clock: Any, late_admin: Any) -> None:
    clock(40 * DAY)

    text = late_admin().get("/admin/").content.decode()

    assert "The clock of this machine is 1 month ahead of the last event, heartbeat or run." in text


def test_failed_run_is_an_event(young: Event, monkeypatch: pytest.MonkeyPatch, admin: Client) -> None:
    def fail(*_: Any) -> None:
        raise OSError("The disk is full.")

    monkeypatch.setattr("activity.deletion.execution.DeletionExecution.execute", fail)

    run = start_now()

    event = Event.objects.get(kind="delete_events_failed")
    assert event.details["run"] == run.pk
    assert event.details["error"] == "OSError: The disk is full."
    assert "Delete Events Failed" in admin.get("/admin/").content.decode()


def test_abandoned_run_is_an_event(young: Event) -> None:
    Run.objects.create(
        state="running",
        cutoff=timezone.now(),
        lease_until=timezone.now() - DAY,
        settings={},
        started_by="jane",
    )

    start_now()

    event = Event.objects.get(kind="delete_events_failed")
    assert (event.actor_name, "made no progress" in event.details["error"]) == ("jane", True)


def test_runs_that_deleted_events_are_kept(young: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "KEPT_RUNS", 2)
    now: datetime = timezone.now()
    values: dict[str, Any] = {"state": "finished", "cutoff": now, "lease_until": now, "settings": {}}
    kept = Run.objects.create(deleted=1, **values)
    for _ in range(3):
        Run.objects.create(**values)

    last = start_now()

    assert [run.pk for run in Run.objects.all()] == [last.pk, last.pk - 1, kept.pk]
