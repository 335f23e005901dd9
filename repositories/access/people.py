"""Who may know of whom: organizations are known to their members, and people to those they share one with."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from repositories.models import Organization


def known_organizations(viewer: Any) -> QuerySet[Organization]:
    """Return the organizations that a viewer may know of: their own; for MSR admins and auditors, all."""
    oversees = ("registry_repositories.administer_registry", "registry_repositories.audit_registry")
    if any(viewer.has_perm(permission) for permission in oversees):
        return Organization.objects.all()
    return Organization.objects.filter(memberships__user=viewer.pk)


def organizations_of(person: Any, viewer: Any) -> QuerySet[Organization]:
    """Return the organizations of a person, as far as the viewer may know of them."""
    return known_organizations(viewer).filter(pk__in=person.memberships.values("organization"))
