"""MSR admins aren't superusers, auditors can only read, and nobody can grant more than they have."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin as site
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from repositories.access.groups import AUDITORS, MSR_ADMINS, create_groups
from repositories.models import AccessToken, Repository
from tests import factories

pytestmark = pytest.mark.django_db

TOKENS = "/admin/registry_repositories/accesstoken/"
OWN_MODELS = sorted(
    model._meta.model_name or ""
    for label in ("registry_activity", "registry_repositories")
    for model in apps.get_app_config(label).get_models()
    if model._meta.default_permissions  # nobody can view the journal, which may contain credentials
)
WRITTEN_BY_THE_SOFTWARE: dict[str, set[str]] = {
    "archive": {"change"},
    "deadletter": {"change"},
    "dispute": {"add", "change"},
    "droppedtallies": set(),
    "counter": set(),
    "rolegroup": set(),
    "event": {"add"},
    "failedlogins": set(),
    "heartbeat": set(),
    "import": {"change"},
    "ledgerentry": set(),
    "login": set(),
    "manifest": set(),
    "manifestrequest": set(),
    "newestposition": set(),
    "registrynode": set(),
    "removal": set(),
    "run": {"change"},
    "tag": set(),
    "tagpull": set(),
    "tally": set(),
    "tallychange": set(),
    "verification": set(),
    "waitingchange": set(),
}
"""Models that only the app writes, with the permissions that its code checks in addition to `view`."""
UNUSED = '<td class="field-last_used_at nowrap">-</td>'
"""The "last used" cell of a token that has never been used."""

User: Any = get_user_model()


def codenames(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def user_url(user: Any) -> str:
    return f"/admin/auth/user/{user.pk}/change/"


@pytest.fixture
def jane(db: None) -> Any:
    return factories.UserFactory(username="jane")


@pytest.fixture
def root(db: None) -> Any:
    return factories.UserFactory(username="root", is_staff=True, is_superuser=True)


@pytest.fixture
def powerful(db: None) -> Group:
    """A group with a permission that MSR admins don't have."""
    group = Group.objects.create(name="Powerful")
    group.permissions.add(Permission.objects.get(codename="change_group"))
    return group


def form(user: Any, **values: Any) -> dict[str, Any]:
    """Return the form data for a user's page in the admin."""
    return {
        "username": user.username,
        "is_active": "on",
        "profile-TOTAL_FORMS": "0",
        "profile-INITIAL_FORMS": "0",
        **values,
    }


class TestPermissions:
    def test_auditors_have_only_view_permissions(self) -> None:
        assert {name for name in codenames(AUDITORS) if not name.startswith("view_")} == {"audit_registry"}

    @pytest.mark.parametrize("model", OWN_MODELS)
    def test_msr_admins_hold_all_permissions_except_on_models_that_only_the_software_writes(
        self, model: str
    ) -> None:
        held = {
            verb for verb in ("add", "change", "delete", "view") if f"{verb}_{model}" in codenames(MSR_ADMINS)
        }

        assert held == {"view", *WRITTEN_BY_THE_SOFTWARE.get(model, {"add", "change", "delete"})}

    def test_msr_admins_hold_permissions_of_other_apps_on_users_groups_and_schedules(self) -> None:
        others = Group.objects.get(name=MSR_ADMINS).permissions.exclude(
            content_type__app_label__startswith="registry_"
        )
        users_and_groups = others.exclude(content_type__app_label="django_celery_beat")

        assert set(users_and_groups.values_list("codename", flat=True)) == {
            "add_user",
            "change_user",
            "delete_user",
            "view_user",
            "view_group",
        }
        assert others.filter(codename="change_periodictask").exists()

    def test_msr_admins_cannot_change_groups_or_permissions(self) -> None:
        assert not codenames(MSR_ADMINS) & {"change_group", "add_group", "change_permission", "add_logentry"}

    def test_migration_restores_permissions_and_preserves_those_added_manually(self) -> None:
        group = Group.objects.get(name=AUDITORS)
        group.permissions.set([Permission.objects.get(codename="change_group")])

        create_groups()

        assert {"change_group", "audit_registry", "view_event"} <= codenames(AUDITORS)


class TestAdminPages:
    @pytest.mark.parametrize("model", sorted(site.site._registry, key=str), ids=str)
    def test_auditors_can_open_admin_pages_but_change_nothing(
        self, admin: Client, auditor: Client, model: Any
    ) -> None:
        label = f"{model._meta.app_label}_{model._meta.model_name}"
        url = reverse(f"admin:{label}_changelist")
        add = f"{url}add/"

        for client in (admin, auditor):
            assert client.get(url, follow=True).status_code == 200
        assert auditor.get(add).status_code == 403
        assert auditor.post(add, {}).status_code == 403
        row = model._default_manager.first()
        if row is not None:
            for path in (f"{url}{row.pk}/change/", f"{url}{row.pk}/delete/"):
                assert auditor.post(path, {"post": "yes"}).status_code == 403

    def test_msr_admin_edits_users_and_passwords(self, admin: Client, jane: Any, web: Repository) -> None:
        assert admin.post(user_url(jane), form(jane, email="jane@example.com")).status_code == 302
        assert admin.get(f"/admin/auth/user/{jane.pk}/password/").status_code == 200

        jane.refresh_from_db()
        assert jane.email == "jane@example.com"

    def test_msr_admin_creates_a_token_that_is_shown_once(self, admin: Client, jane: Any) -> None:
        values = {"name": "CI of acme/web", "user": jane.pk, "can_read": "on", "expiry_0": "", "expiry_1": ""}
        page = admin.post(f"{TOKENS}add/", values, follow=True).content.decode()

        match = re.search(r"TOKEN (\w+)", page)
        assert match
        page = admin.get(TOKENS).content.decode()
        assert "CI of acme/web" in page
        assert UNUSED in page
        assert match[1] not in page
        assert jane.access_tokens.get().expiry is None

        headers = {"authorization": f"Bearer {match[1]}"}
        assert Client().get("/api/v0/repositories/", headers=headers).status_code == 200
        assert UNUSED not in admin.get(TOKENS).content.decode()


class TestDelegation:
    @pytest.mark.parametrize("group", [MSR_ADMINS, AUDITORS])
    def test_msr_admin_can_appoint_msr_admins_and_auditors(
        self, admin: Client, jane: Any, group: str
    ) -> None:
        admin.post(user_url(jane), form(jane, is_staff="on", groups=[Group.objects.get(name=group).pk]))

        assert list(jane.groups.values_list("name", flat=True)) == [group]

    def test_msr_admin_can_grant_their_own_permission(self, admin: Client, jane: Any) -> None:
        permission = Permission.objects.get(codename="add_event")

        admin.post(user_url(jane), form(jane, user_permissions=[permission.pk]))

        assert jane.has_perm("registry_activity.add_event")

    def test_msr_admin_cannot_create_superusers(self, admin: Client, jane: Any) -> None:
        for user in (jane, User.objects.get(username="admin")):
            admin.post(user_url(user), form(user, is_superuser="on", is_staff="on"))

        assert not User.objects.filter(is_superuser=True).exists()

    def test_msr_admin_cannot_grant_a_permission_that_they_lack(
        self, admin: Client, jane: Any, powerful: Group
    ) -> None:
        permission = powerful.permissions.get()
        for choice in ({"user_permissions": [permission.pk]}, {"groups": [powerful.pk]}):
            html = admin.post(user_url(jane), form(jane, **choice)).content.decode()
            assert "is not one of the available choices" in html

        assert not jane.user_permissions.exists()
        assert not jane.groups.exists()

    @pytest.mark.parametrize("active", [True, False])
    @pytest.mark.parametrize("role", ["superuser", "member of a powerful group"])
    def test_msr_admin_cannot_change_a_user_with_more_permissions(
        self, admin: Client, jane: Any, root: Any, powerful: Group, active: bool, role: str
    ) -> None:
        jane.groups.add(powerful)
        target = root if role == "superuser" else jane
        User.objects.filter(pk=target.pk).update(is_active=active)

        new = {"password1": "a-new-pass-1", "password2": "a-new-pass-1", "usable_password": "true"}
        assert admin.post(f"/admin/auth/user/{target.pk}/password/", new).status_code == 403
        assert admin.post(user_url(target), form(target, email="x@example.com")).status_code == 403
        assert admin.post(f"/admin/auth/user/{target.pk}/delete/", {"post": "yes"}).status_code == 403
        data = {"action": "delete_selected", "_selected_action": [target.pk], "post": "yes"}
        admin.post("/admin/auth/user/", data)

        target.refresh_from_db()
        assert (target.email, target.is_active) == ("", active)
        assert not target.check_password("a-new-pass-1")

    def test_msr_admin_cannot_create_a_token_for_a_user_with_more_permissions(
        self, admin: Client, jane: Any, root: Any, powerful: Group
    ) -> None:
        jane.groups.add(powerful)
        own = AccessToken.objects.create(user=User.objects.get(username="admin"))[0]

        for user in (root, jane):
            token = {"user": user.pk, "expiry_0": "", "expiry_1": ""}
            html = admin.post(f"{TOKENS}add/", token).content.decode()
            assert "is not one of the available choices" in html
            assert admin.post(f"{TOKENS}{own.pk}/change/", token).status_code == 403

        assert AccessToken.objects.get() == own

    def test_superuser_can_grant_everything(self, log_in: Any, root: Any, jane: Any, powerful: Group) -> None:
        log_in(root).post(user_url(jane), form(jane, is_staff="on", is_superuser="on", groups=[powerful.pk]))

        jane.refresh_from_db()
        assert jane.is_superuser
        assert list(jane.groups.all()) == [powerful]
