"""Namespaces, organizations, teams and repositories: names, owners, deletion and groups."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from hypothesis import given
from hypothesis import strategies as st

from activity.models import Event
from activity.recording.record import record_events
from repositories import names
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.resolving import Access
from repositories.models import Namespace, Repository, Team
from tests import factories
from tests.factories import NOON


@pytest.mark.parametrize(
    ("full_name", "parts"),
    [
        ("acme/web", ("acme", "web")),
        ("acme/team/web", ("acme", "team/web")),
        ("alpine", ("_", "alpine")),
        ("Acme/web", ("Acme", "web")),
        ("localhost:5000/alpine", ("localhost:5000", "alpine")),
    ],
)
def test_repository_names_are_split_and_joined(full_name: str, parts: tuple[str, str]) -> None:
    assert names.split_name(full_name) == parts
    assert names.join_name(*parts) == full_name


@pytest.mark.long
@given(st.from_regex(names._NAME, fullmatch=True).filter(names.is_name))
def test_splitting_and_joining_a_repository_name_is_lossless(full_name: str) -> None:
    assert names.join_name(*names.split_name(full_name)) == full_name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Acme",
        "acme/Web",
        "Acme-/web",
        "localhost:/a",
        "a:1",
        "a//b",
        "/a",
        "a/",
        "_/alpine",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a b",
        "a\n",
        "é",
        "a" * 256,
    ],
)
def test_invalid_repository_names_are_recognized(text: str) -> None:
    assert not names.is_name(text)


@pytest.mark.django_db
class TestNamespaces:
    def test_new_user_gets_a_namespace_with_their_username(self) -> None:
        user = factories.UserFactory(username="jane")

        assert Namespace.objects.get(name="jane").owner == user

    def test_new_user_does_not_get_an_existing_namespace(self) -> None:
        Namespace.objects.create(name="jane")

        factories.UserFactory(username="jane")

        assert Namespace.objects.get(name="jane").is_unclaimed

    def test_organization_cannot_take_the_namespace_of_a_user(self) -> None:
        factories.UserFactory(username="jane")

        with pytest.raises(ValidationError):
            factories.OrganizationFactory(name="jane")

    def test_namespace_becomes_unclaimed_when_its_owner_is_deleted(self) -> None:
        user = factories.UserFactory(username="jane")
        factories.repository("jane/app", public=True)
        reader = factories.UserFactory()
        assert Access.for_user(reader).repositories().exists()

        user.delete()

        assert not Access.for_user(reader).repositories().exists()
        assert Namespace.objects.get(name="jane").is_unclaimed

    @pytest.mark.parametrize("name", ["Bad Name", "a/b", ""])
    def test_invalid_namespace_names_are_rejected(self, name: str) -> None:
        with pytest.raises(ValidationError):
            Namespace(name=name).full_clean()

    def test_namespace_without_a_name_cannot_have_an_owner(self) -> None:
        with pytest.raises(ValidationError):
            Namespace(name="_", user=factories.UserFactory()).clean()

    def test_namespace_cannot_have_two_owners(self) -> None:
        organization, user = factories.OrganizationFactory(), factories.UserFactory()

        with pytest.raises(IntegrityError):
            Namespace.objects.create(name="x", user=user, organization=organization)


@pytest.mark.django_db
class TestRepositories:
    def test_name_of_a_deleted_repository_can_be_used_again(self) -> None:
        former = factories.repository("acme/web")
        Repository.objects.filter(pk=former.pk).delete()

        successor = factories.repository("acme/web")

        assert list(Repository.objects.named("acme/web").order_by("pk")) == [former, successor]

    @pytest.mark.parametrize("is_late", [False, True])
    def test_repository_that_was_pushed_to_later_is_not_deleted(self, is_late: bool) -> None:
        deletion = factories.draft("delete_repository", occurred_at=NOON)
        push = factories.draft(occurred_at=NOON + timedelta(minutes=1))

        for draft in (push, deletion) if is_late else (deletion, push):
            record_events([draft])

        assert Repository.objects.live().count() == 1
        assert Repository.objects.count() == (1 if is_late else 2)

    def test_redelivered_deletion_does_not_delete_the_successor(self) -> None:
        ahead = NOON + timedelta(minutes=10)
        deletion = factories.draft("delete_repository", occurred_at=ahead, received_at=NOON)
        factories.repository("acme/web")
        record_events([deletion])
        successor = factories.repository("acme/web")

        record_events([deletion])

        assert Repository.objects.live().get() == successor

    def test_name_of_an_existing_repository_is_taken(self) -> None:
        factories.repository("acme/web")

        with pytest.raises(IntegrityError):
            factories.repository("acme/web")

    def test_events_of_a_deleted_repository_are_not_shown_in_its_successor(self) -> None:
        former = factories.repository("acme/web")
        factories.record(repository=former)
        factories.record("delete_repository", former)
        successor = factories.repository("acme/web", public=True)
        event = factories.record(repository=successor)
        reader, admin = factories.UserFactory(), factories.msr_admin()

        assert list(Event.objects.visible_to(Access.for_user(reader))) == [event]
        assert list(Event.objects.visible_to(Access.for_user(reader), successor)) == [event]
        assert Event.objects.visible_to(Access.for_user(admin)).count() == 3  # two pushes and one deletion

    def test_grants_on_a_deleted_repository_do_not_apply_to_its_successor(self) -> None:
        former = factories.repository("acme/web")
        reader = factories.user_with("level_read", former)
        former.delete()
        factories.repository("acme/web")

        assert not Access.for_user(reader).repositories().exists()


@pytest.mark.django_db
class TestTeams:
    def test_deleting_a_team_deletes_its_group_and_grants(self) -> None:
        web = factories.repository("acme/web")
        member = factories.UserFactory()
        team = factories.team_of(web.namespace.organization, member)
        factories.assign_perm("level_read", team.group, web)
        assert Access.for_user(member).repositories().exists()

        Team.objects.all().delete()

        assert not Access.for_user(member).repositories().exists()
        assert not Group.objects.filter(pk=team.group_id).exists()

    def test_renaming_a_team_renames_its_group(self) -> None:
        web = factories.repository("acme/web")
        team = factories.team_of(web.namespace.organization)

        team.name = "renamed"
        team.save()

        assert Group.objects.get(pk=team.group_id).name == "acme/renamed"


@pytest.mark.django_db
class TestGroups:
    def test_auditors_have_only_view_and_audit_permissions(self) -> None:
        permissions = Permission.objects.filter(group__name=AUDITORS)

        assert permissions.exists()
        assert {p.codename.partition("_")[0] for p in permissions} == {"view", "audit"}

    def test_msr_admins_have_all_permissions_on_repositories(self) -> None:
        permissions = set(Group.objects.get(name=MSR_ADMINS).permissions.all())

        assert permissions >= set(Permission.objects.filter(content_type__app_label="registry_repositories"))

    def test_superusers_see_everything(self) -> None:
        root = factories.UserFactory(is_superuser=True)

        assert Access.for_user(root).sees_everything

    def test_inactive_msr_admins_do_not_see_everything(self) -> None:
        assert not Access.for_user(factories.msr_admin(is_active=False)).sees_everything
