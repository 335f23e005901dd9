"""Grant access levels and event categories to users and teams, and revoke these grants."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from guardian.shortcuts import assign_perm, remove_perm

from repositories.access.levels import Level
from repositories.models import Namespace, Repository


@transaction.atomic
def grant(codename: str, holder: Any, place: Repository | Namespace) -> None:
    """Grant a level or a category to a user or to a team's group.

    A level replaces any other level that the holder has on the same object. Categories are additive.
    """
    if codename in Level.values:
        for other in set(Level.values) - {codename}:
            revoke(other, holder, place)
    assign_perm(codename, holder, place)


def describe(grant: Any) -> str:
    """Return a grant in words, for example `read on acme/web to jane`."""
    codename = grant.permission.codename
    level = Level(codename).label if codename in Level.values else codename
    return f"{level} on {grant.content_object} to {grant.group if hasattr(grant, 'group') else grant.user}"


def revoke(codename: str, holder: Any, place: Repository | Namespace) -> None:
    """Revoke a level or a category. Does nothing if the holder doesn't have it on this object."""
    remove_perm(codename, holder, place)
