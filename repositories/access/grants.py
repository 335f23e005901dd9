"""Grants levels and categories of events to users and teams, and takes them back."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from guardian.shortcuts import assign_perm, remove_perm

from repositories.access.levels import Level
from repositories.models import Namespace, Repository


@transaction.atomic
def give(codename: str, holder: Any, place: Repository | Namespace) -> None:
    """Grant a level or a category to a user or to a team's group.

    A level takes the place of the one that was granted to them there; categories add up.
    """
    if codename in Level.values:
        for other in set(Level.values) - {codename}:
            take(other, holder, place)
    assign_perm(codename, holder, place)


def take(codename: str, holder: Any, place: Repository | Namespace) -> None:
    """Take a granted level or category back. Nothing happens if it wasn't granted."""
    remove_perm(codename, holder, place)
