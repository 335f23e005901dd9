"""Ensure that somebody can always administer the registry, and each organization that has repositories.

The pages refuse changes after which no MSR admin is left, or an organization with repositories has no owner.
Inactive accounts and service accounts don't count. Programs of the host site can still make such changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from repositories import extensions
from repositories.accounts.service_accounts import service_accounts
from repositories.models import Membership, Organization, Repository, RoleGroup


class LastAdministrator(ValidationError):
    """A change would leave nobody who can administer the registry or an organization."""


def reasons_to_keep(users: Collection[Any]) -> list[str]:
    """Return why these users must not be deleted together. If they may be deleted, the list is empty."""
    ids = [user.pk for user in users]
    found = [reason for find in extensions.REASONS_TO_KEEP for reason in find(users)]
    admins = msr_admins()
    if admins and admins <= {*ids}:
        found.append(_("There would be no MSR admin."))
    orphaned = _owned_organizations().exclude(pk__in=_owned_organizations(without=ids).values("pk"))
    return found + [_without_owner(organization) for organization in orphaned]


@contextmanager
def guard() -> Iterator[Callable[[], None]]:
    """Run the block in a transaction, and yield a function that raises LastAdministrator after a bad change.

    The function compares the state with that at the beginning of the block. Of several simultaneous changes,
    each waits until the one before is committed.
    """
    with transaction.atomic():
        lock()
        had_admin, owned = bool(msr_admins()), set(_owned_organizations().values_list("pk", flat=True))

        def check() -> None:
            if had_admin and not msr_admins():
                raise LastAdministrator(_("There would be no MSR admin. Give somebody else this role first."))
            orphaned = Organization.objects.filter(Exists(_repositories(OuterRef("pk"))), pk__in=owned)
            if organization := orphaned.exclude(pk__in=_owned_organizations().values("pk")).first():
                raise LastAdministrator(_without_owner(organization))

        yield check


def lock() -> None:
    """Let other changes of administrators wait until the end of the transaction."""
    list(RoleGroup.objects.select_for_update().order_by("pk"))


def msr_admins() -> set[Any]:
    """Return the ids of the active users who are MSR admins and can log in to the admin."""
    role = Permission.objects.filter(
        content_type__app_label="registry_repositories", codename="administer_registry"
    )
    has_role = Q(is_superuser=True) | Q(user_permissions__in=role) | Q(groups__permissions__in=role)
    people = get_user_model()._default_manager.exclude(pk__in=service_accounts())
    active = people.filter(has_role, is_active=True)
    return {user.pk for user in active if user.is_staff}


def active_owners() -> QuerySet[Membership]:
    """Return the memberships of owners who are people with active accounts."""
    owners = Membership.objects.filter(role=Membership.Role.OWNER, user__is_active=True)
    return owners.exclude(user__in=service_accounts())


def _owned_organizations(without: Collection[Any] = ()) -> QuerySet[Organization]:
    """Return the organizations that have repositories and an active owner other than the given users."""
    owners = active_owners().filter(organization=OuterRef("pk")).exclude(user__in=without)
    return Organization.objects.filter(Exists(owners), Exists(_repositories(OuterRef("pk"))))


def _repositories(organization: Any) -> QuerySet[Repository]:
    return Repository.objects.live().filter(namespace__organization=organization)


def _without_owner(organization: Organization) -> str:
    return _(
        "%(organization)s has repositories, but would have no owner. Make somebody else an owner first."
    ) % {"organization": organization}
