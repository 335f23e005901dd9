"""The two groups of people who oversee the whole registry, made by `migrate`.

They are made after the migrations rather than by one, as Django itself makes the permissions that
they hold only then. Permissions that an operator adds to a group by hand are left alone.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from repositories.accounts import current_request

MSR_ADMINS = "MSR admins"
AUDITORS = "Security auditors"

OWN = Q(content_type__app_label__in=["registry_repositories", "registry_activity"])
VIEW = Q(codename__startswith="view_")
# What the software writes, and people only look at; but these permissions are asked for.
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
ASKED_FOR = Q(
    content_type__app_label="registry_activity",
    codename__in=[
        "add_event",  # to hand it on to the accounts of registries and other producers
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
def make_groups(**_: Any) -> None:
    """Make both groups, and give them the permissions they need in the admin. Idempotent."""
    _give(MSR_ADMINS, (OWN & ~RECORDS) | ASKED_FOR | PEOPLE | SCHEDULES | TOKENS)
    for group in (MSR_ADMINS, AUDITORS):
        _give(group, VIEW & (OWN | PEOPLE | GROUPS | SCHEDULES | TOKENS))
    _give(AUDITORS, Q(content_type__app_label="registry_repositories", codename="audit_registry"))


def _give(group_name: str, permissions: Q) -> None:
    group, _ = Group.objects.get_or_create(name=group_name)
    group.permissions.add(*Permission.objects.filter(permissions))
