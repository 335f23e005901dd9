"""Change the members of an organization, and ensure that it always has an owner."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from repositories import administrators
from repositories.models import Membership, Organization


@transaction.atomic
def set_role(organization: Organization, user: Any, role: str) -> Membership:
    """Add a user to an organization as a member or owner, or change their role.

    Raises ValidationError if this would demote the last owner.
    """
    membership = _lock_memberships(organization).filter(user=user).first()
    if membership is None:
        return Membership.objects.create(organization=organization, user=user, role=role)
    if role != Membership.Role.OWNER:
        _require_another_owner(membership)
    membership.role = role
    membership.save()
    return membership


@transaction.atomic
def remove(organization: Organization, user: Any) -> None:
    """Remove a user from an organization and its teams. Does nothing if they aren't in the organization.

    Raises ValidationError if they are its last owner.
    """
    membership = _lock_memberships(organization).filter(user=user).first()
    if membership:
        _require_another_owner(membership)
        membership.delete()


def _lock_memberships(organization: Organization) -> Any:
    """Return an organization's memberships, which nobody else can change until the end of the transaction.

    Without the lock, two owners who demote each other at the same time could leave it without an owner.
    """
    administrators.lock()
    return Membership.objects.filter(organization=organization)


def _require_another_owner(membership: Membership) -> None:
    """Raise ValidationError if the member is an owner, and no other owner has an active account."""
    owners = administrators.active_owners().filter(organization=membership.organization_id)
    if membership.role == Membership.Role.OWNER and not owners.exclude(pk=membership.pk).exists():
        message = _("%(user)s is the last owner. Make somebody else an owner first.")
        raise ValidationError(message, params={"user": membership.user})
