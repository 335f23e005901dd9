"""The pages keep the last MSR admin, the last owners of organizations, and the accounts of registries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client

from activity.models import Event
from activity.sources import registries
from repositories import memberships
from repositories.access.groups import MSR_ADMINS
from repositories.administrators import msr_admins
from repositories.models import AccessToken, Membership, Organization, Repository
from tests import factories
from tests.html_forms import post_forms

User: Any = get_user_model()
pytestmark = [pytest.mark.django_db, pytest.mark.long]
OWNER, MEMBER = Membership.Role.OWNER, Membership.Role.MEMBER


@pytest.fixture
def admin(log_in: Any) -> Client:
    return log_in(factories.msr_admin(username="admin"))


@pytest.fixture
def olga(web: Repository) -> Any:
    """The only owner of an organization with a repository."""
    olga = factories.UserFactory(username="olga")
    factories.add_member(web.namespace.organization, olga, OWNER)
    return olga


def page_of(row: Any, page: str = "change") -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{page}/"


def submit(client: Client, path: str, **changes: Any) -> str:
    """Submit the form of an admin page with its current values and some changes. None removes a value."""
    html = client.get(path).content.decode()
    form = next(form for form in post_forms(html) if any(b.name == "_save" for b in form.buttons))
    values: dict[str, Any] = {each.name: each.value for each in form.fields if each.value is not None}
    values = {name: value for name, value in {**values, **changes}.items() if value is not None}
    return client.post(path, values, follow=True).content.decode()


def delete(client: Client, row: Any) -> str:
    return client.post(page_of(row, "delete"), {"post": "yes"}, follow=True).content.decode()


def delete_selected(client: Client, *rows: Any) -> str:
    path = f"/admin/{rows[0]._meta.app_label}/{rows[0]._meta.model_name}/"
    form = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    return client.post(path, form, follow=True).content.decode()


def group() -> Group:
    return Group.objects.get(name=MSR_ADMINS)


LOSSES_OF_ADMIN: dict[str, Callable[[Client, Any], str]] = {
    "delete": delete,
    "delete from the list": delete_selected,
    "deactivate": lambda client, user: submit(client, page_of(user), is_active=None),
    "remove from the staff": lambda client, user: submit(client, page_of(user), is_staff=None),
    "remove from the group": lambda client, user: submit(client, page_of(user), groups=None),
    "delete the group": lambda client, user: delete(client, group()),
    "delete the group from the list": lambda client, user: delete_selected(client, group()),
    "empty the group's permissions": lambda client, user: submit(client, page_of(group()), permissions=[]),
}


@pytest.fixture
def superuser(log_in: Any) -> Client:
    return log_in(factories.UserFactory(username="root", is_staff=True, is_superuser=True))


def last_admin() -> Any:
    """Create an MSR admin who can also change groups."""
    last = factories.msr_admin(username="last")
    for codename in ("change_group", "delete_group"):
        factories.permit(last, f"auth.{codename}")
    return last


@pytest.mark.parametrize("loss", LOSSES_OF_ADMIN)
class TestLastMsrAdmin:
    def test_stays(self, log_in: Any, loss: str) -> None:
        last = last_admin()
        events = Event.objects.count()

        html = LOSSES_OF_ADMIN[loss](log_in(last), last)

        assert "There would be no MSR admin" in html
        assert "successfully" not in html
        assert msr_admins() == {last.pk}
        assert group().permissions.filter(codename="administer_registry").exists()
        assert Event.objects.count() == events

    def test_can_go_if_there_is_another(self, superuser: Client, loss: str) -> None:
        user = factories.msr_admin(username="first")

        LOSSES_OF_ADMIN[loss](superuser, user)

        assert msr_admins() == {User.objects.get(username="root").pk}

    def test_an_inactive_one_does_not_count(self, log_in: Any, loss: str) -> None:
        factories.msr_admin(username="inactive", is_active=False)
        last = last_admin()

        assert "There would be no MSR admin" in LOSSES_OF_ADMIN[loss](log_in(last), last)
        assert msr_admins() == {last.pk}


def test_last_superuser_cannot_give_up_the_role_either(superuser: Client) -> None:
    root = User.objects.get(username="root")

    assert "There would be no MSR admin" in submit(superuser, page_of(root), is_superuser=None)

    root.refresh_from_db()
    assert root.is_superuser


def test_all_msr_admins_cannot_be_deleted_at_once(superuser: Client) -> None:
    factories.msr_admin()

    assert "There would be no MSR admin" in delete_selected(superuser, *User.objects.filter(is_staff=True))
    assert len(msr_admins()) == 2


def organization_form(client: Client, membership: Membership, **changes: Any) -> str:
    return submit(
        client, page_of(membership.organization), **{f"memberships-0-{k}": v for k, v in changes.items()}
    )


LOSSES_OF_OWNER: dict[str, Callable[[Client, Membership], str]] = {
    "delete the account": lambda client, owner: delete(client, owner.user),
    "delete the account from the list": lambda client, owner: delete_selected(client, owner.user),
    "deactivate the account": lambda client, owner: submit(client, page_of(owner.user), is_active=None),
    "demote": lambda client, owner: submit(client, page_of(owner), role=MEMBER),
    "delete the membership": delete,
    "delete the membership from the list": delete_selected,
    "demote on the organization's page": lambda client, owner: organization_form(client, owner, role=MEMBER),
    "delete on the organization's page": lambda client, owner: organization_form(client, owner, DELETE="on"),
}


@pytest.mark.parametrize("loss", LOSSES_OF_OWNER)
class TestLastOwner:
    def test_stays(self, admin: Client, olga: Any, loss: str) -> None:
        html = LOSSES_OF_OWNER[loss](admin, Membership.objects.get())

        assert "acme has repositories, but would have no owner" in html
        assert "successfully" not in html
        membership = Membership.objects.get()
        assert (membership.user, membership.role, membership.user.is_active) == (olga, OWNER, True)

    def test_can_go_if_there_is_another(self, admin: Client, olga: Any, loss: str) -> None:
        owner = Membership.objects.get()
        factories.add_member(owner.organization, factories.UserFactory(), OWNER)

        LOSSES_OF_OWNER[loss](admin, owner)

        assert not Membership.objects.filter(user__is_active=True, role=OWNER, user=olga.pk).exists()

    def test_an_inactive_owner_does_not_count(self, admin: Client, olga: Any, loss: str) -> None:
        owner = Membership.objects.get()
        factories.add_member(owner.organization, factories.UserFactory(is_active=False), OWNER)

        assert "would have no owner" in LOSSES_OF_OWNER[loss](admin, owner)

    def test_can_go_if_there_are_no_repositories(
        self, admin: Client, olga: Any, web: Repository, loss: str
    ) -> None:
        web.delete()

        LOSSES_OF_OWNER[loss](admin, Membership.objects.get())

        assert not Membership.objects.filter(user__is_active=True, role=OWNER).exists()


def test_organization_can_be_deleted_with_its_last_owner(admin: Client, olga: Any) -> None:
    delete(admin, Organization.objects.get())

    assert not Organization.objects.exists()


def test_organization_that_has_no_owner_does_not_prevent_other_changes(
    admin: Client, web: Repository
) -> None:
    jane = factories.UserFactory()

    submit(admin, page_of(jane), is_active=None)

    jane.refresh_from_db()
    assert not jane.is_active


def test_site_does_not_count_inactive_owners(olga: Any) -> None:
    organization = Organization.objects.get()
    factories.add_member(organization, factories.UserFactory(is_active=False), OWNER)

    with pytest.raises(memberships.ValidationError):
        memberships.set_role(organization, olga, MEMBER)


class TestAccountOfARegistry:
    @pytest.fixture
    def registry(self) -> Any:
        account = registries.registry_account()
        registries.update_last_contact(account)
        return account

    @pytest.mark.parametrize("door", [delete, delete_selected])
    def test_cannot_be_deleted(self, admin: Client, registry: Any, door: Any) -> None:
        assert "registry is the account of a registry" in door(admin, registry)
        assert User.objects.filter(pk=registry.pk).exists()

    @pytest.mark.parametrize("door", [delete, delete_selected])
    def test_cannot_be_deleted_before_its_first_message(self, admin: Client, door: Any) -> None:
        account = registries.registry_account()
        factories.new_token(account)

        assert "Revoke its access tokens first" in door(admin, account)
        AccessToken.objects.all().delete()
        door(admin, account)

        assert not User.objects.filter(pk=account.pk).exists()

    def test_can_be_deleted_after_the_registry(self, admin: Client, registry: Any) -> None:
        delete(admin, registry.registry)
        delete(admin, registry)

        assert not User.objects.filter(pk=registry.pk).exists()
