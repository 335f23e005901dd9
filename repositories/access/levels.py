"""The access levels and event categories, and the permissions that each of them includes."""

from typing import Any

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from repositories.utils.text import untranslated


class Category(models.TextChoices):
    """The categories of events.

    Every category except ACCOUNT and SYSTEM has its own permission, which can be granted separately.
    Only MSR admins and auditors can see SYSTEM events and all users' ACCOUNT events. Other users can see only
    their own ACCOUNT events.
    """

    PUSH = "push", _("Push")
    SCAN = "scan", _("Scan")
    DELETE = "delete", _("Delete")
    CREATE_REPO = "create_repo", _("Create repo")
    PROMOTION = "promotion", _("Promotion")
    PULL = "pull", _("Pull")
    MIRROR = "mirror", _("Mirror")
    PRUNING = "pruning", _("Pruning")
    ACCESS = "access", _("Access")
    ACCOUNT = "account", _("Account")
    SYSTEM = "system", _("System")

    @property
    def permission(self) -> str:
        """The permission to see this category's events in a repository. ACCOUNT and SYSTEM have none."""
        return f"view_{self.value}_events"


class Level(models.TextChoices):
    """The levels that can be granted to users and teams. The value is the permission's codename."""

    READ = "level_read", _("read")
    READ_WRITE = "level_read_write", _("read-write")
    ADMIN = "level_admin", _("admin")


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

GRANTABLE_CHOICES: list[tuple[str, Promise]] = [
    (Level.READ.value, _("Access level read")),
    (Level.READ_WRITE.value, _("Access level read-write")),
    (Level.ADMIN.value, _("Access level admin")),
    (Category.PUSH.permission, _("Can view push events")),
    (Category.SCAN.permission, _("Can view scan events")),
    (Category.DELETE.permission, _("Can view delete events")),
    (Category.CREATE_REPO.permission, _("Can view create repo events")),
    (Category.PROMOTION.permission, _("Can view promotion events")),
    (Category.PULL.permission, _("Can view pull events")),
    (Category.MIRROR.permission, _("Can view mirror events")),
    (Category.PRUNING.permission, _("Can view pruning events")),
    (Category.ACCESS.permission, _("Can view access events")),
]
"""The permissions that can be granted on repositories and namespaces, with their labels in forms."""

GRANTABLE: list[tuple[str, Any]] = [(codename, untranslated(label)) for codename, label in GRANTABLE_CHOICES]
"""The same permissions in `Meta.permissions` format. The database stores their names in English."""

LABELS: dict[str, str | Promise] = {
    **{level.value: level.label for level in Level},
    "administer_registry": _("MSR admin"),
    "audit_registry": _("security auditor"),
    Category.PUSH.permission: _("push events"),
    Category.SCAN.permission: _("scan events"),
    Category.DELETE.permission: _("delete events"),
    Category.CREATE_REPO.permission: _("create repo events"),
    Category.PROMOTION.permission: _("promotion events"),
    Category.PULL.permission: _("pull events"),
    Category.MIRROR.permission: _("mirror events"),
    Category.PRUNING.permission: _("pruning events"),
    Category.ACCESS.permission: _("access events"),
}
"""The display names of levels, registry roles, and the permissions for categories, keyed by codename."""


def expand(codename: str) -> frozenset[str]:
    """Return the permissions that a codename includes. A codename that can't be granted includes none."""
    return PERMISSIONS_BY_LEVEL.get(codename, CATEGORY_PERMISSIONS & {codename})
