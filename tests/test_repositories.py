"""Namespaces, organizations, teams and repositories: who owns what, and what becomes of it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from hypothesis import given
from hypothesis import strategies as st

from activity.models import Event
from repositories import names
from repositories.access.groups import AUDITORS, MSR_ADMINS
from repositories.access.resolving import Access
from repositories.models import Namespace, Repository, Team
from tests import factories


@pytest.mark.parametrize(
    ("full_name", "parts"),
    [
        ("acme/web", ("acme", "web")),
        ("acme/team/web", ("acme", "team/web")),
        ("alpine", ("_", "alpine")),
    ],
)
def test_names_are_split_and_joined(full_name: str, parts: tuple[str, str]) -> None:
    assert names.split_name(full_name) == parts
    assert names.join_name(*parts) == full_name


@given(st.from_regex(names._NAME, fullmatch=True).filter(names.is_name))
def test_every_name_is_the_sum_of_its_parts(full_name: str) -> None:
    assert names.join_name(*names.split_name(full_name)) == full_name


@pytest.mark.parametrize(
    "text",
    ["", "Acme", "a//b", "/a", "a/", "_/alpine", "-a", "a-", "a..b", "a___b", "a b", "a\n", "é", "a" * 256],
)
def test_what_no_registry_calls_a_repository(text: str) -> None:
    assert not names.is_name(text)


@pytest.mark.django_db
class TestNamespaces:
    def test_users_get_the_namespace_of_their_name(self) -> None:
        user = factories.UserFactory(username="jane")

        assert Namespace.objects.get(name="jane").owner == user

    def test_users_do_not_get_what_the_registry_named_before(self) -> None:
        Namespace.objects.create(name="jane")

        factories.UserFactory(username="jane")

        assert Namespace.objects.get(name="jane").is_unclaimed

    def test_organizations_do_not_get_that_of_a_user(self) -> None:
        factories.UserFactory(username="jane")

        with pytest.raises(ValidationError):
            factories.OrganizationFactory(name="jane")

    def test_are_unclaimed_again_when_their_owner_is_gone(self) -> None:
        user = factories.UserFactory(username="jane")
        factories.repository("jane/app", public=True)
        reader = factories.UserFactory()
        assert Access.for_user(reader).repositories().exists()

        user.delete()

        assert not Access.for_user(reader).repositories().exists()
        assert Namespace.objects.get(name="jane").is_unclaimed

    @pytest.mark.parametrize("name", ["Bad Name", "a/b", ""])
    def test_have_names_that_registries_have(self, name: str) -> None:
        with pytest.raises(ValidationError):
            Namespace(name=name).full_clean()

    def test_without_a_name_belongs_to_nobody(self) -> None:
        with pytest.raises(ValidationError):
            Namespace(name="_", user=factories.UserFactory()).clean()

    def test_belong_to_one_owner(self) -> None:
        organization, user = factories.OrganizationFactory(), factories.UserFactory()

        with pytest.raises(IntegrityError):
            Namespace.objects.create(name="x", user=user, organization=organization)


@pytest.mark.django_db
class TestRepositories:
    def test_deleted_one_frees_its_name(self) -> None:
        former = factories.repository("acme/web")
        Repository.objects.filter(pk=former.pk).delete()

        successor = factories.repository("acme/web")

        assert list(Repository.objects.named("acme/web").order_by("pk")) == [former, successor]

    def test_name_is_taken_while_it_is_there(self) -> None:
        factories.repository("acme/web")

        with pytest.raises(IntegrityError):
            factories.repository("acme/web")

    def test_events_of_a_former_one_do_not_leak_into_its_successor(self) -> None:
        former = factories.repository("acme/web")
        factories.record(repository=former)
        former.delete()
        successor = factories.repository("acme/web", public=True)
        event = factories.record(repository=successor)
        reader, admin = factories.UserFactory(), factories.msr_admin()

        assert list(Event.objects.visible_to(Access.for_user(reader))) == [event]
        assert list(Event.objects.visible_to(Access.for_user(reader), successor)) == [event]
        assert Event.objects.visible_to(Access.for_user(admin)).count() == 3  # with the event of the deletion

    def test_grants_on_a_former_one_do_not_pass_to_its_successor(self) -> None:
        former = factories.repository("acme/web")
        reader = factories.user_with("level_read", former)
        former.delete()
        factories.repository("acme/web")

        assert not Access.for_user(reader).repositories().exists()


@pytest.mark.django_db
class TestTeams:
    def test_take_their_grants_with_them(self) -> None:
        row = factories.repository("acme/web")
        person = factories.UserFactory()
        team = factories.team_of(row.namespace.organization, person)
        factories.assign_perm("level_read", team.group, row)
        assert Access.for_user(person).repositories().exists()

        Team.objects.all().delete()

        assert not Access.for_user(person).repositories().exists()
        assert not Group.objects.filter(pk=team.group_id).exists()

    def test_renamed_ones_keep_their_grants(self) -> None:
        row = factories.repository("acme/web")
        team = factories.team_of(row.namespace.organization)

        team.name = "renamed"
        team.save()

        assert Group.objects.get(pk=team.group_id).name == "acme/renamed"


@pytest.mark.django_db
class TestGroups:
    def test_auditors_may_only_look(self) -> None:
        permissions = Permission.objects.filter(group__name=AUDITORS)

        assert permissions.exists()
        assert {p.codename.partition("_")[0] for p in permissions} == {"view", "audit"}

    def test_msr_admins_may_do_everything_with_repositories(self) -> None:
        held = set(Group.objects.get(name=MSR_ADMINS).permissions.all())

        assert held >= set(Permission.objects.filter(content_type__app_label="registry_repositories"))

    def test_superusers_are_msr_admins(self) -> None:
        root = factories.UserFactory(is_superuser=True)

        assert Access.for_user(root).sees_everything

    def test_who_left_may_do_nothing(self) -> None:
        assert not Access.for_user(factories.msr_admin(is_active=False)).sees_everything
