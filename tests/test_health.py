"""The front page, a command and two addresses say whether everything works."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from activity import tasks
from activity.models import Heartbeat, Registry, Run, Tally, TallyChange, Verification
from activity.storage import heartbeats, tallies
from repositories.models import AccessToken, Namespace, Repository
from tests import factories
from tests.deletion import turn_on, use_storage
from tests.factories import notification

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("schedule", "alive")]
ONE_MINUTE = timedelta(minutes=1)


@pytest.fixture
def alive(db: None, tmp_path: Path, settings: Any) -> None:
    """Heartbeats of the worker and beat, and a folder for archives."""
    for program in (heartbeats.WORKER, heartbeats.BEAT):
        heartbeats.beat(program)
    use_storage(settings, tmp_path / "archives")


@pytest.fixture
def problems(admin: Client) -> Callable[[], str]:
    """Return a function that returns the text of the problems at the top of the front page."""

    def read() -> str:
        html = admin.get("/admin/").content.decode()
        (part,) = re.findall(r'<ul class="health">(.*?)</ul>', html, re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", part)).split())

    return read


def check_health() -> tuple[int, str]:
    """Run the command, and return its exit status and output."""
    output, status = StringIO(), 0
    try:
        call_command("check_health", stdout=output)
    except SystemExit as end:
        status = int(end.code or 0)
    return status, output.getvalue()


class FullStorage(FileSystemStorage):
    """A storage on a disk that becomes full while a file is written."""

    def _save(self, *args: Any) -> str:
        super()._save(*args)  # type: ignore[misc]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class CountingStorage(FileSystemStorage):
    """A storage that counts how often a file is written."""

    written = 0

    def _save(self, *args: Any) -> str:
        CountingStorage.written += 1
        return super()._save(*args)  # type: ignore[misc]


def failing() -> dict[str, Any]:
    raise RuntimeError("out of memory")


def create_run(**values: Any) -> Run:
    now = timezone.now()
    return Run.objects.create(**{"cutoff": now, "lease_until": now, "settings": {}, **values})


def test_nothing_is_reported_while_everything_works(problems: Callable[[], str]) -> None:
    assert problems() == ""
    status, output = check_health()
    assert (status, "Worker: The Celery worker is running." in output) == (0, True)
    response = Client().get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_front_page_shows_problems_first(admin: Client, web: Repository) -> None:
    html = admin.get("/admin/").content.decode()
    assert html.index("Is everything working?") < html.index("Events in the last")


@pytest.mark.parametrize(("program", "name"), [("worker", "The Celery worker"), ("beat", "Celery beat")])
def test_program_that_has_stopped_is_reported(problems: Callable[[], str], program: str, name: str) -> None:
    Heartbeat.objects.filter(pk=program).update(beat_at=timezone.now() - ONE_MINUTE)

    assert f"{name} is not running: last heartbeat 1 minute ago." in problems()
    assert check_health()[0] == 2
    assert Client().get("/healthz").status_code == 503

    Heartbeat.objects.filter(pk=program).delete()
    assert f"{name} is not running: no heartbeat yet." in problems()


class TestWithoutCelery:
    """Celery is optional, so a site that has never used it lacks nothing."""

    @pytest.fixture(autouse=True)
    def site(self, schedule: None, alive: None, settings: Any) -> None:
        del settings.CELERY_BEAT_SCHEDULER
        Heartbeat.objects.exclude(pk=heartbeats.MIGRATIONS).delete()
        Heartbeat.objects.update(trusted_at=timezone.now() - timedelta(days=40))
        PeriodicTask.objects.update(date_changed=timezone.now() - timedelta(days=40))

    def test_nothing_is_reported(self, problems: Callable[[], str]) -> None:
        assert problems() == ""
        status, output = check_health()
        assert (status, "Celery beat isn't in use, so no tasks are scheduled." in output) == (0, True)
        assert "Worker: No Celery worker is in use." in output
        assert Client().get("/healthz").json() == {"status": "ok"}

    def test_storage_of_archives_is_needed_only_for_auto_deletion(
        self, problems: Callable[[], str], settings: Any
    ) -> None:
        settings.STORAGES = {name: each for name, each in settings.STORAGES.items() if name != "archives"}
        assert problems().startswith("Warning Archives: Archives can't be written: Could not find config")
        assert Client().get("/healthz").status_code == 200

        turn_on(archive=True)
        assert "Error Archives: Archives can't be written: Could not find config" in problems()

    @pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has partitions")
    def test_missing_partition_is_only_a_warning(self, problems: Callable[[], str]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE registry_activity_event_pull_{timezone.now():%Y_%m}")

        assert problems().startswith("Warning Partitions: The event table has no partition for")

    @pytest.mark.parametrize(("program", "name"), [("worker", "The Celery worker"), ("beat", "Celery beat")])
    def test_program_that_was_in_use_is_reported(
        self, problems: Callable[[], str], program: str, name: str
    ) -> None:
        heartbeats.beat(program)
        Heartbeat.objects.filter(pk=program).update(beat_at=timezone.now() - ONE_MINUTE)

        assert f"{name} is not running: last heartbeat 1 minute ago." in problems()
        assert Client().get("/healthz").status_code == 503

    def test_auto_deletion_needs_both(self, problems: Callable[[], str]) -> None:
        turn_on(age=1)

        assert "The Celery worker is not running: no heartbeat yet." in problems()
        assert "Celery beat is not running: no heartbeat yet." in problems()
        assert "its schedule “Auto-delete events” is overdue by" in problems()


class TestSchedule:
    def test_missing_schedule_of_auto_deletion_is_an_error_only_if_it_is_on(
        self, problems: Callable[[], str]
    ) -> None:
        PeriodicTask.objects.filter(name="Auto-delete events").delete()
        assert problems() == ""

        turn_on(age=1)

        assert "Auto-deletion is on, but its schedule “Auto-delete events” was deleted." in problems()

    def test_disabled_schedule_is_reported(self, problems: Callable[[], str]) -> None:
        turn_on(age=1)
        PeriodicTask.objects.filter(name="Auto-delete events").update(enabled=False)

        assert "Error Schedule: Auto-deletion is on, but its schedule" in problems()
        assert "is switched off" in problems()

    def test_overdue_schedule_is_reported(self, problems: Callable[[], str]) -> None:
        turn_on(age=1)
        task = PeriodicTask.objects.filter(name="Auto-delete events")
        task.update(last_run_at=timezone.now() - timedelta(days=3))

        assert "is overdue by 2 days" in problems()

    @pytest.mark.parametrize(
        "task", ["Fold tallies", "Create partitions of the event table", "Delete counts of failed logins"]
    )
    def test_other_schedules_are_checked_as_well(self, problems: Callable[[], str], task: str) -> None:
        PeriodicTask.objects.filter(name=task).update(enabled=False)

        assert f"Warning Schedule: “{task}” is switched off." in problems()

    def test_migrate_restores_deleted_schedules(self) -> None:
        before = set(PeriodicTask.objects.values_list("name", "task", "crontab__minute", "crontab__hour"))
        PeriodicTask.objects.all().delete()
        CrontabSchedule.objects.all().delete()

        call_command("migrate", verbosity=0)

        after = set(PeriodicTask.objects.values_list("name", "task", "crontab__minute", "crontab__hour"))
        assert before <= after
        assert ("Clear expired sessions", "msr_project.tasks.clear_expired_sessions", "30", "4") in after

    def test_migrate_does_not_switch_schedules_on(self) -> None:
        PeriodicTask.objects.filter(name="Auto-delete events").update(enabled=False, name="Mine")

        call_command("migrate", verbosity=0)

        (task,) = PeriodicTask.objects.filter(task="activity.tasks.delete_events")
        assert (task.name, task.enabled) == ("Mine", False)


class TestRuns:
    def test_run_that_is_queued_for_minutes_is_reported(self, problems: Callable[[], str]) -> None:
        run = create_run(started_at=timezone.now() - ONE_MINUTE)
        assert problems() == ""

        Run.objects.update(started_at=timezone.now() - 5 * ONE_MINUTE)

        assert f"Run {run.pk} has been queued for 5 minutes" in problems()

    def test_run_without_progress_is_reported(self, problems: Callable[[], str]) -> None:
        create_run(state="running", lease_until=timezone.now() - ONE_MINUTE)

        assert "makes no progress" in problems()

    def test_last_run_that_has_failed_is_reported(self, problems: Callable[[], str]) -> None:
        create_run(state="failed", error="OSError: the disk is full", finished_at=timezone.now())
        assert "failed 0 seconds ago: OSError: the disk is full" in problems()

        create_run(state="finished")

        assert problems() == ""


class TestFolding:
    def test_counts_that_wait_for_minutes_are_reported(
        self, problems: Callable[[], str], web: Repository
    ) -> None:
        factories.record("update_tag", web, tag="v1")
        tallies.fold()
        heartbeats.beat(heartbeats.FOLDING)
        factories.record("update_tag", web, tag="v1")
        assert problems() == ""

        Heartbeat.objects.filter(pk=heartbeats.FOLDING).update(beat_at=timezone.now() - 6 * ONE_MINUTE)

        assert TallyChange.objects.exists()
        assert Tally.objects.exists()
        assert "Folding is behind: counts were last folded 6 minutes ago." in problems()


class TestArchives:
    def test_folder_that_is_not_writable_is_reported(
        self, problems: Callable[[], str], tmp_path: Path, settings: Any
    ) -> None:
        (tmp_path / "file").write_text("")
        use_storage(settings, tmp_path / "file" / "archives")
        assert "Warning Archives: Archives can't be written" in problems()

        turn_on(age=1, archive=True)
        assert "Error Archives: Archives can't be written" in problems()

        turn_on(age=1, archive=False)
        assert problems() == ""

    def test_full_disk_is_reported_and_nothing_is_left_behind(
        self, problems: Callable[[], str], tmp_path: Path, settings: Any
    ) -> None:
        use_storage(settings, tmp_path / "archives", FullStorage)

        assert "Archives can't be written: [Errno 28] No space left on device" in problems()
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_looking_again_does_not_write_again(
        self, problems: Callable[[], str], tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_storage(settings, tmp_path / "archives", CountingStorage)
        monkeypatch.setattr(CountingStorage, "written", 0)

        for _ in range(3):
            assert problems() == ""

        assert CountingStorage.written == 1

    def test_check_leaves_no_files(self, problems: Callable[[], str], tmp_path: Path) -> None:
        problems()

        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class TestVerification:
    def test_last_result_is_on_the_front_page_with_its_time(
        self, admin: Client, problems: Callable[[], str]
    ) -> None:
        tasks.verify_events()

        (verification,) = Verification.objects.all()
        html = admin.get("/admin/").content.decode()
        assert re.search(r"The last verification, \d seconds ago, found nothing missing\.", html)
        assert f"/admin/registry_activity/verification/{verification.pk}/change/" in html
        assert problems() == ""

    def test_old_result_is_reported(self, problems: Callable[[], str]) -> None:
        tasks.verify_events()
        Verification.objects.update(started_at=timezone.now() - timedelta(days=9))

        assert "Warning Verification: The last verification of the events was" in problems()

    def test_failure_is_reported(self, problems: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("activity.deletion.verification._days", failing)
        with pytest.raises(RuntimeError):
            tasks.verify_events()

        assert "The verification failed: RuntimeError: out of memory" in problems()

    def test_verification_that_never_ends_is_reported(self, problems: Callable[[], str]) -> None:
        verification = Verification.objects.create(started_by="Celery")
        assert problems() == ""

        Verification.objects.update(started_at=timezone.now() - timedelta(days=2))

        assert "The verification that began 2 days ago has not finished." in problems()
        assert "not finished" in str(verification)

    def test_schedule_that_is_off_is_reported(self, problems: Callable[[], str]) -> None:
        PeriodicTask.objects.filter(task="activity.tasks.verify_events").update(enabled=False)

        assert "Warning Schedule: “Verify the events” is switched off." in problems()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has partitions")
def test_missing_partition_is_reported(problems: Callable[[], str]) -> None:
    assert problems() == ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE registry_activity_event_pull_{timezone.now():%Y_%m}")

    assert f"The event table has no partition for {timezone.now():%B %Y} (pull)." in problems()


class TestRegistries:
    def test_quiet_registry_is_a_warning(self, problems: Callable[[], str], registry: Any) -> None:
        registry(body=b"nonsense")
        Registry.objects.update(last_contact_at=timezone.now() - timedelta(hours=25))

        assert "Warning Registries: registry is quiet: last contact 1 day ago." in problems()

    @pytest.mark.parametrize(
        ("cut_off", "reason"),
        [
            (lambda account: account.delete(), "its account was deleted"),
            (lambda account: type(account).objects.update(is_active=False), "its account is inactive"),
            (lambda account: account.user_permissions.clear(), "its account has lost the permission"),
            (
                lambda account: AccessToken.objects.all().delete(),
                "its account has no valid access token for notifications",
            ),
            (
                lambda account: AccessToken.objects.update(can_write=False),
                "its account has no valid access token for notifications",
            ),
            (
                lambda account: AccessToken.objects.update(restricted_to="acme/*"),
                "its account has no valid access token for notifications",
            ),
            (
                lambda account: AccessToken.objects.update(expiry=timezone.now()),
                "its account has no valid access token for notifications",
            ),
        ],
        ids=["deleted", "inactive", "permission", "token", "scope", "restriction", "expired"],
    )
    def test_registry_that_is_cut_off_is_an_error(
        self, problems: Callable[[], str], registry: Any, cut_off: Callable[[Any], object], reason: str
    ) -> None:
        registry(notification())

        cut_off(Registry.objects.get().account)

        if reason != "its account is inactive":  # that would cut off the reader, too
            assert f"Error Registries: registry is cut off: {reason}" in problems()
        else:
            assert reason in check_health()[1]

    def test_wrong_clock_of_a_node_is_reported(self, problems: Callable[[], str], registry: Any) -> None:
        ahead = (timezone.now() + timedelta(days=3)).isoformat()
        registry(notification(timestamp=ahead, source={"addr": "node1:5000", "instanceID": "1"}))

        assert "Warning Clocks: registry: the clock of node1:5000 is" in problems()


def test_dead_letters_are_reported(problems: Callable[[], str], registry: Any) -> None:
    registry({"action": "polish"})

    assert "Messages that could not be recorded: 1 waiting." in problems()


def test_unclaimed_namespace_is_reported_with_who_pushed(problems: Callable[[], str], registry: Any) -> None:
    factories.UserFactory(username="jane")
    registry(notification())

    assert "Namespaces: acme is unclaimed. jane pushed to acme/web and can't see it yet." in problems()

    Namespace.objects.get(name="acme").claim(user=factories.UserFactory())
    assert problems() == ""


def test_check_that_fails_is_reported(problems: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activity.health.registries.MAX_NAMESPACES", "broken")

    assert problems().startswith("Error Namespaces: This could not be checked: TypeError")


class TestAddresses:
    @pytest.fixture
    def stopped(self, alive: None) -> None:
        Heartbeat.objects.all().delete()

    @pytest.mark.usefixtures("stopped")
    def test_strangers_and_users_see_no_details(self, log_in: Any) -> None:
        for client in (Client(), log_in(factories.UserFactory())):
            response = client.get("/healthz")
            assert (response.status_code, response.json()) == (503, {"status": "error"})

    @pytest.mark.usefixtures("stopped")
    def test_auditors_see_details_in_a_session_and_with_a_token(self, auditor: Client) -> None:
        headers = factories.bearer(factories.auditor())
        for response in (auditor.get("/healthz"), Client().get("/healthz", headers=headers)):
            worker = response.json()["checks"]["worker"]
            assert worker["status"] == "error"
            assert worker["findings"] == ["The Celery worker is not running: no heartbeat yet."]

    def test_metrics_need_the_token_of_an_auditor(self, registry: Any) -> None:
        registry(notification())
        tallies.fold()
        create_run(state="failed")
        for headers in ({}, factories.bearer(factories.UserFactory()), {"authorization": "Bearer x"}):
            assert Client().get("/metrics", headers=headers).status_code == 401

        response = Client().get("/metrics", headers=factories.bearer(factories.auditor()))

        lines = response.content.decode().splitlines()
        assert response["Content-Type"].startswith("text/plain; version=")
        for line in (
            'activity_health{check="worker"} 0.0',
            'activity_health{check="runs"} 2.0',
            'activity_events{category="push"} 2.0',
            'activity_run_state{state="failed"} 1.0',
            "activity_dead_letters 0.0",
        ):
            assert line in lines
        assert any(
            line.startswith('activity_heartbeat_timestamp_seconds{program="worker"}') for line in lines
        )

    def test_only_reading_is_allowed(self) -> None:
        assert Client().post("/healthz").status_code == 405
        assert Client().post("/metrics").status_code == 405
