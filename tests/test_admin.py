"""The admin site: MSR admins audit and administer everything there, auditors look, nobody else enters."""

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


class TestMessagesStoredAside:
    def test_are_shown_to_nobody_else(self, log_in: Any, web: Repository) -> None:
        person = factories.person_with("level_admin", web)
        assert log_in(person).get(LETTERS).status_code == 302
        person.is_staff = True
        person.save()
        assert log_in(person).get(LETTERS).status_code == 403

    @pytest.fixture
    def letter(self, registry: Any) -> DeadLetter:
        registry(body=b'{"events": [<script>\xff')
        return DeadLetter.objects.get()

    def test_are_shown_with_their_reason_and_as_text(self, auditor: Client, letter: DeadLetter) -> None:
        assert "not JSON" in auditor.get(LETTERS).content.decode()
        html = auditor.get(f"{LETTERS}{letter.pk}/change/").content.decode()
        assert "&lt;script&gt;\\xff" in html

    def replay(self, client: Client, *letters: DeadLetter) -> None:
        data = {"action": "replay", "_selected_action": [letter.pk for letter in letters]}
        client.post(LETTERS, data, follow=True)

    def test_are_replayed_once_what_was_wrong_is_mended(
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

    def test_scan_is_replayed_once_scanning_is_set_up(self, admin: Client, web: Repository) -> None:
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

        factories.set_up_scanning()
        self.replay(admin, letter)
        assert [event.label for event in Event.objects.all()] == ["Scan"]

    def test_that_still_make_no_sense_stay(self, admin: Client, letter: DeadLetter) -> None:
        self.replay(admin, letter)

        letter.refresh_from_db()
        assert (letter.replayed_at, DeadLetter.objects.count()) == (None, 1)

    def test_of_which_only_the_beginning_was_kept_stay(self, admin: Client, registry: Any) -> None:
        registry(body=b" " * (16 * 1024 * 1024 + 1))
        letter = DeadLetter.objects.get()

        self.replay(admin, letter)

        letter.refresh_from_db()
        assert "Only the beginning" in letter.reason
        assert (letter.replayed_at, DeadLetter.objects.count()) == (None, 1)

    def test_are_not_replayed_by_auditors(
        self, auditor: Client, registry: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("activity.sources.notifications.record_events", lambda *_: 1 / 0)
            registry(notification())

        self.replay(auditor, DeadLetter.objects.get())

        assert "Replay selected" not in auditor.get(LETTERS).content.decode()
        assert not Event.objects.exists()


class TestAdministration:
    def test_msr_admin_needs_not_be_superuser(self, admin: Client) -> None:
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
        for model in ("Policies", "Registry settings", "Users", "Periodic tasks", "Auth tokens"):
            assert f">{model}</a>" in html

    def test_auditor_changes_nothing(self, auditor: Client, web: Repository) -> None:
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

    def test_repository_made_by_hand_is_an_event(self, admin: Client, web: Repository) -> None:
        data = {"namespace": web.namespace_id, "name": "api", "visibility": "private", "description": ""}
        admin.post("/admin/registry_repositories/repository/add/", data)

        event = Event.objects.get()
        assert (event.label, event.repository_name, event.actor_label) == (
            "Create Repository",
            "acme/api",
            "admin",
        )

    @pytest.mark.parametrize("by_action", [True, False])
    def test_deleted_repository_is_marked_and_its_deletion_an_event(
        self, admin: Client, web: Repository, by_action: bool
    ) -> None:
        if by_action:
            data = {"action": "delete_selected", "_selected_action": web.pk, "post": "yes"}
            admin.post("/admin/registry_repositories/repository/", data)
        else:
            admin.post(f"/admin/registry_repositories/repository/{web.pk}/delete/", {"post": "yes"})

        web.refresh_from_db()
        assert web.deleted_at
        event = Event.objects.get()
        assert (event.label, event.repository, event.actor_label) == ("Delete Repository", web, "admin")
        assert event.occurred_at == web.deleted_at

    def test_unclaimed_namespace_is_claimed_by_choosing_its_owner(
        self, admin: Client, registry: Any, log_in: Any
    ) -> None:
        registry(notification(target={"repository": "newcorp/app"}))
        person = factories.UserFactory()
        client, url = log_in(person), "/repositories/newcorp/app/activity/"
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
            {"user": person.pk, "organization": "", **form},
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
        ("name", "owners", "words"),
        [
            ("newcorp", ("user", "organization"), "to a user or to an organization, not to both"),
            ("_", ("user",), "Repositories without a namespace belong to nobody"),
        ],
    )
    def test_namespace_belongs_to_one_at_most(
        self, admin: Client, registry: Any, name: str, owners: tuple[str, ...], words: str
    ) -> None:
        registry(notification(target={"repository": "newcorp/app" if name == "newcorp" else "alpine"}))
        ids = {"user": factories.UserFactory().pk, "organization": factories.OrganizationFactory().pk}
        namespace = Namespace.objects.get(name=name)

        data = {owner: ids[owner] for owner in owners}
        response = admin.post(f"/admin/registry_repositories/namespace/{namespace.pk}/change/", data)

        assert words in response.content.decode()
        namespace.refresh_from_db()
        assert namespace.owner is None

    def test_organization_claims_the_namespace_of_its_name(self, admin: Client, registry: Any) -> None:
        registry(notification(target={"repository": "newcorp/app"}))
        form = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}

        admin.post("/admin/registry_repositories/organization/add/", {"name": "newcorp", **form})

        assert Namespace.objects.get(name="newcorp").owner == Organization.objects.get()

    def test_names_of_users_and_organizations_are_one_space(self, admin: Client, web: Repository) -> None:
        factories.UserFactory(username="jane")
        form = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
        answer = admin.post("/admin/registry_repositories/organization/add/", {"name": "jane", **form})
        assert "already has this name" in answer.content.decode()

        passwords = {"usable_password": "true", "password1": "a-long-pass", "password2": "a-long-pass"}
        answer = admin.post("/admin/auth/user/add/", {"username": "acme", **passwords})
        assert "already has the namespace of this name" in answer.content.decode()

    def test_team_is_made_with_its_members(self, admin: Client, web: Repository) -> None:
        jane = factories.UserFactory()
        data = {"organization": web.namespace.organization_id, "name": "devs", "members": [jane.pk]}

        admin.post("/admin/registry_repositories/team/add/", data)

        team = Team.objects.get()
        assert (team.group.name, list(team.group.user_set.all())) == ("acme/devs", [jane])

    def test_grants_are_edited_on_guardians_pages(self, admin: Client, web: Repository, log_in: Any) -> None:
        jane = factories.UserFactory(username="jane")
        page = f"/admin/registry_repositories/repository/{web.pk}/permissions/user-manage/{jane.pk}/"
        assert "Access level read-write" in admin.get(page).content.decode()

        admin.post(page, {"permissions": ["level_read"]})

        assert log_in(jane).get("/repositories/acme/web/activity/").status_code == 200
