"""The groups for MSR admins and security auditors, which `migrate` creates.

A `post_migrate` receiver creates the groups. A migration can't, because Django creates the permissions that
the groups need only after the migrations have run. Permissions that an operator adds to a group are kept.

The groups are known by their rows in `RoleGroup`, not by their names, so a group that the site itself has
created under such a name gets no permissions.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from django.apps import apps as installed_apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from repositories import extensions
from repositories.accounts import current_request
from repositories.models import RoleGroup
from repositories.utils.text import untranslated

MSR_ADMINS = untranslated(RoleGroup.Role.MSR_ADMINS.label)
AUDITORS = untranslated(RoleGroup.Role.AUDITORS.label)

VIEW = Q(codename__startswith="view_")
AUDIT = Q(content_type__app_label="registry_repositories", codename="audit_registry")


@current_request.auditing_disabled()
def create_groups(apps: Any = installed_apps, **_: Any) -> None:
    """Create both groups with the permissions that they need in the admin. Calling it again is harmless.

    `apps` contains the models that exist after a migration, which may have removed those of this app.
    """
    if not apps.all_models["registry_repositories"]:
        return
    _add_permissions(RoleGroup.Role.MSR_ADMINS, extensions.MANAGED | _view_people())
    _add_permissions(RoleGroup.Role.AUDITORS, (extensions.MANAGED & VIEW) | _view_people() | AUDIT)


def remove_groups(plan: Any, **_: Any) -> None:
    """Remove both groups before a migration removes this app. Receiver for the `pre_migrate` signal."""
    names = {(migration.app_label, migration.name) for migration, backwards in plan if backwards}
    if ("registry_repositories", "0001_initial") in names:
        with current_request.auditing_disabled():
            Group.objects.filter(role__isnull=False).delete()


def group_of(role: RoleGroup.Role) -> Group:
    """Return the group of a role, which is created if it doesn't exist."""
    found = RoleGroup.objects.filter(role=role).select_related("group").first()
    if found:
        return found.group
    label = untranslated(role.label)
    names = (f"{label} ({number})" if number > 1 else label for number in count(1))
    group = Group.objects.create(name=next(name for name in names if not Group.objects.filter(name=name)))
    RoleGroup.objects.create(role=role, group=group)
    return group


def _view_people() -> Q:
    """The permissions to find users and teams, in order to grant something to them."""
    user = get_user_model()._meta
    return Q(content_type__app_label="auth", codename="view_group") | Q(
        content_type__app_label=user.app_label, codename=f"view_{user.model_name}"
    )


def _add_permissions(role: RoleGroup.Role, permissions: Q) -> None:
    group_of(role).permissions.add(*Permission.objects.filter(permissions))
