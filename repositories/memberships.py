"""Changes who belongs to an organization, and holds that somebody owns it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from repositories.models import Membership, Organization


@transaction.atomic
def set_role(organization: Organization, user: Any, role: str) -> Membership:
    """Make somebody a member or an owner, whether they belonged to the organization before or not.

    Raises ValidationError if they are its last owner, and would not be one any more.
    """
    membership = _locked(organization).filter(user=user).first()
    if membership is None:
        return Membership.objects.create(organization=organization, user=user, role=role)
    if role != Membership.Role.OWNER:
        _keep_an_owner(membership)
    membership.role = role
    membership.save()
    return membership


@transaction.atomic
def remove(organization: Organization, user: Any) -> None:
    """Take somebody out of an organization, and so out of its teams. Nothing happens if they aren't in it.

    Raises ValidationError if they are its last owner.
    """
    membership = _locked(organization).filter(user=user).first()
    if membership:
        _keep_an_owner(membership)
        membership.delete()


def _locked(organization: Organization) -> Any:
    """Return the memberships, which nobody else changes meanwhile: two owners may demote each other."""
    Organization.objects.select_for_update().get(pk=organization.pk)
    return Membership.objects.filter(organization=organization)


def _keep_an_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(organization=membership.organization_id, role=Membership.Role.OWNER)
    if membership.role == Membership.Role.OWNER and not owners.exclude(pk=membership.pk).exists():
        raise ValidationError(f"{membership.user} is the last owner: make somebody else an owner first.")
