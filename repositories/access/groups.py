"""The groups of MSR admins and security auditors, created by `migrate`.

They are created by a `post_migrate` receiver rather than in a migration, because Django creates the
permissions that they need only after the migrations. Permissions that an operator adds to a group are kept.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from repositories.accounts import current_request

MSR_ADMINS = "MSR admins"
AUDITORS = "Security auditors"

OWN = Q(content_type__app_label__in=["registry_repositories", "registry_activity"])
VIEW = Q(codename__startswith="view_")
# Models that only the application writes to. People can view them, and need no other permissions on them
# except those in CHECKED_IN_CODE.
RECORDS = Q(
    content_type__app_label="registry_activity",
    content_type__model__in=[
        "archive",
        "deadletter",
        "event",
        "import",
        "run",
        "tag",
        "tally",
        "tallychange",
    ],
)
CHECKED_IN_CODE = Q(
    content_type__app_label="registry_activity",
    codename__in=[
        "add_event",  # so that MSR admins can grant it to the accounts of registries and other producers
        "change_deadletter",
        "change_import",
        "change_run",
    ],
)
PEOPLE = Q(content_type__app_label="auth", codename__endswith="_user")
GROUPS = Q(content_type__app_label="auth", codename__endswith="_group")
SCHEDULES = Q(content_type__app_label="django_celery_beat")
TOKENS = Q(content_type__app_label="knox")


@current_request.auditing_disabled()
def create_groups(**_: Any) -> None:
    """Create both groups, and add the permissions that they need in the admin. Idempotent."""
    _add_permissions(MSR_ADMINS, (OWN & ~RECORDS) | CHECKED_IN_CODE | PEOPLE | SCHEDULES | TOKENS)
    for group in (MSR_ADMINS, AUDITORS):
        _add_permissions(group, VIEW & (OWN | PEOPLE | GROUPS | SCHEDULES | TOKENS))
    _add_permissions(AUDITORS, Q(content_type__app_label="registry_repositories", codename="audit_registry"))


def _add_permissions(group_name: str, permissions: Q) -> None:
    group, _ = Group.objects.get_or_create(name=group_name)
    group.permissions.add(*Permission.objects.filter(permissions))
