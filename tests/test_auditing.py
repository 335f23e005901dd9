"""What people do to the system is recorded: by whom, from where, and shown to whom it concerns."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import global_settings
from django.contrib import admin as site
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_login_failed
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from guardian.shortcuts import assign_perm, remove_perm
from knox.models import AuthToken

from activity.deletion import runs
from activity.models import Archive, AutoDeletion, DeadLetter, Event, Hold, Import
from activity.sources import auditing
from activity.sources.registries import allow_adding_events
from msr_project import demo
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.resolving import Access
from repositories.accounts import current_request
from repositories.accounts.tokens import new_token
from repositories.models import (
    Membership,
    Namespace,
    Organization,
    Policy,
    RegistrySettings,
    Repository,
    Team,
)
from tests import factories
from tests.test_admin_access import grant_forms, no_inlines

pytestmark = [pytest.mark.django_db, pytest.mark.audited]

User: Any = get_user_model()
PASSWORD = "a-long-pass-1"


@pytest.fixture
def admin() -> Client:
    """The browser of an MSR admin, whose account and log-in aren't recorded."""
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


def form_of(place: str, **values: Any) -> dict[str, Any]:
    """Return what the admin page of a repository or a namespace sends, with no grant changed."""
    return {**no_inlines(*grant_forms(place)), **values}


def told() -> list[tuple[str, str, str, str]]:
    """Return label, repository, subject and actor of all events, the oldest first."""
    return [
        (event.label, event.repository_name, event.details.get("subject", ""), event.actor_label)
        for event in Event.objects.order_by("pk")
    ]


def one() -> Event:
    """Return the one event that there is."""
    return Event.objects.get()


class TestAccess:
    def test_grant_is_of_its_repository_with_level_and_holder(
        self, admin: Client, web: Repository, jane: Any
    ) -> None:
        page = f"/admin/registry_repositories/repository/{web.pk}/permissions/user-manage/{jane.pk}/"

        admin.post(page, {"permissions": ["level_read"]})
        admin.post(page, {"permissions": ["level_read"]})
        admin.post(page, {"permissions": [], "submit": "Save"})

        assert told() == [
            ("Create Grant", "acme/web", "read on acme/web to jane", "admin"),
            ("Delete Grant", "acme/web", "read on acme/web to jane", "admin"),
        ]
        created, deleted = Event.objects.order_by("pk")
        assert (created.category, created.type, deleted.type) == ("access", "CREATE", "DELETE")
        assert created.details == {
            "subject": "read on acme/web to jane",
            "changes": {
                "permission": [None, "level_read"],
                "user": [None, "jane"],
                "content_object": [None, "acme/web"],
            },
            "client_address": "10.0.0.7",
            "user_agent": "Firefox",
        }

    def test_grants_are_recorded_on_the_page_of_their_repository_too(
        self, admin: Client, web: Repository, devs: Team
    ) -> None:
        row = {"TOTAL_FORMS": 1, "0-group": devs.group.pk, "0-access": "level_admin"}
        rows = {f"repositorygrouppermission_set-{key}": value for key, value in row.items()}
        page = f"/admin/registry_repositories/repository/{web.pk}/change/"

        admin.post(page, form_of("repository", visibility="private", description="") | rows)

        assert told() == [("Create Grant", "acme/web", "admin on acme/web to acme/devs", "admin")]

    def test_grant_on_a_namespace_is_of_no_repository(self, web: Repository, devs: Team) -> None:
        assign_perm("view_pull_events", devs.group, web.namespace)
        remove_perm("view_pull_events", devs.group, web.namespace)

        subject = "view_pull_events on acme to acme/devs"
        assert told() == [
            ("Create Grant", "", subject, "SYSTEM the command line"),
            ("Delete Grant", "", subject, "SYSTEM the command line"),
        ]

    def test_team_with_its_members(self, admin: Client, web: Repository, jane: Any) -> None:
        form = {"organization": web.namespace.organization_id, "name": "devs"}

        admin.post("/admin/registry_repositories/team/add/", {**form, "members": [jane.pk]})
        team = Team.objects.get()
        admin.post(
            f"/admin/registry_repositories/team/{team.pk}/change/", {**form, "name": "ops", "members": []}
        )
        admin.post(f"/admin/registry_repositories/team/{team.pk}/delete/", {"post": "yes"})

        assert told() == [
            ("Create Team", "", "acme/devs", "admin"),
            ("Create Team Member", "", "acme/devs", "admin"),
            ("Update Team", "", "acme/ops", "admin"),
            ("Delete Team Member", "", "acme/ops", "admin"),
            ("Delete Team", "", "acme/ops", "admin"),
        ]
        assert Event.objects.get(kind="create_team_member").details["members"] == ["jane"]
        assert Event.objects.get(kind="update_team").details["changes"] == {"name": ["devs", "ops"]}

    def test_deleting_a_team_is_one_event_whatever_goes_with_it(self, web: Repository, devs: Team) -> None:
        with current_request.auditing_disabled():
            for number in range(5):
                devs.group.user_set.add(factories.UserFactory())
                assign_perm("level_read", devs.group, factories.repository(f"acme/r{number}"))

        devs.delete()

        assert [label for label, *_ in told()] == ["Delete Team"]
        assert not Group.objects.filter(name="acme/devs").exists()

    def test_organization_and_its_members(self, admin: Client, jane: Any) -> None:
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

        assert [label for label, *_ in told()] == [
            "Create Organization",
            "Update Namespace",
            "Create Organization Member",
            "Update Organization Member",
        ]
        assert Event.objects.get(kind="update_namespace").details["changes"] == {
            "organization": [None, "acme"]
        }
        updated = Event.objects.get(kind="update_organization_member")
        assert updated.details["changes"] == {"role": ["member", "owner"]}

    def test_claim_of_a_namespace(self, admin: Client, jane: Any, registry: Any) -> None:
        registry(factories.notification(target={"repository": "newcorp/app"}))
        namespace = Namespace.objects.get(name="newcorp")

        admin.post(
            f"/admin/registry_repositories/namespace/{namespace.pk}/change/",
            form_of("namespace", user=jane.pk, organization=""),
        )

        event = Event.objects.get(category="access", actor_name="admin")
        assert (event.label, event.details["subject"]) == ("Update Namespace", "newcorp")
        assert event.details["changes"] == {"user": [None, "jane"]}

    def test_visibility_and_description(self, admin: Client, web: Repository) -> None:
        page = f"/admin/registry_repositories/repository/{web.pk}/change/"

        admin.post(page, form_of("repository", visibility="private", description="Our website."))
        admin.post(page, form_of("repository", visibility="public", description=""))

        assert told() == [
            ("Update Description", "acme/web", "acme/web", "admin"),
            ("Update Visibility", "acme/web", "acme/web", "admin"),
        ]
        first, second = Event.objects.order_by("pk")
        assert first.details["changes"] == {"description": ["", "Our website."]}
        assert second.details["changes"] == {
            "visibility": ["private", "public"],
            "description": ["Our website.", ""],
        }

    def test_hold(self, admin: Client, web: Repository) -> None:
        admin.post("/admin/registry_activity/hold/add/", {"repository": web.pk, "reason": "An inquiry."})
        admin.post(f"/admin/registry_activity/hold/{Hold.objects.get().pk}/delete/", {"post": "yes"})

        assert [(label, name) for label, name, *_ in told()] == [
            ("Create Hold", "acme/web"),
            ("Delete Hold", "acme/web"),
        ]
        assert Event.objects.get(kind="create_hold").details["changes"]["reason"] == [None, "An inquiry."]


class TestAccounts:
    def log_in(self, **form: str) -> Any:
        client = Client(headers={"user-agent": "Firefox"}, REMOTE_ADDR="10.0.0.7")
        client.post("/accounts/login/", form)
        return client

    def test_session_from_log_in_to_log_out(self, jane: Any) -> None:
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
    def test_failed_log_in_keeps_the_name_and_never_the_password(
        self, jane: Any, name: str, shown: str, page: str
    ) -> None:
        Client().post(page, {"username": name, "password": "s3cret-guess"})

        event = one()
        assert (event.label, event.type, event.actor_name) == ("Create Session Failed", "FAIL", shown)
        assert "s3cret-guess" not in str(event.__dict__)

    @pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 1000])
    def test_failed_log_in_with_a_hostile_name_is_stored(self, name: str) -> None:
        user_login_failed.send("a backend", credentials={"username": name}, request=None)

        assert len(one().actor_name) <= 255

    def test_users_are_made_changed_and_deleted(self, admin: Client) -> None:
        passwords = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
        admin.post("/admin/auth/user/add/", {"username": "mia", **passwords})
        mia = User.objects.get(username="mia")
        mia.email = "mia@example.com"
        mia.save()
        mia.delete()

        assert [label for label, *_ in told()] == [
            "Create User",
            "Create Namespace",
            "Update User",
            "Delete User",
        ]
        assert Event.objects.get(kind="create_user").details["changes"]["password"] == [None, "hidden"]
        assert Event.objects.get(kind="update_user").details["changes"] == {"email": ["", "mia@example.com"]}
        assert mia.password.rpartition("$")[2] not in str(
            list(Event.objects.values_list("details", flat=True))
        )

    def test_password_is_changed_by_oneself(self, jane: Any, log_in: Any) -> None:
        with current_request.auditing_disabled():
            client = log_in(jane)

        new = {"old_password": PASSWORD, "new_password1": "another-1-pass", "new_password2": "another-1-pass"}
        client.post("/settings/password/", new)

        assert told() == [("Update Password", "", "jane", "jane")]
        assert one().details["changes"] == {"password": ["hidden", "hidden"]}

    def test_password_that_is_merely_hashed_anew_at_log_in_was_not_changed(
        self, jane: Any, settings: Any
    ) -> None:
        settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
        with current_request.auditing_disabled():
            jane.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
            jane.save()

        self.log_in(username="jane", password=PASSWORD)

        jane.refresh_from_db()
        assert "$1$" not in jane.password
        assert told() == [("Create Session", "", "", "jane")]

    def test_log_in_time_is_no_change(self, jane: Any) -> None:
        jane.last_login = factories.NOON
        jane.save()

        assert not Event.objects.exists()

    def test_tokens(self, admin: Client, jane: Any) -> None:
        call_command("create_token", "jane", stdout=StringIO(), stderr=StringIO())
        token = AuthToken.objects.get()
        admin.post(f"/admin/knox/authtoken/{token.pk}/delete/", {"post": "yes"})

        subject = f"{token.token_key[:8]}… of jane"
        assert told() == [
            ("Create Token", "", subject, "SYSTEM the command line"),
            ("Delete Token", "", subject, "admin"),
        ]
        details = str(list(Event.objects.values_list("details", flat=True)))
        assert token.digest not in details
        assert token.token_key not in details

    def test_token_that_expired_is_removed_by_nobody(self, jane: Any) -> None:
        with current_request.auditing_disabled():
            expired = factories.bearer(jane)
            AuthToken.objects.update(expiry=factories.NOON - timedelta(days=365))
            valid = factories.bearer(jane)

        assert Client().get("/api/v0/events/", headers=valid).status_code == 200
        assert Client().get("/api/v0/events/", headers=expired).status_code == 401
        assert AuthToken.objects.count() == 1
        assert told() == []

    def test_becoming_an_msr_admin(self, jane: Any) -> None:
        jane.groups.add(Group.objects.get(name=MSR_ADMINS))
        jane.groups.set([Group.objects.get(name=AUDITORS)])
        jane.groups.clear()

        assert [(label, subject) for label, _, subject, _ in told()] == [
            ("Create Group Member", MSR_ADMINS),
            ("Delete Group Member", MSR_ADMINS),
            ("Create Group Member", AUDITORS),
            ("Delete Group Member", AUDITORS),
        ]
        assert {tuple(event.details["members"]) for event in Event.objects.all()} == {("jane",)}

    def test_permissions_of_users_and_groups(self, jane: Any) -> None:
        allow_adding_events(jane)
        permission = jane.user_permissions.get()
        with current_request.auditing_disabled():
            group = Group.objects.create(name="producers")
        group.permissions.add(permission)
        group.permissions.clear()

        assert [(label, subject) for label, _, subject, _ in told()] == [
            ("Update User", "jane"),
            ("Update Group", "producers"),
            ("Update Group", "producers"),
        ]
        changes = [event.details["changes"]["permissions"] for event in Event.objects.order_by("pk")]
        assert changes == [
            [[], ["registry_activity.add_event"]],
            [[], ["registry_activity.add_event"]],
            [["registry_activity.add_event"], []],
        ]

    def test_deleting_a_user_is_one_event_whatever_goes_with_them(self, web: Repository, jane: Any) -> None:
        with current_request.auditing_disabled():
            assign_perm("level_read", jane, web)
            factories.team_of(web.namespace.organization, jane)
            new_token(jane)

        jane.delete()

        assert told() == [("Delete User", "", "jane", "SYSTEM the command line")]


class TestSystem:
    def test_settings(self, admin: Client) -> None:
        admin.get("/admin/registry_repositories/registrysettings/")
        admin.post("/admin/registry_repositories/registrysettings/", {})
        assert not Event.objects.exists()
        admin.post("/admin/registry_repositories/registrysettings/", {"scanning_enabled": "on"})

        assert told() == [("Update Registry Settings", "", "Registry settings", "admin")]
        assert one().details["changes"] == {"scanning_enabled": [False, True]}

    def test_settings_that_are_made_by_their_first_reader_are_no_change(self) -> None:
        RegistrySettings.get_solo()
        AutoDeletion.get_solo()
        assert not Event.objects.exists()

        AutoDeletion.objects.all().delete()
        AutoDeletion(enabled=True, age=2).save()
        assert one().details["changes"] == {"age": [None, 2], "enabled": [False, True]}

    def test_deletion_rules_previews_and_runs(self, admin: Client) -> None:
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

        assert [(label, actor) for label, _, _, actor in told()] == [
            ("Create Deletion Rule", "admin"),
            ("Update Auto Deletion", "admin"),
            ("Create Deletion Preview", "admin"),
        ]

    def test_stop_of_a_run(self, admin: Client) -> None:
        with current_request.auditing_disabled():
            run = runs.start("a test")
        admin.post(f"/admin/registry_activity/run/{run.pk}/stop/")
        admin.post(f"/admin/registry_activity/run/{run.pk}/stop/")

        assert (one().label, one().details["run"]) == ("Stop Deletion", run.pk)

    def test_release_of_an_import(self, admin: Client) -> None:
        imported = Import.objects.create(archive_name="x.jsonl.gz")
        for _ in range(2):
            admin.post(
                "/admin/registry_activity/import/", {"action": "release", "_selected_action": [imported.pk]}
            )

        assert (one().label, one().details["archives"]) == ("Release Import", ["x.jsonl.gz"])

    @pytest.mark.parametrize(
        ("started_by", "shown"),
        [
            ("the schedule", "SYSTEM the schedule"),
            ("the command line", "SYSTEM the command line"),
            ("admin", "admin"),
        ],
    )
    def test_run_is_its_starters(self, started_by: str, shown: str) -> None:
        with current_request.auditing_disabled():
            run = runs.start(started_by)
        runs.record_run(run)

        assert (one().label, one().actor_label) == ("Delete Events", shown)

    def test_schedule_but_not_the_housekeeping_of_beat(self, admin: Client) -> None:
        task = PeriodicTask.objects.get(name="Auto-delete events")
        task.last_run_at, task.total_run_count = factories.NOON, 7
        task.save()
        assert not Event.objects.exists()

        task.crontab = CrontabSchedule.objects.create(hour="5", minute="30")
        task.save()

        assert [label for label, *_ in told()] == ["Create Schedule", "Update Periodic Task"]
        before, after = Event.objects.get(kind="update_periodic_task").details["changes"]["crontab"]
        assert (before[:3], after[:4]) == ("0 0", "30 5")


class TestRecording:
    def test_is_undone_with_the_change(self, jane: Any) -> None:
        with transaction.atomic():
            jane.email = "x@example.com"
            jane.save()
            transaction.set_rollback(True)

        assert not Event.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_change_is_undone_if_it_can_not_be_recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with current_request.auditing_disabled():
            jane = factories.UserFactory(username="jane", email="")
        monkeypatch.setattr(auditing, "record_events", lambda *_: 1 / 0)

        jane.email = "x@example.com"
        with pytest.raises(ZeroDivisionError):
            jane.save()

        jane.refresh_from_db()
        assert jane.email == ""

    def test_nothing_is_recorded_when_nothing_changed(self, jane: Any, web: Repository, devs: Team) -> None:
        for row in (jane, web, web.namespace, devs):
            type(row).objects.get(pk=row.pk).save()

        assert not Event.objects.exists()

    def test_fixtures_migrations_and_demo_are_nobodys_acts(self, tmp_path: Any, jane: Any) -> None:
        fixture = tmp_path / "fixture.json"
        call_command("dumpdata", "auth.user", "registry_repositories", output=str(fixture), verbosity=0)
        call_command("loaddata", str(fixture), verbosity=0)
        call_command("migrate", verbosity=0)
        demo.load_world()

        assert not Event.objects.exists()

    def test_costs_no_more_for_many_members(self, devs: Team) -> None:
        def queries(count: int) -> int:
            with current_request.auditing_disabled():
                people = factories.UserFactory.create_batch(count)
            with CaptureQueriesContext(connection) as captured:
                devs.group.user_set.add(*people)
            return len(captured)

        assert queries(2) == queries(60)
        event = Event.objects.latest("pk")
        assert (len(event.details["members"]), event.details["count"]) == (50, 60)

    def test_every_model_that_people_change_in_the_admin_is_audited(self) -> None:
        told_of_by_others = {Archive, DeadLetter, Event, Import, Policy}

        assert set(site.site._registry) - set(auditing.AUDITED) == told_of_by_others

    def test_every_kind_has_a_model_or_is_told_of(self) -> None:
        """A kind that nothing records would promise what isn't kept."""
        nouns = {audited.noun for audited in auditing.AUDITED.values()}

        assert {f"update_{noun}" for noun in nouns} - set(auditing.KINDS) == {"update_deletion_run"}


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
def test_who_sees_what_is_done_to_the_system(
    web: Repository, jane: Any, kind: str, in_repository: bool, seen_by: set[str]
) -> None:
    with current_request.auditing_disabled():
        assign_perm("level_read", jane, web)
        viewers = {
            "jane": jane,
            "reader": factories.person_with("level_read_write", web),
            "repoadmin": factories.person_with("level_admin", web),
            "watcher": factories.person_with("view_access_events", web),
            "outsider": factories.UserFactory(),
            "msr admin": factories.msr_admin(),
            "auditor": factories.auditor(),
        }
    auditing.record(kind, username="jane", repository=web if in_repository else None)
    event = one()

    def api(viewer: Any) -> int:
        client = Client()
        client.force_login(viewer)
        return client.get(f"/api/v0/events/{event.pk}/").status_code

    with current_request.auditing_disabled():
        seen = {name for name, viewer in viewers.items() if api(viewer) == 200}
    assert seen == seen_by
    listed = {
        name for name, who in viewers.items() if Event.objects.visible_to(Access.of(who)).filter(pk=event.pk)
    }
    assert listed == seen_by


def test_category_that_one_never_sees_is_no_filter(jane: Any, log_in: Any) -> None:
    with current_request.auditing_disabled():
        viewers = {name: log_in(who) for name, who in (("jane", jane), ("auditor", factories.auditor()))}

    def status(viewer: str, category: str) -> int:
        return viewers[viewer].get("/api/v0/events/", {"category": category}).status_code

    assert [status("jane", category) for category in ("access", "account", "system")] == [200, 200, 400]
    assert status("auditor", "system") == 200
