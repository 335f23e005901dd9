"""A change that makes auto-deletion delete more events is announced and waits, and can be cancelled."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from hypothesis import HealthCheck, given, settings

from activity import tasks
from activity.deletion import changes, execution
from activity.models import AutoDeletion, DeletionRule, Event, FailedLogins, Hold, Import, Run, WaitingChange
from activity.storage import heartbeats
from repositories.models import Repository
from tests import factories
from tests.deletion import manage
from tests.deletion_worlds import World, execute_run, worlds
from tests.worlds import rolled_back

pytestmark = [pytest.mark.django_db, pytest.mark.audited, pytest.mark.usefixtures("schedule")]

SETTINGS = "/admin/registry_activity/autodeletion/"
RULES = "/admin/registry_activity/deletionrule/"
HOLDS = "/admin/registry_activity/hold/"
FRONT_PAGE = "/admin/"
DAY = timedelta(days=1)
ON = {"enabled": "on", "age": "12", "age_unit": "months", "max_events": "5000", "archive": "on"}
RULE = {"category": "", "age": "6", "age_unit": "months", "max_events": "500", "max_per": "repository"}


@pytest.fixture
def announced(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let changes wait for a day from now on."""
    settings.REGISTRY_ACTIVITY = {"DELETION_DELAY": DAY}
    monkeypatch.setattr(execution, "PAUSE", 0)


@pytest.fixture
def configured(admin: Client, web: Repository, settings: Any) -> dict[str, Any]:
    """Auto-deletion is on, with a rule for acme/web and a hold on globex/held, both in effect."""
    held = factories.repository("globex/held")
    admin.post(SETTINGS, ON)
    admin.post(f"{RULES}add/", {**RULE, "repository": web.pk})
    admin.post(f"{RULES}add/", {**RULE, "category": "pull", "age": "", "max_events": ""})
    admin.post(f"{HOLDS}add/", {"repository": held.pk, "reason": "An inquiry"})
    admin.post("/admin/registry_activity/autodeletion/", ON)
    Import.objects.create(archive_name="imported")
    settings.REGISTRY_ACTIVITY = {"DELETION_DELAY": DAY}
    assert not WaitingChange.objects.exists()
    return {"web": web, "held": held}


def change_url(row: Any, page: str = "change") -> str:
    return f"/admin/registry_activity/{row._meta.model_name}/{row.pk}/{page}/"


def rule_of(web: Repository) -> DeletionRule:
    return DeletionRule.objects.get(repository=web)


def post_rule(admin: Client, web: Repository, **values: Any) -> None:
    admin.post(change_url(rule_of(web)), {**RULE, "repository": web.pk, **values})


def run_action(admin: Client, model: str, action: str, row: Any) -> None:
    data = {"action": action, "_selected_action": row.pk, "post": "yes"}
    admin.post(f"/admin/{model}/", data)


TASKS = "django_celery_beat/periodictask"


def deletion_task() -> PeriodicTask:
    return PeriodicTask.objects.get(task="activity.tasks.delete_events")


MORE: dict[str, Callable[[Client, Any, Any], object]] = {
    "shorter age": lambda admin, web, held: admin.post(SETTINGS, {**ON, "age": "11"}),
    "shorter unit of age": lambda admin, web, held: admin.post(SETTINGS, {**ON, "age_unit": "weeks"}),
    "smaller maximum": lambda admin, web, held: admin.post(SETTINGS, {**ON, "max_events": "4999"}),
    "new maximum instead of an age": lambda admin, web, held: post_rule(admin, web, age="", max_events="499"),
    "archiving off": lambda admin, web, held: admin.post(SETTINGS, {**ON, "archive": ""}),
    "new rule": lambda admin, web, held: admin.post(
        f"{RULES}add/", {**RULE, "age": "1", "max_events": "", "category": "push"}
    ),
    "rule for account events": lambda admin, web, held: admin.post(
        f"{RULES}add/", {**RULE, "age": "13", "max_events": "", "category": "account"}
    ),
    "shorter age of a rule": lambda admin, web, held: post_rule(admin, web, age="5"),
    "smaller maximum of a rule": lambda admin, web, held: post_rule(admin, web, max_events="499"),
    "maximum of the rule as a whole": lambda admin, web, held: post_rule(admin, web, max_per="rule"),
    "wider rule": lambda admin, web, held: post_rule(admin, web, repository="", namespace=web.namespace_id),
    "narrower rule that protected": lambda admin, web, held: admin.post(
        change_url(DeletionRule.objects.get(category="pull")),
        {**RULE, "category": "pull", "age": "", "max_events": "", "repository": web.pk},
    ),
    "rule that protected deleted": lambda admin, web, held: admin.post(
        change_url(DeletionRule.objects.get(category="pull"), "delete"), {"post": "yes"}
    ),
    "rules deleted with an action": lambda admin, web, held: run_action(
        admin, "registry_activity/deletionrule", "delete_selected", DeletionRule.objects.get(category="pull")
    ),
    "hold lifted": lambda admin, web, held: admin.post(
        change_url(Hold.objects.get(), "delete"), {"post": "yes"}
    ),
    "holds lifted with an action": lambda admin, web, held: run_action(
        admin, "registry_activity/hold", "delete_selected", Hold.objects.get()
    ),
    "hold moved": lambda admin, web, held: admin.post(
        change_url(Hold.objects.get()), {"repository": web.pk, "reason": "An inquiry"}
    ),
    "import released": lambda admin, web, held: run_action(
        admin, "registry_activity/import", "release", Import.objects.get()
    ),
    "another schedule": lambda admin, web, held: admin.post(
        f"/admin/django_celery_beat/crontabschedule/{deletion_task().crontab_id}/change/",
        {"minute": "*", "hour": "*", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*"}
        | {"timezone": "UTC"}
        | {f"periodictask_set-{part}_FORMS": 0 for part in ("TOTAL", "INITIAL")},
    ),
}
LESS: dict[str, Callable[[Client, Any, Any], object]] = {
    "longer age": lambda admin, web, held: admin.post(SETTINGS, {**ON, "age": "13"}),
    "no age": lambda admin, web, held: admin.post(SETTINGS, {**ON, "age": ""}),
    "larger maximum": lambda admin, web, held: admin.post(SETTINGS, {**ON, "max_events": "5001"}),
    "off": lambda admin, web, held: admin.post(SETTINGS, {**ON, "enabled": ""}),
    "new rule that protects": lambda admin, web, held: admin.post(
        f"{RULES}add/", {**RULE, "age": "", "max_events": "", "namespace": web.namespace_id}
    ),
    "new rule with a longer age": lambda admin, web, held: admin.post(
        f"{RULES}add/", {**RULE, "age": "24", "max_events": "", "category": "push"}
    ),
    "longer age of a rule": lambda admin, web, held: post_rule(admin, web, age="7"),
    "new hold": lambda admin, web, held: admin.post(
        f"{HOLDS}add/", {"repository": web.pk, "reason": "An inquiry"}
    ),
    "reason of a hold": lambda admin, web, held: admin.post(
        change_url(Hold.objects.get()), {"repository": held.pk, "reason": "Another inquiry"}
    ),
    "schedule off": lambda admin, web, held: run_action(admin, TASKS, "disable_tasks", deletion_task()),
}


@pytest.mark.parametrize("change", MORE.values(), ids=MORE)
def test_change_that_deletes_more_waits_and_can_be_cancelled(
    admin: Client, configured: dict[str, Any], change: Callable[..., object]
) -> None:
    before = changes.in_effect()
    assert changes.saved() == before

    change(admin, **configured)

    after = changes.saved()
    assert after != before
    assert not changes_configuration(before, changes.in_effect())
    (waiting,) = changes.waiting()
    assert waiting.changed_by == "admin"
    assert waiting.effective_at == waiting.changed_at + DAY
    assert changes.in_effect(timezone.now() + DAY) == after
    html = admin.get(FRONT_PAGE).content.decode()
    assert "The events to delete are being counted" in html

    other = Client()
    other.force_login(factories.msr_admin(username="other"))
    cancel_url = f"{SETTINGS}changes/{waiting.pk}/cancel/"
    assert cancel_url in html
    other.post(cancel_url)

    assert changes.saved() == changes.in_effect() == before
    assert not changes.waiting().exists()
    event = Event.objects.get(kind="cancel_deletion_change")
    assert (event.actor_name, event.details["changed_by"]) == ("other", "admin")
    assert event.details["subject"] == waiting.subject


def changes_configuration(before: Any, after: Any) -> bool:
    """Return whether two configurations differ in what they delete, regardless of the names of rules."""
    now = timezone.now()
    return changes.deletes_more(before, after, now)


@pytest.mark.parametrize("change", LESS.values(), ids=LESS)
def test_change_that_deletes_fewer_events_takes_effect_at_once(
    admin: Client, configured: dict[str, Any], change: Callable[..., object]
) -> None:
    before = changes.in_effect()

    change(admin, **configured)

    assert changes.in_effect() == changes.saved()
    assert not changes.waiting().exists()
    assert (changes.saved() != before) == (change is not LESS["reason of a hold"])
    assert "have not taken effect yet" not in admin.get(FRONT_PAGE).content.decode()


@pytest.mark.long
@pytest.mark.usefixtures("announced")
@settings(suppress_health_check=list(HealthCheck), max_examples=60)
@given(old=worlds(), new=worlds())
def test_until_a_change_takes_effect_only_events_go_that_go_before_and_after_it(
    old: World, new: World, settings: Any
) -> None:
    new = World(old.repositories, new.rules, new.holds, old.events, old.cutoff)
    for world in (old, new):
        numbers = range(len(old.repositories))
        world.rules = [rule for rule in world.rules if isinstance(rule.scope, str) or rule.scope in numbers]
        world.holds = [scope for scope in world.holds if isinstance(scope, str) or scope in numbers]
    with rolled_back():
        settings.REGISTRY_ACTIVITY = {"DELETION_DELAY": timedelta(0)}
        ids = old.create()
        settings.REGISTRY_ACTIVITY = {"DELETION_DELAY": DAY}
        for row in (*DeletionRule.objects.all(), *Hold.objects.all()):
            row.delete()
        new.configure(list(Repository.objects.order_by("pk")))

        def remaining() -> set[int]:
            present = {str(pk) for pk in Event.objects.values_list("pk", flat=True)}
            return {number for number, id in enumerate(ids) if id in present}

        execute_run(cutoff=old.cutoff)
        assert remaining() >= old.kept() | new.kept()

        WaitingChange.objects.update(effective_at=timezone.now())
        execute_run(cutoff=old.cutoff)
        assert remaining() == new.kept()


@pytest.mark.usefixtures("announced")
class TestSwitchingOn:
    def age_event(self, web: Repository) -> Event:
        return factories.record(repository=web, occurred_at=timezone.now() - timedelta(days=1000))

    def test_front_page_announces_the_number_of_events_that_a_preview_counts(
        self, admin: Client, auditor: Client, web: Repository
    ) -> None:
        admin.post(SETTINGS, ON)
        self.age_event(web)

        tasks.preview_waiting_changes()
        tasks.preview_waiting_changes()

        assert Run.objects.count() == 1
        html = admin.get(FRONT_PAGE).content.decode()
        assert re.search(r"a run would delete <a [^>]*>1 event</a>", html)
        assert "enabled: False → True" in html
        assert "by admin" in html
        html = auditor.get(FRONT_PAGE).content.decode()
        assert "a run would delete" in html
        assert "/cancel/" not in html

    def test_nothing_is_deleted_until_switching_on_has_taken_effect(
        self, admin: Client, web: Repository
    ) -> None:
        admin.post(SETTINGS, {**ON, "archive": ""})
        event = self.age_event(web)

        html = admin.post(f"{SETTINGS}start/", {"run": ""}, follow=True).content.decode()
        assert "Auto-deletion has not taken effect yet" in html
        tasks.delete_events()
        with pytest.raises(CommandError, match="has not taken effect yet"):
            manage("delete_events")
        assert Event.objects.filter(pk=event.pk).exists()

        WaitingChange.objects.update(effective_at=timezone.now())
        assert "1 event deleted" in manage("delete_events")
        assert not Event.objects.filter(pk=event.pk).exists()

    def test_change_while_auto_deletion_is_about_to_be_turned_on_waits_for_itself(
        self, admin: Client, web: Repository
    ) -> None:
        admin.post(f"{HOLDS}add/", {"repository": web.pk, "reason": "An inquiry"})
        admin.post(SETTINGS, ON)
        WaitingChange.objects.update(effective_at=timezone.now() + timedelta(minutes=1))

        admin.post(change_url(Hold.objects.get(), "delete"), {"post": "yes"})

        soon = timezone.now() + timedelta(hours=1)
        assert changes.in_effect(soon).enabled
        assert changes.in_effect(soon).holds["repositories"] == [web.pk]
        assert changes.in_effect(soon + DAY).holds["repositories"] == []

    def test_long_reason_is_announced_and_recorded_in_part(self, admin: Client) -> None:
        reason = " ".join(map(str, range(1000)))
        admin.post(SETTINGS, {**ON, "reason": reason})
        html = admin.get(FRONT_PAGE).content.decode()
        assert reason[:400] in html
        assert reason[:600] not in html

        admin.post(f"{SETTINGS}changes/{WaitingChange.objects.get().pk}/cancel/")

        recorded = Event.objects.get(kind="cancel_deletion_change").details["changes"]["reason"]["after"]
        assert reason[:400] in recorded
        assert reason[:600] not in recorded
        assert AutoDeletion.get_solo().reason == ""
        assert not WaitingChange.objects.exists()

    def test_only_msr_admins_can_cancel(self, admin: Client, auditor: Client, web: Repository) -> None:
        admin.post(SETTINGS, ON)
        cancel = f"{SETTINGS}changes/{WaitingChange.objects.get().pk}/cancel/"

        auditor.post(cancel)
        admin.get(cancel)
        assert changes.waiting().exists()

        admin.post(cancel)
        assert not AutoDeletion.get_solo().enabled
        assert "already taken effect or been cancelled" in admin.post(cancel, follow=True).content.decode()


@pytest.mark.usefixtures("announced")
def test_msr_admin_who_deletes_as_much_as_possible_stays_named(admin: Client, web: Repository) -> None:
    factories.record(repository=web, occurred_at=timezone.now() - timedelta(days=1000))
    admin.post(SETTINGS, {"enabled": "on", "age": "1", "age_unit": "hours", "max_events": "1", "archive": ""})
    data = {"category": "system", "age": "12", "age_unit": "months", "max_events": "", "max_per": "rule"}
    admin.post(f"{RULES}add/", data)
    WaitingChange.objects.update(effective_at=timezone.now())
    run_action(admin, TASKS, "run_tasks", deletion_task())
    headers = {"started_by": "admin"}  # the message that the action sent, as the tests run without a worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: datetime.now(UTC) + timedelta(days=5000))
        heartbeats.trust_clock()
        tasks.delete_events.apply(headers=headers)

    assert not Event.objects.filter(repository=web).exists()
    by_admin = set(Event.objects.filter(actor_name="admin").values_list("kind", flat=True))
    assert by_admin >= {
        "update_auto_deletion",
        "create_deletion_rule",
        "create_deletion_run",
        "delete_events",
    }
    assert not Event.objects.filter(kind="delete_events").exclude(actor_name="admin").exists()


def test_counts_of_failed_logins_are_deleted_with_their_events(admin: Client, web: Repository) -> None:
    admin.post(SETTINGS, {**ON, "archive": ""})
    admin.post(f"{RULES}add/", {**RULE, "category": "failed_logins", "age": "3", "max_events": ""})
    old, young = (timezone.now() - timedelta(days=days) for days in (100, 80))
    for moment in (old, young):
        event = factories.record("create_session_failed", "", occurred_at=moment)
        FailedLogins.objects.create(username="jane", network="::1", start=moment, event=event)

    manage("delete_events")
    tasks.delete_failed_logins()

    assert FailedLogins.objects.get().start == young


def test_run_by_hand_follows_the_rules_in_effect_and_names_what_waits(
    admin: Client, configured: dict[str, Any]
) -> None:
    two_years, half_a_year = (
        factories.record(repository="initech/app", occurred_at=timezone.now() - timedelta(days=days))
        for days in (800, 200)
    )
    admin.post(SETTINGS, {**ON, "age": "1"})
    subject = "Changed auto-deletion: Auto-deletion (admin, effective"

    html = admin.post(f"{SETTINGS}start/", {"confirmed": ""}, follow=True).content.decode()
    tasks.execute_run(Run.objects.latest("pk").pk)
    output = manage("delete_events")

    assert "ignores the changes that still wait" in html
    assert subject in html
    assert f"Ignored, since it still waits: {subject}" in output
    present = set(Event.objects.filter(repository_name="initech/app"))
    assert present == {half_a_year}
    assert two_years not in present


def test_hold_whose_lifting_waits_still_holds(admin: Client, configured: dict[str, Any]) -> None:
    held = configured["held"]
    event = factories.record(repository=held, occurred_at=timezone.now() - timedelta(days=1000))
    admin.post(change_url(Hold.objects.get(), "delete"), {"post": "yes"})

    manage("delete_events")
    assert Event.objects.filter(pk=event.pk).exists()
    html = admin.get(f"{RULES}applicable/?repository=globex/held").content.decode()
    assert "until the end of a hold has taken effect" in html

    WaitingChange.objects.update(effective_at=timezone.now())
    manage("delete_events")
    assert not Event.objects.filter(pk=event.pk).exists()


def test_change_that_is_taken_back_no_longer_waits(admin: Client, configured: dict[str, Any]) -> None:
    admin.post(SETTINGS, {**ON, "age": "1"})
    admin.post(SETTINGS, {**ON, "age": "2"})
    (waiting,) = changes.waiting()
    assert waiting.changes["age"] == {"before": "12", "after": "1"}

    admin.post(SETTINGS, {**ON, "age": "13"})

    assert not changes.waiting().exists()
    assert changes.in_effect() == changes.saved()


def test_protection_added_along_with_a_waiting_change_cannot_be_taken_back_at_once(
    admin: Client, configured: dict[str, Any]
) -> None:
    admin.post(SETTINGS, {**ON, "archive": ""})
    WaitingChange.objects.all().delete()

    admin.post(SETTINGS, {**ON, "age": "1"})  # archiving is on again at once
    admin.post(SETTINGS, {**ON, "age": "1", "archive": ""})
    assert changes.in_effect().archive

    first = changes.waiting().first()
    assert first
    admin.post(f"{SETTINGS}changes/{first.pk}/cancel/")
    assert changes.in_effect().archive
    assert AutoDeletion.get_solo().age == 12


def test_scheduled_runs_wait_for_a_change_of_the_schedule(admin: Client, configured: dict[str, Any]) -> None:
    event = factories.record(repository="initech/app", occurred_at=timezone.now() - timedelta(days=1000))
    task = deletion_task()
    task.crontab = CrontabSchedule.objects.create(minute="*", hour="*")
    task.save()

    tasks.delete_events()
    assert Event.objects.filter(pk=event.pk).exists()

    WaitingChange.objects.update(effective_at=timezone.now())
    tasks.delete_events()
    assert not Event.objects.filter(pk=event.pk).exists()


def test_without_a_delay_every_change_takes_effect_at_once(admin: Client, web: Repository) -> None:
    admin.post(SETTINGS, ON)

    assert changes.in_effect() == changes.saved()
    assert changes.in_effect().enabled


def test_former_state_that_conflicts_with_a_later_change_is_not_restored(
    admin: Client, configured: dict[str, Any]
) -> None:
    web = configured["web"]
    admin.post(change_url(rule_of(web), "delete"), {"post": "yes"})
    admin.post(f"{RULES}add/", {**RULE, "repository": web.pk, "age": "3"})
    deleted, *_ = changes.waiting()
    before = changes.in_effect()

    html = admin.post(f"{SETTINGS}changes/{deleted.pk}/cancel/", follow=True).content.decode()

    assert "it conflicts with a later change" in html.replace("&#x27;", "'")
    assert changes.in_effect() == before
