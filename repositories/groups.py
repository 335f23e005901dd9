"""The two groups of people who oversee the whole registry, made by `migrate`.

They are made after the migrations rather than by one, as Django itself makes the permissions that
they hold only then. Permissions that an operator adds to a group by hand are left alone.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from repositories import acting

MSR_ADMINS = "MSR admins"
AUDITORS = "Security auditors"

OWN_APPS = ["repositories", "activity"]
PEOPLE = Q(content_type__app_label="auth", codename__endswith="_user")
SCHEDULES = Q(content_type__app_label="django_celery_beat")
TOKENS = Q(content_type__app_label="knox")


@acting.unrecorded()
def make_groups(**_: Any) -> None:
    """Make both groups, and give them the permissions they need in the admin. Idempotent."""
    own = Q(content_type__app_label__in=OWN_APPS)
    views = own & (Q(codename__startswith="view_") | Q(codename="audit_registry"))
    _give(MSR_ADMINS, own | PEOPLE | SCHEDULES | TOKENS)
    _give(AUDITORS, views | (PEOPLE & Q(codename__startswith="view_")))


def _give(group_name: str, permissions: Q) -> None:
    group, _ = Group.objects.get_or_create(name=group_name)
    group.permissions.add(*Permission.objects.filter(permissions))
