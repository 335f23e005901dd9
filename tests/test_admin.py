"""MSR admins can change registry data in the admin, but auditors can only view it.

The tests cover dead letters, repositories, namespaces, organizations and teams.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from activity.models import DeadLetter, Event
from repositories.models import Namespace, Organization, Repository, Team
from tests import factories
from tests.factories import notification

LETTERS = "/admin/registry_activity/deadletter/"


class TestDeadLetters:
    def test_dead_letters_are_hidden_from_other_users(self, log_in: Any, web: Repository) -> None:
        user = factories.user_with("level_admin", web)
        assert log_in(user).get(LETTERS).status_code == 302
        user.is_staff = True
        user.save()
        assert log_in(user).get(LETTERS).status_code == 403

    @pytest.fixture
    def letter(self, registry: Any) -> DeadLetter:
        registry(body=b'{"events": [<script>\xff')
        return DeadLetter.objects.get()

    def test_dead_letter_page_shows_the_reason_and_escaped_content(
        self, auditor: Client, letter: DeadLetter
    ) -> None:
        assert "not JSON" in auditor.get(LETTERS).content.decode()
        html = auditor.get(f"{LETTERS}{letter.pk}/change/").content.decode()
        assert "&lt;script&gt;\\xff" in html

    def replay(self, client: Client, *letters: DeadLetter) -> None:
        data = {"action": "replay", "_selected_action": [letter.pk for letter in letters]}
        client.post(LETTERS, data, follow=True)

    def test_dead_letter_is_replayed_after_the_cause_is_fixed(
        self, admin: Client, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message = notification()
        with monkeypatch.context() as patch:
            patch.setattr("activity.sources.notifications.record_events", lambda *_: 1 / 0)
            registry(message, {"action": "polish"})
        letter = DeadLetter.objects.get()

        self.replay(admin, letter)

        letter.refresh_from_db()
        assert letter.replayed_at
        assert [event.label for event in Event.objects.all()] == [
            "Update Tag",
            "Create Manifest",
            "Create Repository",
        ]
        assert "polish" in DeadLetter.objects.exclude(pk=letter.pk).get().reason
        registry(message)
        self.replay(admin, letter)
        assert Event.objects.count() == 3

    def test_scan_is_replayed_after_scanning_is_turned_on(self, admin: Client, web: Repository) -> None:
        event = {
            "id": "1",
            "kind": "scan",
            "repository": "acme/web",
            "occurred_at": "2026-11-22T12:00:00Z",
            "actor": {"type": "manual_promotion"},
        }
        headers = factories.bearer(factories.producer())
        Client().post("/api/v0/events/", json.dumps(event), "application/json", headers=headers)
        letter = DeadLetter.objects.get()

        self.replay(admin, letter)
        assert not Event.objects.exists()

        factories.enable_scanning()
        self.replay(admin, letter)
        assert [event.label for event in Event.objects.all()] == ["Scan"]

    def test_replay_leaves_an_invalid_dead_letter_waiting(self, admin: Client, letter: DeadLetter) -> None:
        self.replay(admin, letter)

        letter.refresh_from_db()
        assert (letter.replayed_at, DeadLetter.objects.count()) == (None, 1)

    def test_replay_leaves_a_truncated_dead_letter_waiting(self, admin: Client, registry: Any) -> None:
        registry(body=b" " * (16 * 1024 * 1024 + 1))
        letter = DeadLetter.objects.get()

        self.replay(admin, letter)

        letter.refresh_from_db()
        assert "Only the beginning" in letter.reason
        assert (letter.replayed_at, DeadLetter.objects.count()) == (None, 1)

    def test_auditor_cannot_replay_dead_letters(
        self, auditor: Client, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("activity.sources.notifications.record_events", lambda *_: 1 / 0)
            registry(notification())

        self.replay(auditor, DeadLetter.objects.get())

        assert "Replay selected" not in auditor.get(LETTERS).content.decode()
        assert not Event.objects.exists()


class TestAdministration:
    def test_times_have_the_format_of_the_site(self, admin: Client, web: Repository) -> None:
        Repository.objects.update(created_at=factories.NOON)

        html = admin.get("/admin/registry_repositories/repository/").content.decode()

        assert f"{factories.NOON:%b} {factories.NOON.day}, {factories.NOON.year} 12:00 PM" in html

    def test_msr_admin_sees_every_model_without_being_superuser(self, admin: Client) -> None:
        html = admin.get("/admin/").content.decode()

        for model in (
            "Events",
            "Dead letters",
            "Namespaces",
            "Organizations",
            "Teams",
            "Repositories",
        ):
            assert f">{model}</a>" in html
        for model in ("Policies", "Registry settings", "Users", "Periodic tasks", "Access tokens"):
            assert f">{model}</a>" in html

    def test_auditor_cannot_change_anything(self, auditor: Client, web: Repository) -> None:
        for path in ("repository", "namespace", "organization", "team", "policy"):
            assert auditor.get(f"/admin/registry_repositories/{path}/").status_code == 200
            assert auditor.get(f"/admin/registry_repositories/{path}/add/").status_code == 403
        assert (
            auditor.post(
                f"/admin/registry_repositories/repository/{web.pk}/delete/", {"post": "yes"}
            ).status_code
            == 403
        )
        assert (
            auditor.post(f"/admin/registry_repositories/repository/{web.pk}/change/", {}).status_code == 403
        )
        assert auditor.get(f"/admin/registry_repositories/repository/{web.pk}/permissions/").status_code in (
            302,
            403,
        )

    @pytest.mark.audited
    def test_creating_a_repository_in_the_admin_records_an_event(
        self, admin: Client, web: Repository
    ) -> None:
        data = {"namespace": web.namespace_id, "name": "api", "visibility": "private", "description": ""}
        admin.post("/admin/registry_repositories/repository/add/", data)

        event = Event.objects.get(kind="create_repository", repository_name="acme/api")
        assert (event.label, event.repository_name, event.actor_label) == (
            "Create Repository",
            "acme/api",
            "admin",
        )

    @pytest.mark.audited
    @pytest.mark.parametrize("by_action", [True, False])
    def test_deleting_a_repository_marks_it_and_records_an_event(
        self, admin: Client, web: Repository, by_action: bool
    ) -> None:
        if by_action:
            data = {"action": "delete_selected", "_selected_action": web.pk, "post": "yes"}
            admin.post("/admin/registry_repositories/repository/", data)
        else:
            admin.post(f"/admin/registry_repositories/repository/{web.pk}/delete/", {"post": "yes"})

        web.refresh_from_db()
        assert web.deleted_at
        event = Event.objects.get(kind="delete_repository")
        assert (event.label, event.repository, event.actor_label) == ("Delete Repository", web, "admin")
        assert event.occurred_at == web.deleted_at

    def test_unclaimed_namespace_is_claimed_by_choosing_its_owner(
        self, admin: Client, registry: Any, log_in: Any
    ) -> None:
        registry(notification(target={"repository": "newcorp/app"}))
        owner = factories.UserFactory()
        client, url = log_in(owner), "/repositories/newcorp/app/activity/"
        assert client.get(url).status_code == 404
        assert admin.get(url).status_code == 200

        namespace = Namespace.objects.get(name="newcorp")
        form = {
            f"namespace{holder}permission_set-{part}_FORMS": "0"
            for holder in ("user", "group")
            for part in ("TOTAL", "INITIAL")
        }
        admin.post(
            f"/admin/registry_repositories/namespace/{namespace.pk}/change/",
            {"user": owner.pk, "organization": "", **form},
        )

        assert client.get(url).status_code == 200

    @pytest.mark.parametrize(
        ("owner", "expected"),
        [("unclaimed", {"newcorp"}), ("user", {"jane"}), ("organization", {"acme"})],
    )
    def test_namespaces_are_filtered_by_their_owner(
        self, admin: Client, registry: Any, owner: str, expected: set[str]
    ) -> None:
        factories.UserFactory(username="jane")
        factories.OrganizationFactory(name="acme")
        for name in ("newcorp/app", "alpine"):
            registry(notification(target={"repository": name}))

        response = admin.get("/admin/registry_repositories/namespace/", {"owner": owner})

        names = {namespace.name for namespace in response.context["cl"].result_list}
        assert names - {"admin", "registry"} == expected

    @pytest.mark.parametrize(
        ("name", "owners", "message"),
        [
            ("newcorp", ("user", "organization"), "to a user or to an organization, but not to both"),
            ("_", ("user",), "Repositories without a namespace have no owner"),
        ],
    )
    def test_namespace_has_at_most_one_owner(
        self, admin: Client, registry: Any, name: str, owners: tuple[str, ...], message: str
    ) -> None:
        registry(notification(target={"repository": "newcorp/app" if name == "newcorp" else "alpine"}))
        ids = {"user": factories.UserFactory().pk, "organization": factories.OrganizationFactory().pk}
        namespace = Namespace.objects.get(name=name)

        data = {owner: ids[owner] for owner in owners}
        response = admin.post(f"/admin/registry_repositories/namespace/{namespace.pk}/change/", data)

        assert message in response.content.decode()
        namespace.refresh_from_db()
        assert namespace.owner is None

    def test_new_organization_claims_the_namespace_with_its_name(self, admin: Client, registry: Any) -> None:
        registry(notification(target={"repository": "newcorp/app"}))
        form = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}

        admin.post("/admin/registry_repositories/organization/add/", {"name": "newcorp", **form})

        assert Namespace.objects.get(name="newcorp").owner == Organization.objects.get()

    def test_user_and_organization_cannot_have_the_same_name(self, admin: Client, web: Repository) -> None:
        factories.UserFactory(username="jane")
        form = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
        response = admin.post("/admin/registry_repositories/organization/add/", {"name": "jane", **form})
        assert "already has this name" in response.content.decode()

        passwords = {"usable_password": "true", "password1": "a-long-pass", "password2": "a-long-pass"}
        response = admin.post("/admin/auth/user/add/", {"username": "acme", **passwords})
        assert "The namespace with this name already belongs to" in response.content.decode()

    def test_team_is_created_with_its_members(self, admin: Client, web: Repository) -> None:
        jane = factories.UserFactory()
        factories.add_member(web.namespace.organization, jane)
        data = {"organization": web.namespace.organization_id, "name": "devs", "members": [jane.pk]}

        admin.post("/admin/registry_repositories/team/add/", data)

        team = Team.objects.get()
        assert (team.group.name, list(team.group.user_set.all())) == ("acme/devs", [jane])

    def test_grants_are_edited_on_the_guardian_pages(
        self, admin: Client, web: Repository, log_in: Any
    ) -> None:
        jane = factories.UserFactory(username="jane")
        page = f"/admin/registry_repositories/repository/{web.pk}/permissions/user-manage/{jane.pk}/"
        assert "Access level read-write" in admin.get(page).content.decode()

        admin.post(page, {"permissions": ["level_read"]})

        assert log_in(jane).get("/repositories/acme/web/activity/").status_code == 200
