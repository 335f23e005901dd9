"""The access levels and event categories, and the permissions that each of them includes."""

from typing import Any

from django.db import models


class Category(models.TextChoices):
    """The categories of events.

    Every category except ACCOUNT and SYSTEM has its own permission, which can be granted separately.
    Only MSR admins and auditors can see SYSTEM events and all users' ACCOUNT events. Other users can see only
    their own ACCOUNT events.
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
        """The permission to see this category's events in a repository. ACCOUNT and SYSTEM have none."""
        return f"view_{self.value}_events"


class Level(models.TextChoices):
    """The levels that can be granted to users and teams. The value is the permission's codename."""

    READ = "level_read", "read"
    READ_WRITE = "level_read_write", "read-write"
    ADMIN = "level_admin", "admin"


REPOSITORY_CATEGORIES = [
    category for category in Category if category not in (Category.ACCOUNT, Category.SYSTEM)
]

VIEW_UNKNOWN_EVENTS = "view_unknown_events"
"""The permission to see events of unknown kinds. Admin is the only level that includes it."""

VIEW_DETAILS = "view_details"
"""The permission to see what identifies clients and nodes in the details of events.

Admin is the only level that includes it.
"""

VIEW_POLICIES = "view_policies"

READ_PERMISSIONS = frozenset({"pull", VIEW_UNKNOWN_EVENTS})
"""A viewer with at least one of these permissions can see more of a repository than its name.

Every level and the auditor role include at least one of these permissions.
"""

READ_CATEGORIES = [Category.PUSH, Category.SCAN, Category.DELETE, Category.CREATE_REPO]
_READ = frozenset({"pull", *(category.permission for category in READ_CATEGORIES)})
_READ_WRITE = _READ | {"push", "start_scan", "delete_tags"}
CATEGORY_PERMISSIONS = frozenset(category.permission for category in REPOSITORY_CATEGORIES)
AUDITOR_PERMISSIONS = CATEGORY_PERMISSIONS | {VIEW_UNKNOWN_EVENTS, VIEW_DETAILS, VIEW_POLICIES}
ALL_PERMISSIONS = _READ_WRITE | AUDITOR_PERMISSIONS | {"edit", "manage_access", "delete", "edit_policies"}
PERMISSIONS_BY_LEVEL: dict[str, frozenset[str]] = {
    Level.READ: _READ,
    Level.READ_WRITE: _READ_WRITE,
    Level.ADMIN: ALL_PERMISSIONS,
}

REGISTRY_ROLES: dict[str, frozenset[str]] = {
    "administer_registry": ALL_PERMISSIONS,
    "audit_registry": AUDITOR_PERMISSIONS,
}
"""The permissions of MSR admins and auditors on every repository, keyed by the role's codename."""

GRANTABLE: list[tuple[str, Any]] = [
    *((level.value, f"Access level {level.label}") for level in Level),
    *(
        (category.permission, f"Can view {category.label.lower()} events")
        for category in REPOSITORY_CATEGORIES
    ),
]
"""The permissions that can be granted on repositories and namespaces, in `Meta.permissions` format."""

LABELS: dict[str, str] = {
    **{level.value: str(level.label) for level in Level},
    "administer_registry": "MSR admin",
    "audit_registry": "security auditor",
    **{category.permission: f"{category.label.lower()} events" for category in REPOSITORY_CATEGORIES},
}
"""The display names of levels, registry roles, and the permissions for categories, keyed by codename."""


def expand(codename: str) -> frozenset[str]:
    """Return the permissions that a codename includes. A codename that can't be granted includes none."""
    return PERMISSIONS_BY_LEVEL.get(codename, CATEGORY_PERMISSIONS & {codename})
