"""Grant access levels and event categories to users and teams, and revoke these grants."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.utils.translation import gettext
from guardian.shortcuts import remove_perm

from repositories.access.levels import LABELS, Level
from repositories.access.resolving import GRANTS
from repositories.models import Namespace, Repository

MAX_DELETED = 1000
"""The maximum number of expired grants of each model to delete at a time."""


@transaction.atomic
def grant(codename: str, holder: Any, place: Repository | Namespace, until: datetime | None = None) -> None:
    """Grant a level or a category to a user or to a team's group, until a certain time or without end.

    A level replaces any other level that the holder has on the same object. Categories are additive.
    """
    if codename in Level.values:
        for other in set(Level.values) - {codename}:
            revoke(other, holder, place)
    name = "group" if isinstance(holder, Group) else "user"
    permission = Permission.objects.get(
        content_type=ContentType.objects.get_for_model(place), codename=codename
    )
    given, created = _model_of(name, place).objects.get_or_create(
        permission=permission, content_object=place, **{name: holder}, defaults={"expires_at": until}
    )
    if not created and given.expires_at != until:
        given.expires_at = until
        given.save()


def _model_of(holder: str, place: Repository | Namespace) -> Any:
    """Return the model of the grants to a `user` or `group` on a place."""
    scope = "repository" if isinstance(place, Repository) else "namespace"
    return next(model for kind, model, lookup in GRANTS if kind == scope and lookup.startswith(holder))


def delete_expired() -> int:
    """Delete the grants that give no access any more, which is recorded, and return their number."""
    number = 0
    for _, model, _ in GRANTS:
        for pk in model.grants.expired().values_list("pk", flat=True)[:MAX_DELETED]:
            with transaction.atomic():
                for given in model.grants.expired().select_for_update(of=("self",)).filter(pk=pk):
                    given.delete()
                    number += 1
    return number


def describe(grant: Any) -> str:
    """Return a grant in words, for example `read on acme/web to jane`."""
    codename = grant.permission.codename
    values: dict[str, Any] = {
        "level": LABELS.get(codename, codename),
        "place": grant.content_object,
        "holder": grant.group if hasattr(grant, "group") else grant.user,
    }
    if not grant.expires_at:
        return gettext("%(level)s on %(place)s to %(holder)s") % values
    values["end"] = f"{grant.expires_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return gettext("%(level)s on %(place)s to %(holder)s until %(end)s UTC") % values


def revoke(codename: str, holder: Any, place: Repository | Namespace) -> None:
    """Revoke a level or a category. Does nothing if the holder doesn't have it on this object."""
    remove_perm(codename, holder, place)
