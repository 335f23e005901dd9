"""The groups for MSR admins and security auditors, which `migrate` creates.

A `post_migrate` receiver creates the groups. A migration can't, because Django creates the permissions that
the groups need only after the migrations have run. Permissions that an operator adds to a group are kept.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from repositories.accounts import current_request

MSR_ADMINS = "MSR admins"
AUDITORS = "Security auditors"

APPS = {"registry_repositories"}
"""Labels of the apps whose models the groups can access. Other apps add their labels in `AppConfig.ready`."""

USERS = Q(content_type__app_label="auth", codename__endswith="_user")
VIEW_GROUPS = Q(content_type__app_label="auth", codename="view_group")
SCHEDULES = Q(content_type__app_label="django_celery_beat")
VIEW = Q(codename__startswith="view_")
AUDIT = Q(content_type__app_label="registry_repositories", codename="audit_registry")


@current_request.auditing_disabled()
def create_groups(**_: Any) -> None:
    """Create both groups with the permissions that they need in the admin. Calling it again is harmless."""
    managed = Q(content_type__app_label__in=APPS) | USERS | SCHEDULES
    _add_permissions(MSR_ADMINS, managed | VIEW_GROUPS)
    _add_permissions(AUDITORS, (managed & VIEW) | VIEW_GROUPS | AUDIT)


def _add_permissions(group_name: str, permissions: Q) -> None:
    group, _ = Group.objects.get_or_create(name=group_name)
    group.permissions.add(*Permission.objects.filter(permissions))
