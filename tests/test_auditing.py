"""Changes made in this application are recorded as events that only certain users can see."""

from __future__ import annotations

import getpass
import json
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from celery import current_app
from celery.signals import after_task_publish
from django.conf import global_settings
from django.contrib import admin as site
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_login_failed
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from guardian.shortcuts import assign_perm, remove_perm

from activity import tasks
from activity.catalogue import KINDS
from activity.deletion import runs
from activity.models import Archive, AutoDeletion, DeadLetter, Event, Hold, Import, Verification
from activity.recording.record import record_events
from activity.sources import auditing
from activity.sources.audited_models import AUDITED
from activity.sources.registries import grant_add_event_permission
from msr_project import demo
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.resolving import Access
from repositories.accounts import current_request
from repositories.forms import RepositoryForm
from repositories.models import (
    AccessToken,
    Membership,
    Namespace,
    Organization,
    Policy,
    RegistrySettings,
    Repository,
    Team,
)
from tests import factories
from tests.admin_forms import empty_formsets, grant_prefixes

COMMAND_LINE = f"SYSTEM the command line ({getpass.getuser()})"
pytestmark = [pytest.mark.django_db, pytest.mark.audited, pytest.mark.usefixtures("schedule")]

User: Any = get_user_model()
PASSWORD = "a-long-pass-1"
TASKS = "/admin/django_celery_beat/periodictask/"


@pytest.fixture
def admin() -> Client:
    """A client logged in as an MSR admin. Neither the new account nor the login is recorded."""
    with current_request.auditing_disabled():
        client = Client(headers={"user-agent": "Firefox"}, REMOTE_ADDR="10.0.0.7")
        client.force_login(factories.msr_admin(username="admin"))
    return client


@pytest.fixture
def web() -> Repository:
    with current_request.auditing_disabled():
        return factories.repository("acme/web")


@pytest.fixture
def jane() -> Any:
    with current_request.auditing_disabled():
        user = factories.UserFactory(username="jane")
        user.set_password(PASSWORD)
        user.save()
    return user


@pytest.fixture
def devs(web: Repository) -> Team:
    with current_request.auditing_disabled():
        return factories.TeamFactory(organization=web.namespace.organization, name="devs")


def change_form(kind: str, **values: Any) -> dict[str, Any]:
    """Return form data that leaves the grants unchanged, for a repository or namespace admin page."""
    return {**empty_formsets(*grant_prefixes(kind)), **values}


def new_password(field: str) -> dict[str, str]:
    """Return form data in which a new password is entered twice."""
    return {f"{field}{number}": "another-1-pass" for number in (1, 2)} | {"usable_password": "true"}


def stored_rows() -> dict[type, list[dict[str, Any]]]:
    """Return all rows of each audited model."""
    return {model: list(model._base_manager.order_by("pk").values()) for model in AUDITED}


def recorded() -> list[tuple[str, str, str, str]]:
    """Return the label, repository, subject and actor of each event, oldest first."""
    return [
        (event.label, event.repository_name, event.details.get("subject", ""), event.actor_label)
        for event in Event.objects.order_by("pk")
    ]


def only_event() -> Event:
    """Return the only event. Fail if there isn't exactly one."""
    return Event.objects.get()


class TestAccess:
    def test_grant_on_a_repository_is_recorded_with_level_and_holder(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        page = f"/admin/registry_repositories/repository/{web.pk}/permissions/user-manage/{jane.pk}/"

        admin.post(page, {"permissions": ["level_read"]})
        admin.post(page, {"permissions": ["level_read"]})
        admin.post(page, {"permissions": [], "submit": "Save"})

        assert recorded() == [
            ("Create Grant", "acme/web", "read on acme/web to jane", "admin"),
            ("Delete Grant", "acme/web", "read on acme/web to jane", "admin"),
        ]
        created, deleted = Event.objects.order_by("pk")
        assert (created.category, created.type, deleted.type) == ("access", "CREATE", "DELETE")
        assert created.details == {
            "subject": "read on acme/web to jane",
            "changes": {
                "permission": {"after": "level_read"},
                "user": {"after": "jane"},
                "content_object": {"after": "acme/web"},
            },
            "client_address": "10.0.0.7",
            "user_agent": "Firefox",
        }

    def test_grant_created_on_the_repository_page_is_recorded(
        self, admin: Client, web: Repository, devs: Team
    ) -> None:
        row = {"TOTAL_FORMS": 1, "0-group": devs.group.pk, "0-access": "level_admin"}
        rows = {f"repositorygrouppermission_set-{key}": value for key, value in row.items()}
        page = f"/admin/registry_repositories/repository/{web.pk}/change/"

        admin.post(page, change_form("repository", visibility="private", description="") | rows)

        assert recorded() == [("Create Grant", "acme/web", "admin on acme/web to acme/devs", "admin")]

    def test_grant_on_a_namespace_is_recorded_without_a_repository(self, web: Repository, devs: Team) -> None:
        assign_perm("view_pull_events", devs.group, web.namespace)
        remove_perm("view_pull_events", devs.group, web.namespace)

        subject = "pull events on acme to acme/devs"
        assert recorded() == [
            ("Create Grant", "", subject, COMMAND_LINE),
            ("Delete Grant", "", subject, COMMAND_LINE),
        ]

    def test_changes_to_a_team_and_its_members_are_recorded(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        form = {"organization": web.namespace.organization_id, "name": "devs"}
        with current_request.auditing_disabled():
            factories.add_member(web.namespace.organization, jane)

        admin.post("/admin/registry_repositories/team/add/", {**form, "members": [jane.pk]})
        team = Team.objects.get()
        admin.post(
            f"/admin/registry_repositories/team/{team.pk}/change/", {**form, "name": "ops", "members": []}
        )
        admin.post(f"/admin/registry_repositories/team/{team.pk}/delete/", {"post": "yes"})

        assert recorded() == [
            ("Create Team", "", "acme/devs", "admin"),
            ("Create Team Member", "", "acme/devs", "admin"),
            ("Update Team", "", "acme/ops", "admin"),
            ("Delete Team Member", "", "acme/ops", "admin"),
            ("Delete Team", "", "acme/ops", "admin"),
        ]
        assert Event.objects.get(kind="create_team_member").details["members"] == ["jane"]
        assert Event.objects.get(kind="update_team").details["changes"] == {
            "name": {"before": "devs", "after": "ops"}
        }

    def test_deleting_a_team_records_its_grants_and_members(self, web: Repository, devs: Team) -> None:
        with current_request.auditing_disabled():
            for number in range(5):
                devs.group.user_set.add(factories.UserFactory())
                assign_perm("level_read", devs.group, factories.repository(f"acme/r{number}"))

        devs.delete()

        assert [label for label, *_ in recorded()] == ["Delete Grant"] * 5 + [
            "Delete Team Member",
            "Delete Team",
        ]
        assert not Group.objects.filter(name="acme/devs").exists()

    def test_changes_to_an_organization_and_its_members_are_recorded(self, admin: Client, jane: Any) -> None:
        forms = {"memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "0"}
        member = {"memberships-0-user": jane.pk, "memberships-0-role": "member"}

        admin.post("/admin/registry_repositories/organization/add/", {"name": "acme", **forms, **member})
        organization, membership = Organization.objects.get(), Membership.objects.get()
        admin.post(
            f"/admin/registry_repositories/organization/{organization.pk}/change/",
            {
                **forms,
                "memberships-INITIAL_FORMS": "1",
                "memberships-0-id": membership.pk,
                "memberships-0-organization": organization.pk,
                **member,
                "memberships-0-role": "owner",
            },
        )

        assert [label for label, *_ in recorded()] == [
            "Create Organization",
            "Update Namespace",
            "Create Organization Member",
            "Update Organization Member",
        ]
        assert Event.objects.get(kind="update_namespace").details["changes"] == {
            "organization": {"after": "acme"}
        }
        updated = Event.objects.get(kind="update_organization_member")
        assert updated.details["changes"] == {"role": {"before": "member", "after": "owner"}}

    def test_claiming_a_namespace_is_recorded(self, admin: Client, jane: Any, registry: Any) -> None:
        registry(factories.notification(target={"repository": "newcorp/app"}))
        namespace = Namespace.objects.get(name="newcorp")

        admin.post(
            f"/admin/registry_repositories/namespace/{namespace.pk}/change/",
            change_form("namespace", user=jane.pk, organization=""),
        )

        event = Event.objects.get(category="access", actor_name="admin")
        assert (event.label, event.details["subject"]) == ("Update Namespace", "newcorp")
        assert event.details["changes"] == {"user": {"after": "jane"}}

    def test_changes_to_visibility_and_description_are_recorded(self, admin: Client, web: Repository) -> None:
        page = f"/admin/registry_repositories/repository/{web.pk}/change/"

        admin.post(page, change_form("repository", visibility="private", description="Our website."))
        admin.post(page, change_form("repository", visibility="public", description=""))

        assert recorded() == [
            ("Update Description", "acme/web", "acme/web", "admin"),
            ("Update Visibility", "acme/web", "acme/web", "admin"),
        ]
        first, second = Event.objects.order_by("pk")
        assert first.details["changes"] == {"description": {"after": "Our website."}}
        assert second.details["changes"] == {
            "visibility": {"before": "private", "after": "public"},
            "description": {"before": "Our website."},
        }

    def test_saving_the_settings_of_a_repository_does_not_undo_a_concurrent_deletion(
        self, web: Repository
    ) -> None:
        form = RepositoryForm({"visibility": "public"}, instance=Repository.objects.get(pk=web.pk))
        assert form.is_valid()
        Repository.objects.get(pk=web.pk).delete()

        form.save()

        assert Repository.objects.get(pk=web.pk).deleted_at
        assert sorted(label for label, *_ in recorded()) == ["Delete Repository", "Update Visibility"]

    def test_restoring_a_deleted_repository_is_not_recorded_as_a_deletion(self, web: Repository) -> None:
        stale = Repository.objects.get(pk=web.pk)
        Repository.objects.get(pk=web.pk).delete()

        stale.visibility = "public"
        stale.save()

        assert sorted(label for label, *_ in recorded()) == ["Delete Repository", "Update Visibility"]

    def test_groups_of_a_user_are_recorded_after_the_user_was_loaded_from_a_fixture(self, db: None) -> None:
        fixture = serializers.serialize("json", [factories.UserFactory(username="jane")])
        loaded: Any = next(serializers.deserialize("json", fixture))
        loaded.save()
        loaded.object.save()

        loaded.object.groups.add(Group.objects.first())

        assert "Create Group Member" in {label for label, *_ in recorded()}

    def test_creating_and_deleting_a_repository_are_recorded_without_its_fields(self, admin: Client) -> None:
        """Some users who can see that a repository was created are not allowed to see its description."""
        with current_request.auditing_disabled():
            namespace = Namespace.objects.create(name="acme")
        form = {"namespace": namespace.pk, "name": "app", "visibility": "public", "description": "Secret."}

        admin.post("/admin/registry_repositories/repository/add/", form | empty_formsets())
        Repository.objects.get().delete()

        assert recorded() == [
            ("Create Repository", "acme/app", "acme/app", "admin"),
            ("Delete Repository", "acme/app", "acme/app", COMMAND_LINE),
        ]
        assert {key for event in Event.objects.all() for key in event.details} == {
            "subject",
            "client_address",
            "user_agent",
        }

    def test_creating_and_deleting_a_hold_are_recorded(self, admin: Client, web: Repository) -> None:
        admin.post("/admin/registry_activity/hold/add/", {"repository": web.pk, "reason": "An inquiry."})
        admin.post(f"/admin/registry_activity/hold/{Hold.objects.get().pk}/delete/", {"post": "yes"})

        assert [(label, name) for label, name, *_ in recorded()] == [
            ("Create Hold", "acme/web"),
            ("Delete Hold", "acme/web"),
        ]
        assert Event.objects.get(kind="create_hold").details["changes"]["reason"] == {"after": "An inquiry."}


class TestAccounts:
    def log_in(self, **form: str) -> Any:
        client = Client(headers={"user-agent": "Firefox"}, REMOTE_ADDR="10.0.0.7")
        client.post("/accounts/login/", form)
        return client

    def test_login_and_logout_are_recorded(self, jane: Any) -> None:
        client = self.log_in(username="jane", password=PASSWORD)
        client.post("/accounts/logout/")
        client.post("/accounts/logout/")

        assert [(event.label, event.type, event.actor_user) for event in Event.objects.order_by("pk")] == [
            ("Create Session", "CREATE", jane),
            ("Delete Session", "DELETE", jane),
        ]
        assert {event.details["client_address"] for event in Event.objects.all()} == {"10.0.0.7"}

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("jane", "jane"),
            ("nobody", "nobody"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
            ("x" * 1000, "x" * 255),
        ],
    )
    @pytest.mark.parametrize("page", ["/accounts/login/", "/admin/login/"])
    def test_failed_login_is_recorded_with_the_username_but_not_the_password(
        self, jane: Any, name: str, shown: str, page: str
    ) -> None:
        Client().post(page, {"username": name, "password": "s3cret-guess"})

        event = only_event()
        assert (event.label, event.type, event.actor_name) == ("Create Session Failed", "FAIL", shown)
        assert "s3cret-guess" not in str(event.__dict__)

    @pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 1000])
    def test_failed_login_with_an_unstorable_username_is_recorded(self, name: str) -> None:
        user_login_failed.send("a backend", credentials={"username": name}, request=None)

        assert len(only_event().actor_name) <= 255

    def test_creating_changing_and_deleting_a_user_are_recorded(self, admin: Client) -> None:
        passwords = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
        admin.post("/admin/auth/user/add/", {"username": "mia", **passwords})
        mia = User.objects.get(username="mia")
        mia.email = "mia@example.com"
        mia.save()
        mia.delete()

        assert [label for label, *_ in recorded()] == [
            "Create User",
            "Create Namespace",
            "Update User",
            "Update Namespace",
            "Delete User",
        ]
        assert Event.objects.get(kind="create_user").details["changes"]["password"] == {"after": "hidden"}
        assert Event.objects.get(kind="update_user").details["changes"] == {
            "email": {"after": "mia@example.com"}
        }
        assert mia.password.rpartition("$")[2] not in str([event.details for event in Event.objects.all()])

    def test_changing_your_own_password_is_recorded(self, jane: Any, log_in: Any) -> None:
        with current_request.auditing_disabled():
            client = log_in(jane)

        new = {"old_password": PASSWORD, "new_password1": "another-1-pass", "new_password2": "another-1-pass"}
        client.post("/settings/password/", new)

        assert recorded() == [("Update Password", "", "jane", "jane")]
        assert only_event().details["changes"] == {"password": {"before": "hidden", "after": "hidden"}}

    def test_rehashing_the_password_at_login_is_not_recorded(self, jane: Any, settings: Any) -> None:
        settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
        with current_request.auditing_disabled():
            jane.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
            jane.save()

        self.log_in(username="jane", password=PASSWORD)

        jane.refresh_from_db()
        assert "$1$" not in jane.password
        assert recorded() == [("Create Session", "", "", "jane")]

    def test_update_of_last_login_is_not_recorded(self, jane: Any) -> None:
        jane.last_login = factories.NOON
        jane.save()

        assert not Event.objects.exists()

    def test_creating_and_deleting_a_token_are_recorded(self, admin: Client, jane: Any) -> None:
        call_command("create_token", "jane", stdout=StringIO(), stderr=StringIO())
        token = AccessToken.objects.get()
        admin.post(f"/admin/registry_repositories/accesstoken/{token.pk}/delete/", {"post": "yes"})

        subject = f"{token.token_key[:8]}… (jane)"
        assert recorded() == [
            ("Create Token", "", subject, COMMAND_LINE),
            ("Delete Token", "", subject, "admin"),
        ]
        details = str([event.details for event in Event.objects.all()])
        assert token.digest not in details
        assert token.token_key not in details

    def test_deletion_of_an_expired_token_is_not_recorded(self, jane: Any) -> None:
        with current_request.auditing_disabled():
            expired = factories.bearer(jane)
            AccessToken.objects.update(expiry=factories.NOON - timedelta(days=365))
            valid = factories.bearer(jane)

        assert Client().get("/api/v0/events/", headers=valid).status_code == 200
        assert Client().get("/api/v0/events/", headers=expired).status_code == 401
        assert AccessToken.objects.count() == 1
        assert recorded() == []

    def test_joining_and_leaving_a_group_are_recorded(self, jane: Any) -> None:
        jane.groups.add(Group.objects.get(name=MSR_ADMINS))
        jane.groups.set([Group.objects.get(name=AUDITORS)])
        jane.groups.clear()

        assert [(label, subject) for label, _, subject, _ in recorded()] == [
            ("Create Group Member", MSR_ADMINS),
            ("Delete Group Member", MSR_ADMINS),
            ("Create Group Member", AUDITORS),
            ("Delete Group Member", AUDITORS),
        ]
        assert {tuple(event.details["members"]) for event in Event.objects.all()} == {("jane",)}

    def test_changes_to_permissions_of_users_and_groups_are_recorded(self, jane: Any) -> None:
        grant_add_event_permission(jane)
        permission = jane.user_permissions.get()
        with current_request.auditing_disabled():
            group = Group.objects.create(name="producers")
        group.permissions.add(permission)
        group.permissions.clear()

        assert [(label, subject) for label, _, subject, _ in recorded()] == [
            ("Update User", "jane"),
            ("Update Group", "producers"),
            ("Update Group", "producers"),
        ]
        changes = [event.details["changes"]["permissions"] for event in Event.objects.order_by("pk")]
        assert changes == [
            {"after": ["registry_activity.add_event"]},
            {"after": ["registry_activity.add_event"]},
            {"before": ["registry_activity.add_event"]},
        ]


class TestSystem:
    def test_change_to_registry_settings_is_recorded(self, admin: Client) -> None:
        admin.get("/admin/registry_repositories/registrysettings/")
        admin.post("/admin/registry_repositories/registrysettings/", {})
        assert not Event.objects.exists()
        admin.post("/admin/registry_repositories/registrysettings/", {"scanning_enabled": "on"})

        assert recorded() == [("Update Registry Settings", "", "Registry settings", "admin")]
        assert only_event().details["changes"] == {"scanning_enabled": {"before": False, "after": True}}

    def test_creation_of_settings_on_first_read_is_not_recorded(self) -> None:
        RegistrySettings.get_solo()
        AutoDeletion.get_solo()
        assert not Event.objects.exists()

        AutoDeletion.objects.all().delete()
        AutoDeletion(enabled=True, age=2).save()
        assert only_event().details["changes"] == {
            "age": {"after": 2},
            "enabled": {"before": False, "after": True},
        }

    def test_changes_to_auto_deletion_and_previews_are_recorded(self, admin: Client) -> None:
        rule = {
            "category": "pull",
            "age": "1",
            "age_unit": "days",
            "max_events": "",
            "max_per": "repository",
        }
        admin.post("/admin/registry_activity/deletionrule/add/", rule)
        on = {"enabled": "on", "age": "2", "age_unit": "months", "max_events": "", "archive": "on"}
        admin.post("/admin/registry_activity/autodeletion/", on)
        admin.post("/admin/registry_activity/autodeletion/start/", {"preview": ""})

        assert [(label, actor) for label, _, _, actor in recorded()] == [
            ("Create Deletion Rule", "admin"),
            ("Update Auto Deletion", "admin"),
            ("Create Deletion Preview", "admin"),
        ]

    def test_stopping_a_run_is_recorded_once(self, admin: Client) -> None:
        with current_request.auditing_disabled():
            run = runs.start("a test")
        admin.post(f"/admin/registry_activity/run/{run.pk}/stop/")
        admin.post(f"/admin/registry_activity/run/{run.pk}/stop/")

        assert (only_event().label, only_event().details["run"]) == ("Stop Deletion", run.pk)

    def test_releasing_an_import_is_recorded_once(self, admin: Client) -> None:
        imported = Import.objects.create(archive_name="x.jsonl.gz")
        for _ in range(2):
            admin.post(
                "/admin/registry_activity/import/", {"action": "release", "_selected_action": [imported.pk]}
            )

        assert (only_event().label, only_event().details["archives"]) == ("Release Import", ["x.jsonl.gz"])

    @pytest.mark.parametrize(
        ("started_by", "shown"),
        [
            ("the schedule", "SYSTEM the schedule"),
            ("the command line (jane)", "SYSTEM the command line (jane)"),
            ("admin", "admin"),
        ],
    )
    def test_run_is_attributed_to_whoever_started_it(self, started_by: str, shown: str) -> None:
        with current_request.auditing_disabled():
            run = runs.start(started_by)
        runs.record_run(run)

        assert (only_event().label, only_event().actor_label) == ("Delete Events", shown)

    @pytest.mark.parametrize(
        ("action", "label"),
        [
            ("disable_tasks", "Update Periodic Task"),
            ("toggle_tasks", "Update Periodic Task"),
            ("run_tasks", "Run Periodic Task"),
        ],
    )
    def test_actions_on_periodic_tasks_are_recorded(self, admin: Client, action: str, label: str) -> None:
        task = PeriodicTask.objects.get(name="Auto-delete events")

        admin.post(TASKS, {"action": action, "_selected_action": [task.pk]})

        assert recorded() == [(label, "", str(task), "admin")]

    def test_enabling_a_task_is_recorded_once(self, admin: Client) -> None:
        task = PeriodicTask.objects.get(name="Auto-delete events")
        with current_request.auditing_disabled():
            task.enabled = False
            task.save()

        for _ in range(2):
            admin.post(TASKS, {"action": "enable_tasks", "_selected_action": [task.pk]})

        assert only_event().details["changes"] == {"enabled": {"before": False, "after": True}}
        assert PeriodicTask.objects.get(pk=task.pk).enabled

    @pytest.mark.parametrize("field", ["task", "regtask"])
    def test_tasks_that_call_other_tasks_cannot_be_scheduled(self, admin: Client, field: str) -> None:
        task = PeriodicTask.objects.get(name="Auto-delete events")
        arguments = json.dumps([{"task": task.task}, [[]]])
        form = {"name": "Other", "crontab": task.crontab_id, "args": arguments, "kwargs": "{}"}

        response = admin.post(f"{TASKS}add/", {**form, field: "celery.starmap"})

        assert "own tasks can" in response.content.decode()
        assert not PeriodicTask.objects.filter(name="Other").exists()
        admin.post(f"{TASKS}add/", {**form, "args": "[]", field: "celery.backend_cleanup"})
        assert PeriodicTask.objects.filter(name="Other").exists()

    def test_message_of_a_task_contains_the_name_of_the_user_who_started_it(self, admin: Client) -> None:
        sent = []

        def remember(headers: dict[str, Any], **_: Any) -> None:
            sent.append(headers[auditing.STARTED_BY])

        after_task_publish.connect(remember)
        task = PeriodicTask.objects.get(name="Auto-delete events")
        admin.post(TASKS, {"action": "run_tasks", "_selected_action": [task.pk]})
        tasks.delete_events.apply_async(headers={auditing.STARTED_BY: "jane"})  # as set in a task's headers

        assert sent == ["admin", None]

    @pytest.mark.parametrize(
        ("headers", "actor"), [({auditing.STARTED_BY: "jane"}, "jane"), ({}, "SYSTEM the schedule")], ids=str
    )
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("activity.tasks.delete_events", []),
            ("celery.starmap", [{"task": "activity.tasks.delete_events"}, [[]]]),
        ],
    )
    def test_run_of_a_task_is_attributed_to_the_user_who_started_the_task(
        self, name: str, arguments: list[Any], headers: dict[str, str], actor: str
    ) -> None:
        with current_request.auditing_disabled():
            AutoDeletion(enabled=True, age=2).save()

        current_app.tasks[name].apply(tuple(arguments), headers=headers)

        assert [(label, actor) for label, _, _, actor in recorded()] == [("Create Deletion Run", actor)]

    def test_schedule_change_is_recorded_but_celery_beats_bookkeeping_is_not(self, admin: Client) -> None:
        task = PeriodicTask.objects.get(name="Auto-delete events")
        task.last_run_at, task.total_run_count = factories.NOON, 7
        task.save()
        assert not Event.objects.exists()

        task.crontab = CrontabSchedule.objects.create(hour="5", minute="30")
        task.save()

        assert [label for label, *_ in recorded()] == ["Create Schedule", "Update Periodic Task"]
        crontab = Event.objects.get(kind="update_periodic_task").details["changes"]["crontab"]
        assert (crontab["before"][:3], crontab["after"][:4]) == ("0 0", "30 5")


class TestRecording:
    def test_event_is_rolled_back_with_the_change(self, jane: Any) -> None:
        with transaction.atomic():
            jane.email = "x@example.com"
            jane.save()
            transaction.set_rollback(True)

        assert not Event.objects.exists()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        ("url", "data"),
        [
            ("/settings/password/", {"old_password": PASSWORD, **new_password("new_password")}),
            ("/settings/tokens/", {"name": "CI", "expiry": "30", "can_read": "on"}),
            ("/repositories/new/", {"namespace": "acme", "name": "app", "visibility": "private"}),
            ("/repositories/acme/web/settings/", {"change": "", "visibility": "public"}),
            ("/repositories/acme/web/settings/", {"delete": "", "confirmation": "acme/web"}),
            (
                "/repositories/acme/web/permissions/",
                {"grant": "", "holder": "jane", "codename": "level_read"},
            ),
            ("/admin/auth/user/{jane}/password/", {"set-password": "", **new_password("password")}),
            ("/admin/auth/user/add/", {"username": "mia", **new_password("password")}),
            (
                "/admin/registry_repositories/repository/{web}/permissions/user-manage/{jane}/",
                {"permissions": ["level_read"]},
            ),
        ],
    )
    def test_change_is_rolled_back_if_recording_fails(
        self,
        monkeypatch: pytest.MonkeyPatch,
        admin: Client,
        web: Repository,
        jane: Any,
        url: str,
        data: dict[str, Any],
    ) -> None:
        with current_request.auditing_disabled():
            user = User.objects.get(username="admin")
            user.set_password(PASSWORD)
            user.save()
            admin.force_login(user)
        before = stored_rows()
        monkeypatch.setattr(auditing, "record_events", lambda *_: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            admin.post(url.format(jane=jane.pk, web=web.pk), data)

        assert stored_rows() == before

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("command", [("create_token", "jane"), ("registry_config",)])
    def test_change_by_a_command_is_rolled_back_if_recording_fails(
        self, monkeypatch: pytest.MonkeyPatch, jane: Any, command: tuple[str, ...]
    ) -> None:
        before = stored_rows()
        kinds: list[str] = []

        def fail_at_the_token(drafts: Any) -> list[UUID]:
            kinds.extend(draft.kind for draft in drafts)
            if kinds[-1] == "create_token":
                raise ZeroDivisionError
            return record_events(drafts)

        monkeypatch.setattr(auditing, "record_events", fail_at_the_token)

        with pytest.raises(ZeroDivisionError):
            call_command(*command, stdout=StringIO(), stderr=StringIO())

        assert stored_rows() == before

    def test_changes_to_host_models_are_not_recorded_if_the_setting_is_off(
        self, settings: Any, web: Repository, jane: Any, devs: Team
    ) -> None:
        def act() -> set[str]:
            """Change models of the host site, a team, a token and a grant, and return the recorded kinds."""
            known = set(Event.objects.values_list("pk", flat=True))
            client = Client()
            client.post("/accounts/login/", {"username": "jane", "password": "wrong"})
            client.post("/accounts/login/", {"username": "jane", "password": PASSWORD})
            client.post("/accounts/logout/")
            jane.set_password(PASSWORD)
            jane.save()
            group = Group.objects.create(name="producers")
            jane.groups.add(group)
            grant_add_event_permission(jane)
            group.delete()
            jane.user_permissions.clear()
            PeriodicTask.objects.create(name="x", task="x", crontab=CrontabSchedule.objects.create()).delete()
            devs.group.user_set.add(jane)
            devs.group.user_set.clear()
            AccessToken.objects.create(jane)
            assign_perm("level_read", jane, web)
            remove_perm("level_read", jane, web)
            return set(Event.objects.exclude(pk__in=known).values_list("kind", flat=True))

        always = {"create_team_member", "delete_team_member", "create_token", "create_grant", "delete_grant"}
        assert act() - always == {
            "create_session",
            "create_session_failed",
            "delete_session",
            "update_password",
            "update_user",
            "create_group",
            "create_group_member",
            "delete_group",
            "delete_group_member",
            "create_schedule",
            "create_periodic_task",
            "delete_periodic_task",
        }
        settings.REGISTRY_ACTIVITY = {"AUDIT_HOST_MODELS": False}

        assert act() == always

    def test_saving_without_changes_is_not_recorded(self, jane: Any, web: Repository, devs: Team) -> None:
        for row in (jane, web, web.namespace, devs):
            type(row).objects.get(pk=row.pk).save()

        assert not Event.objects.exists()

    def test_fixtures_migrations_and_demo_are_not_recorded(self, tmp_path: Any, jane: Any) -> None:
        fixture = tmp_path / "fixture.json"
        call_command("dumpdata", "auth.user", "registry_repositories", output=str(fixture), verbosity=0)
        call_command("loaddata", str(fixture), verbosity=0)
        call_command("migrate", verbosity=0)
        demo.create_objects()

        assert not Event.objects.exists()

    def test_query_count_does_not_grow_with_the_number_of_new_members(self, devs: Team) -> None:
        def queries(count: int) -> int:
            with current_request.auditing_disabled():
                users = factories.UserFactory.create_batch(count)
            with CaptureQueriesContext(connection) as captured:
                devs.group.user_set.add(*users)
            return len(captured)

        assert queries(2) == queries(50)

    def test_no_name_of_many_members_and_permissions_is_left_out(self) -> None:
        with current_request.auditing_disabled():
            users = factories.UserFactory.create_batch(60)
            group = Group.objects.create(name="ops")
        permissions = list(Permission.objects.order_by("pk")[:120])
        group.permissions.set(permissions)
        group.user_set.add(*users)

        permitted, added = (
            [event.details for event in Event.objects.filter(kind=kind)]
            for kind in ("update_group", "create_group_member")
        )
        names = [name for details in permitted for name in details["changes"]["permissions"]["after"]]
        assert sorted(names) == sorted(
            f"{permission.content_type.app_label}.{permission.codename}" for permission in permissions
        )
        assert sorted(name for details in added for name in details["members"]) == sorted(
            user.username for user in users
        )
        assert sum(details["count"] for details in added) == 60

    def test_every_model_that_users_change_in_the_admin_is_audited(self) -> None:
        written_elsewhere = {Archive, DeadLetter, Event, Import, Policy, Verification}

        assert set(site.site._registry) - set(AUDITED) == written_elsewhere

    def test_every_audited_model_has_an_update_kind(self) -> None:
        """Runs are an exception, because they are only started and stopped, never updated.

        Repositories are an exception, because each of their fields has its own update kind. Disputes are only
        lifted.
        """
        nouns = {audited.noun for audited in AUDITED.values()}

        exceptions = {"update_deletion_run", "update_dispute", "update_repository"}
        assert {f"update_{noun}" for noun in nouns} - set(KINDS) == exceptions


@pytest.mark.parametrize(
    ("kind", "in_repository", "seen_by"),
    [
        ("create_grant", True, {"repoadmin", "watcher", "msr admin", "auditor"}),
        ("create_grant", False, {"msr admin", "auditor"}),
        ("create_team", False, {"msr admin", "auditor"}),
        ("create_session", False, {"jane", "msr admin", "auditor"}),
        ("create_session_failed", False, {"jane", "msr admin", "auditor"}),
        ("update_registry_settings", False, {"msr admin", "auditor"}),
        ("delete_events", False, {"msr admin", "auditor"}),
    ],
)
def test_audit_events_are_visible_only_to_certain_users(
    web: Repository, jane: Any, kind: str, in_repository: bool, seen_by: set[str]
) -> None:
    with current_request.auditing_disabled():
        assign_perm("level_read", jane, web)
        viewers = {
            "jane": jane,
            "reader": factories.user_with("level_read_write", web),
            "repoadmin": factories.user_with("level_admin", web),
            "watcher": factories.user_with("view_access_events", web),
            "outsider": factories.UserFactory(),
            "msr admin": factories.msr_admin(),
            "auditor": factories.auditor(),
        }
    auditing.record(kind, username="jane", repository=web if in_repository else None)
    event = only_event()

    def api(viewer: Any) -> int:
        client = Client()
        client.force_login(viewer)
        return client.get(f"/api/v0/events/{event.pk}/").status_code

    with current_request.auditing_disabled():
        seen = {name for name, viewer in viewers.items() if api(viewer) == 200}
    assert seen == seen_by
    listed = {
        name
        for name, viewer in viewers.items()
        if Event.objects.visible_to(Access.for_user(viewer)).filter(pk=event.pk)
    }
    assert listed == seen_by


def test_filter_by_a_category_that_the_user_never_sees_is_rejected(jane: Any, log_in: Any) -> None:
    with current_request.auditing_disabled():
        viewers = {name: log_in(user) for name, user in (("jane", jane), ("auditor", factories.auditor()))}

    def status(viewer: str, category: str) -> int:
        return viewers[viewer].get("/api/v0/events/", {"category": category}).status_code

    assert [status("jane", category) for category in ("access", "account", "system")] == [200, 200, 400]
    assert status("auditor", "system") == 200
