"""What each access level allows: the one table that expands levels into permissions."""

from typing import Any

from django.db import models


class Category(models.TextChoices):
    """The categories of events.

    Those of repositories have a permission each, which can be granted alone. Of the others, ACCOUNT is for
    MSR admins and auditors, and the person's own for themselves; SYSTEM is for MSR admins and auditors.
    """

    PUSH = "push", "Push"
    SCAN = "scan", "Scan"
    DELETE = "delete", "Delete"
    CREATE_REPO = "create_repo", "Create repo"
    PROMOTION = "promotion", "Promotion"
    PULL = "pull", "Pull"
    MIRROR = "mirror", "Mirror"
    PRUNING = "pruning", "Pruning"
    ACCESS = "access", "Access"
    ACCOUNT = "account", "Account"
    SYSTEM = "system", "System"

    @property
    def permission(self) -> str:
        """The permission to see this category's events in a repository, where it is one of repositories."""
        return f"view_{self.value}_events"


class Level(models.TextChoices):
    """The levels that are granted to users and teams. The value is the permission's codename."""

    READ = "level_read", "read"
    READ_WRITE = "level_read_write", "read-write"
    ADMIN = "level_admin", "admin"


REPOSITORY_CATEGORIES = [
    category for category in Category if category not in (Category.ACCOUNT, Category.SYSTEM)
]

VIEW_UNKNOWN_EVENTS = "view_unknown_events"
"""Seeing events of kinds that the software doesn't know. Part of the admin level alone."""

VIEW_POLICIES = "view_policies"

READING = frozenset({"pull", VIEW_UNKNOWN_EVENTS})
"""One of these shows more of a repository than its name: levels have one, and auditors."""

_READ = frozenset(
    {
        "pull",
        Category.PUSH.permission,
        Category.SCAN.permission,
        Category.DELETE.permission,
        Category.CREATE_REPO.permission,
    }
)
_READ_WRITE = _READ | {"push", "start_scan", "delete_tags"}
_ADMIN = _READ_WRITE | {
    "edit",
    "manage_access",
    "delete",
    "edit_policies",
    VIEW_POLICIES,
    VIEW_UNKNOWN_EVENTS,
    Category.PROMOTION.permission,
    Category.PULL.permission,
    Category.MIRROR.permission,
    Category.PRUNING.permission,
    Category.ACCESS.permission,
}
ALLOWED_BY: dict[str, frozenset[str]] = {
    Level.READ: _READ,
    Level.READ_WRITE: _READ_WRITE,
    Level.ADMIN: _ADMIN,
}
ALL_PERMISSIONS = _ADMIN
AUDITOR_PERMISSIONS = frozenset(
    {VIEW_UNKNOWN_EVENTS, VIEW_POLICIES, *(category.permission for category in REPOSITORY_CATEGORIES)}
)

OVERSIGHT: dict[str, frozenset[str]] = {
    "administer_registry": ALL_PERMISSIONS,
    "audit_registry": AUDITOR_PERMISSIONS,
}
"""What MSR admins and auditors may do in every repository, by the permission that makes them one."""

GRANTABLE: list[tuple[str, Any]] = [
    *((level.value, f"Access level {level.label}") for level in Level),
    *(
        (category.permission, f"Can view {category.label.lower()} events")
        for category in REPOSITORY_CATEGORIES
    ),
]
"""What may be granted on a repository or a namespace, as Django's `Meta.permissions`."""


def expand(codename: str) -> frozenset[str]:
    """Return the permissions that a granted codename gives; none for one that isn't grantable."""
    if codename in ALLOWED_BY:
        return ALLOWED_BY[codename]
    return frozenset({codename}) & {category.permission for category in REPOSITORY_CATEGORIES}
