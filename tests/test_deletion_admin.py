"""Auto-deletion in the admin: MSR admins set it up, preview it, run it and stop it; auditors look on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from activity.deletion import jobs, runs
from activity.models import AutoDeletion, DeletionRule, Event, Hold, Import, Run
from repositories.models import Repository
from tests import factories

SETTINGS = "/admin/registry_activity/autodeletion/"
VALID = {"enabled": "on", "age": "2", "age_unit": "months", "max_events": "", "archive": "on"}


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


class TestSettings:
    def test_are_off_at_first(self, admin: Client) -> None:
        page(admin, SETTINGS)

        assert not AutoDeletion.get_solo().enabled

    def test_are_turned_on_with_a_condition(self, admin: Client) -> None:
        admin.post(SETTINGS, VALID)

        setting = AutoDeletion.get_solo()
        assert (setting.enabled, setting.age, setting.age_unit, setting.max_events) == (
            True,
            2,
            "months",
            None,
        )

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"age": ""}, "Give an age, a maximum number of events, or a rule"),
            ({"age": "0"}, "greater than or equal to 1"),
            ({"age": "-1"}, "greater than or equal to"),
            ({"max_events": "0"}, "greater than or equal to 1"),
            ({"age": "30000"}, "There were no events that long ago"),
            ({"age": "x"}, "Enter a whole number"),
        ],
        ids=str,
    )
    def test_that_make_no_sense_are_refused(
        self, admin: Client, changes: dict[str, str], message: str
    ) -> None:
        html = admin.post(SETTINGS, {**VALID, **changes}).content.decode()

        assert message in html
        assert not AutoDeletion.get_solo().enabled

    def test_are_changed_by_msr_admins_alone(self, auditor: Client) -> None:
        assert auditor.get(SETTINGS).status_code == 200
        assert auditor.post(SETTINGS, VALID).status_code == 403
        auditor.post(f"{SETTINGS}start/", {"preview": ""})
        assert not Run.objects.exists()


class TestRuns:
    def start(self, client: Client, button: str) -> Run:
        response = client.post(f"{SETTINGS}start/", {button: ""})
        run = Run.objects.latest("pk")
        assert response["Location"] == f"/admin/registry_activity/run/{run.pk}/change/"
        return run

    def old(self, web: Repository) -> Event:
        return factories.record(repository=web, occurred_at=timezone.now() - timedelta(days=100))

    def test_preview_says_what_would_go(self, admin: Client, web: Repository) -> None:
        admin.post(SETTINGS, VALID)
        self.old(web)

        run = self.start(admin, "preview")
        runs.execute(run)

        html = page(admin, f"/admin/registry_activity/run/{run.pk}/change/")
        assert "The global setting" in html
        assert "push: 1" in html
        assert "acme/web: 1" in html
        assert Event.objects.count() == 1

    def test_run_is_started_by_a_person(self, admin: Client, web: Repository) -> None:
        admin.post(SETTINGS, VALID)
        self.old(web)

        run = self.start(admin, "run")
        runs.execute(run)

        run.refresh_from_db()
        assert (run.started_by, run.state, run.deleted) == ("admin", "finished", 1)
        event = Event.objects.get()
        assert (event.label, event.actor_label, event.details["deleted"]) == ("Delete Events", "admin", 1)
        assert "(1 event)" in page(admin, f"/admin/registry_activity/run/{run.pk}/change/")

    def test_run_is_not_started_while_it_is_off(self, admin: Client) -> None:
        html = admin.post(f"{SETTINGS}start/", {"run": ""}, follow=True).content.decode()

        assert "Auto-deletion is off" in html
        assert not Run.objects.exists()

    def test_second_start_says_that_one_is_under_way(self, admin: Client) -> None:
        run = self.start(admin, "preview")

        html = admin.post(f"{SETTINGS}start/", {"preview": ""}, follow=True).content.decode()

        assert f"{run}, started by admin, is under way" in html
        assert Run.objects.count() == 1

    def test_run_is_stopped_by_msr_admins(self, admin: Client, auditor: Client) -> None:
        run = self.start(admin, "preview")

        auditor.post(f"/admin/registry_activity/run/{run.pk}/stop/")
        run.refresh_from_db()
        assert not run.stop_requested

        admin.post(f"/admin/registry_activity/run/{run.pk}/stop/")
        runs.execute(run)
        run.refresh_from_db()
        assert run.state == "stopped"

    def test_queue_out_of_reach_is_told_of(self, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any) -> None:
            raise ConnectionRefusedError("no queue")

        monkeypatch.setattr("activity.admin.deletion.execute_run.delay", unreachable)

        html = admin.post(f"{SETTINGS}start/", {"preview": ""}, follow=True).content.decode()

        assert "The task queue is out of reach" in html
        assert Run.objects.get().state == "failed"


class TestRules:
    def test_show_which_one_decides(self, admin: Client, web: Repository) -> None:
        add = "/admin/registry_activity/deletionrule/add/"
        base = {"age": "", "age_unit": "days", "max_events": "", "max_per": "repository"}
        admin.post(add, {**base, "category": "pull", "age": "1"})
        admin.post(add, {**base, "repository": web.pk, "category": "delete"})
        admin.post(add, {**base, "namespace": web.namespace_id, "category": "", "max_events": "6000"})
        assert DeletionRule.objects.count() == 3

        html = page(admin, "/admin/registry_activity/deletionrule/deciding/?repository=acme/web")

        rows = html.partition("<tbody>")[2]
        assert '<th scope="row">Delete</th><td>acme/web, Delete</td><td>never</td>' in rows
        assert "<td>acme, all categories</td><td>beyond the newest 6,000 in each repository</td>" in rows
        assert "everywhere, Pull" not in rows  # the namespace comes first
        assert "Auto-deletion is off" in html

    def test_are_one_for_each_scope_and_category(self, admin: Client, web: Repository) -> None:
        data = {"category": "pull", "age": "1", "age_unit": "days", "max_events": "", "max_per": "repository"}
        admin.post("/admin/registry_activity/deletionrule/add/", data)

        html = admin.post("/admin/registry_activity/deletionrule/add/", data).content.decode()

        assert "errornote" in html
        assert DeletionRule.objects.count() == 1

    def test_cover_one_scope(self, admin: Client, web: Repository) -> None:
        data = {"category": "", "age": "1", "age_unit": "days", "max_events": "", "max_per": "repository"}
        scopes = {"repository": web.pk, "namespace": web.namespace_id}

        html = admin.post("/admin/registry_activity/deletionrule/add/", {**data, **scopes}).content.decode()

        assert "Choose a repository or a namespace, not both" in html


class TestHolds:
    def test_say_who_set_them_and_why(self, admin: Client, web: Repository) -> None:
        admin.post("/admin/registry_activity/hold/add/", {"repository": web.pk, "reason": "An inquiry."})

        hold = Hold.objects.get()
        assert (str(hold.set_by), hold.reason) == ("admin", "An inquiry.")
        html = page(admin, "/admin/registry_activity/deletionrule/deciding/?repository=acme/web")
        assert "by admin:</strong> An inquiry." in html

    def test_are_on_something(self, admin: Client, web: Repository) -> None:
        html = admin.post("/admin/registry_activity/hold/add/", {"reason": "x"}).content.decode()

        assert "Choose a repository or a namespace" in html


def test_imports_are_released_by_msr_admins(admin: Client, auditor: Client) -> None:
    imported = Import.objects.create(archive_name="x")
    data = {"action": "release", "_selected_action": imported.pk}

    auditor.post("/admin/registry_activity/import/", data)
    imported.refresh_from_db()
    assert not imported.released_at

    admin.post("/admin/registry_activity/import/", data)
    imported.refresh_from_db()
    assert imported.released_at


def test_preview_names_the_largest_repositories(db: None) -> None:
    names = [f"acme/r{number}" for number in range(jobs.LARGEST + 5)]
    rows = [factories.repository(name) for name in names]
    old = timezone.now() - timedelta(days=100)
    for row in rows[:-1] * 2:
        factories.record("delete_manifest", row, occurred_at=old)
    for kind in ("create_manifest", "get_manifest", "delete_manifest"):  # the largest, but in no category
        factories.record(kind, rows[-1], occurred_at=old)
    AutoDeletion.get_solo()
    AutoDeletion.objects.update(enabled=True, age=2, age_unit="months")

    run = runs.start("a test", preview=True)
    runs.execute(run)

    run.refresh_from_db()
    largest = run.report["The global setting"]["largest"]
    assert (len(largest), largest[0]) == (jobs.LARGEST, [names[-1], 3])
