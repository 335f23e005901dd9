"""The admin pages for auto-deletion: settings, runs, rules, holds and imports."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from activity.deletion import runs
from activity.models import AutoDeletion, DeletionRule, Event, Hold, Import, Run
from repositories.models import Repository
from tests import factories

SETTINGS = "/admin/registry_activity/autodeletion/"
VALID = {"enabled": "on", "age": "2", "age_unit": "months", "max_events": "", "archive": "on"}


def get_page(client: Client, url: str) -> str:
    """Return the HTML of a page, after checking that its status is 200."""
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


class TestSettings:
    def test_auto_deletion_is_off_by_default(self, admin: Client) -> None:
        get_page(admin, SETTINGS)

        assert not AutoDeletion.get_solo().enabled

    def test_auto_deletion_is_turned_on_with_a_condition(self, admin: Client) -> None:
        admin.post(SETTINGS, VALID)

        setting = AutoDeletion.get_solo()
        assert (setting.enabled, setting.age, setting.age_unit, setting.max_events) == (
            True,
            2,
            "months",
            None,
        )

    @pytest.mark.audited
    def test_reason_is_recorded_and_shown_to_whoever_starts_a_run(self, admin: Client) -> None:
        admin.post(SETTINGS, VALID)
        admin.post(SETTINGS, {"age": "2", "age_unit": "months", "archive": "on", "reason": "An <audit>."})

        newest = Event.objects.order_by("-id").first()
        assert newest is not None
        assert newest.details["changes"] == {
            "enabled": {"before": True, "after": False},
            "reason": {"after": "An <audit>."},
        }
        html = admin.post(f"{SETTINGS}start/", {"run": ""}, follow=True).content.decode()
        assert "Auto-deletion is off: An &lt;audit&gt;." in html

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"age": ""}, "Set an age or a maximum number of events, or add a rule"),
            ({"age": "0"}, "greater than or equal to 1"),
            ({"age": "-1"}, "greater than or equal to"),
            ({"max_events": "0"}, "greater than or equal to 1"),
            ({"age": "30000"}, "This age is too large"),
            ({"age": "x"}, "Enter a whole number"),
        ],
        ids=str,
    )
    def test_invalid_settings_are_rejected(
        self, admin: Client, changes: dict[str, str], message: str
    ) -> None:
        html = admin.post(SETTINGS, {**VALID, **changes}).content.decode()

        assert message in html
        assert not AutoDeletion.get_solo().enabled

    def test_auditors_can_view_but_not_change_the_settings(self, auditor: Client) -> None:
        assert auditor.get(SETTINGS).status_code == 200
        assert auditor.post(SETTINGS, VALID).status_code == 403
        auditor.post(f"{SETTINGS}start/", {"preview": ""})
        assert not Run.objects.exists()


class TestRuns:
    def start(self, client: Client, button: str) -> Run:
        """Submit the settings page with this button, and return the new run."""
        response = client.post(f"{SETTINGS}start/", {button: ""})
        run = Run.objects.latest("pk")
        assert response["Location"] == f"/admin/registry_activity/run/{run.pk}/change/"
        return run

    def record_old_event(self, web: Repository) -> Event:
        return factories.record(repository=web, occurred_at=timezone.now() - timedelta(days=100))

    def test_preview_page_shows_what_a_run_would_delete(self, admin: Client, web: Repository) -> None:
        admin.post(SETTINGS, VALID)
        self.record_old_event(web)

        run = self.start(admin, "preview")
        runs.execute(run)

        html = get_page(admin, f"/admin/registry_activity/run/{run.pk}/change/")
        assert "Registry-wide setting" in html
        assert "push: 1" in html
        assert "acme/web: 1" in html
        assert Event.objects.count() == 1

    def test_run_is_attributed_to_the_user_who_started_it(self, admin: Client, web: Repository) -> None:
        admin.post(SETTINGS, VALID)
        self.record_old_event(web)

        run = self.start(admin, "confirmed")
        runs.execute(run)

        run.refresh_from_db()
        assert (run.started_by, run.state, run.deleted) == ("admin", "finished", 1)
        event = Event.objects.get()
        assert (event.label, event.actor_label, event.details["deleted"]) == ("Delete Events", "admin", 1)
        assert "(1 event)" in get_page(admin, f"/admin/registry_activity/run/{run.pk}/change/")

    def test_run_now_shows_the_numbers_of_a_preview_and_asks(self, admin: Client, web: Repository) -> None:
        admin.post(SETTINGS, VALID)
        self.record_old_event(web)

        preview = self.start(admin, "run")
        page = f"/admin/registry_activity/run/{preview.pk}/change/"
        assert (preview.preview, admin.get(page)["Refresh"]) == (True, "3")
        assert "Delete these events" not in get_page(admin, page)
        runs.execute(preview)

        assert Event.objects.count() == 1
        html = get_page(admin, page)
        assert "A run started now would delete 1 event, as counted above." in html
        assert 'name="confirmed" value="Delete these events"' in html
        runs.execute(self.start(admin, "confirmed"))
        assert not Event.objects.filter(repository=web).exists()

    def test_preview_of_other_settings_offers_no_run(self, admin: Client, web: Repository) -> None:
        admin.post(SETTINGS, VALID)
        preview = self.start(admin, "run")
        runs.execute(preview)
        admin.post(SETTINGS, {**VALID, "age": "7"})

        html = get_page(admin, f"/admin/registry_activity/run/{preview.pk}/change/")

        assert "Delete these events" not in html

    def test_auditor_is_offered_no_run(self, admin: Client, auditor: Client) -> None:
        admin.post(SETTINGS, VALID)
        preview = self.start(admin, "run")
        runs.execute(preview)

        html = get_page(auditor, f"/admin/registry_activity/run/{preview.pk}/change/")

        assert "Delete these events" not in html

    def test_run_is_not_started_while_auto_deletion_is_off(self, admin: Client) -> None:
        html = admin.post(f"{SETTINGS}start/", {"run": ""}, follow=True).content.decode()

        assert "Auto-deletion is off" in html
        assert not Run.objects.exists()

    def test_second_run_is_rejected_while_another_run_is_active(self, admin: Client) -> None:
        run = self.start(admin, "preview")

        html = admin.post(f"{SETTINGS}start/", {"preview": ""}, follow=True).content.decode()

        assert f"{run}, started by admin, has not finished yet" in html
        assert Run.objects.count() == 1

    def test_only_msr_admins_can_stop_a_run(self, admin: Client, auditor: Client) -> None:
        run = self.start(admin, "preview")

        auditor.post(f"/admin/registry_activity/run/{run.pk}/stop/")
        run.refresh_from_db()
        assert not run.stop_requested

        admin.post(f"/admin/registry_activity/run/{run.pk}/stop/")
        runs.execute(run)
        run.refresh_from_db()
        assert run.state == "stopped"

    def test_run_fails_if_the_task_queue_is_unreachable(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def raise_connection_error(*_: Any) -> None:
            raise ConnectionRefusedError("no queue")

        monkeypatch.setattr("activity.tasks.execute_run.delay", raise_connection_error)

        html = admin.post(f"{SETTINGS}start/", {"preview": ""}, follow=True).content.decode()

        assert "The task queue is unreachable" in html
        assert Run.objects.get().state == "failed"


class TestRules:
    def test_page_of_applicable_rules_shows_the_rule_of_each_category(
        self, admin: Client, web: Repository
    ) -> None:
        add = "/admin/registry_activity/deletionrule/add/"
        base = {"age": "", "age_unit": "days", "max_events": "", "max_per": "repository"}
        admin.post(add, {**base, "category": "pull", "age": "1"})
        admin.post(add, {**base, "repository": web.pk, "category": "delete"})
        admin.post(add, {**base, "namespace": web.namespace_id, "category": "", "max_events": "6000"})
        assert DeletionRule.objects.count() == 3

        html = get_page(admin, "/admin/registry_activity/deletionrule/applicable/?repository=acme/web")

        rows = html.partition("<tbody>")[2]
        assert '<th scope="row">Delete</th><td>acme/web, Delete</td><td>never</td>' in rows
        assert "<td>acme, repository events</td><td>beyond the newest 6,000 in each repository</td>" in rows
        assert "everywhere, Pull" not in rows  # because the namespace rule takes precedence
        assert "Auto-deletion is not in effect" in html

    def test_second_rule_for_the_same_scope_and_category_is_rejected(
        self, admin: Client, web: Repository
    ) -> None:
        data = {"category": "pull", "age": "1", "age_unit": "days", "max_events": "", "max_per": "repository"}
        admin.post("/admin/registry_activity/deletionrule/add/", data)

        html = admin.post("/admin/registry_activity/deletionrule/add/", data).content.decode()

        assert "errornote" in html
        assert DeletionRule.objects.count() == 1

    def test_rule_for_both_a_repository_and_a_namespace_is_rejected(
        self, admin: Client, web: Repository
    ) -> None:
        data = {"category": "", "age": "1", "age_unit": "days", "max_events": "", "max_per": "repository"}
        scopes = {"repository": web.pk, "namespace": web.namespace_id}

        html = admin.post("/admin/registry_activity/deletionrule/add/", {**data, **scopes}).content.decode()

        assert "Choose a repository or a namespace, not both" in html

    @pytest.mark.parametrize("category", ["access", "account", "system", "failed_logins"])
    def test_rule_for_events_of_this_application_has_a_minimum_age_and_no_maximum(
        self, admin: Client, category: str
    ) -> None:
        def add(**values: str) -> str:
            data = {"category": category, "age": "", "age_unit": "days", "max_events": "", "max_per": "rule"}
            return admin.post(
                "/admin/registry_activity/deletionrule/add/", {**data, **values}
            ).content.decode()

        too_young, enough = ("89", "90") if category == "failed_logins" else ("364", "366")
        assert "Events in this category are kept for at least" in add(age=too_young)
        assert "can be deleted only by age" in add(age=enough, max_events="10")
        assert not DeletionRule.objects.exists()

        add(age=enough)

        assert DeletionRule.objects.get().age == int(enough)

    def test_page_of_applicable_rules_includes_events_that_only_a_rule_for_their_category_deletes(
        self, admin: Client, web: Repository
    ) -> None:
        admin.post(SETTINGS, VALID)
        data = {"age": "90", "age_unit": "days", "max_events": "", "max_per": "repository"}
        admin.post("/admin/registry_activity/deletionrule/add/", {**data, "category": "failed_logins"})

        html = get_page(admin, "/admin/registry_activity/deletionrule/applicable/?repository=acme/web")

        assert '<th scope="row">Push</th><td>Registry-wide setting</td><td>older than 2 months</td>' in html
        assert '<th scope="row">Account</th><td>Default</td><td>never</td>' in html
        assert '<th scope="row">Failed logins</th><td>everywhere, Failed logins</td>' in html


class TestHolds:
    def test_hold_shows_who_set_it_and_why(self, admin: Client, web: Repository) -> None:
        admin.post("/admin/registry_activity/hold/add/", {"repository": web.pk, "reason": "An inquiry."})

        hold = Hold.objects.get()
        assert (str(hold.set_by), hold.reason) == ("admin", "An inquiry.")
        html = get_page(admin, "/admin/registry_activity/deletionrule/applicable/?repository=acme/web")
        assert "by admin:</strong> An inquiry." in html

    def test_hold_without_a_repository_or_namespace_is_rejected(self, admin: Client, web: Repository) -> None:
        html = admin.post("/admin/registry_activity/hold/add/", {"reason": "x"}).content.decode()

        assert "Choose a repository or a namespace" in html


def test_only_msr_admins_can_release_imports(admin: Client, auditor: Client) -> None:
    imported = Import.objects.create(archive_name="x")
    data = {"action": "release", "_selected_action": imported.pk}

    auditor.post("/admin/registry_activity/import/", data)
    imported.refresh_from_db()
    assert not imported.released_at

    admin.post("/admin/registry_activity/import/", data)
    imported.refresh_from_db()
    assert imported.released_at
