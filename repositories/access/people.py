"""Find the organizations that a viewer can see."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from repositories.access.resolving import registry_role
from repositories.models import Organization


def visible_organizations(viewer: Any) -> QuerySet[Organization]:
    """Return the organizations that a viewer can see.

    MSR admins and auditors can see all organizations. Other users can see those that they belong to.
    """
    if registry_role(viewer):
        return Organization.objects.all()
    return Organization.objects.filter(memberships__user=viewer.pk)


def organizations_of(person: Any, viewer: Any) -> QuerySet[Organization]:
    """Return the organizations that a person belongs to and that the viewer can see."""
    return visible_organizations(viewer).filter(pk__in=person.memberships.values("organization"))
