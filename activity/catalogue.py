"""The catalogue of event kinds, with the label, type and category of each.

To add a kind, add a line to `KINDS`. Pages, filters, the API and the admin then include it.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models

from repositories.access.levels import Category


class Type(models.TextChoices):
    """The type of an event, in the terminology of registries."""

    CREATE = "CREATE", "CREATE"
    GET = "GET", "GET"
    UPDATE = "UPDATE", "UPDATE"
    DELETE = "DELETE", "DELETE"
    SEND = "SEND", "SEND"
    FAIL = "FAIL", "FAIL"
    SCAN = "SCAN", "SCAN"


@dataclass(frozen=True)
class Kind:
    """A kind of event."""

    key: str
    """The identifier of the kind in the database and in the events API."""
    label: str
    type: Type
    category: Category
    requires: tuple[str, ...] = ()
    """The fields, if any, that an event of this kind must have: `tag` or `digest`."""
    is_permanent: bool = False
    """Whether events of this kind are never deleted. These are the events about deletion itself."""


def _kinds(
    noun: str, category: Category, verbs: str = "create update delete", *, is_permanent: bool = False
) -> list[Kind]:
    """Return a kind for each verb, for example `create_team` with the label Create Team."""
    return [
        Kind(
            f"{verb}_{noun}",
            f"{verb}_{noun}".replace("_", " ").title(),
            Type[verb.upper()],
            category,
            is_permanent=is_permanent,
        )
        for verb in verbs.split()
    ]


FAILED_LOGIN = "create_session_failed"


KINDS: dict[str, Kind] = {
    kind.key: kind
    for kind in [
        Kind("create_repository", "Create Repository", Type.CREATE, Category.CREATE_REPO),
        Kind("create_manifest", "Create Manifest", Type.CREATE, Category.PUSH, ("digest",)),
        Kind("create_tag", "Create Tag", Type.CREATE, Category.PUSH, ("tag",)),
        Kind("update_tag", "Update Tag", Type.UPDATE, Category.PUSH, ("tag",)),
        Kind("get_manifest", "Get Manifest", Type.GET, Category.PULL, ("digest",)),
        Kind("get_tag", "Get Tag", Type.GET, Category.PULL, ("tag",)),
        Kind("delete_manifest", "Delete Manifest", Type.DELETE, Category.DELETE, ("digest",)),
        Kind("delete_tag", "Delete Tag", Type.DELETE, Category.DELETE, ("tag",)),
        Kind("delete_repository", "Delete Repository", Type.DELETE, Category.DELETE),
        Kind("scan", "Scan", Type.SCAN, Category.SCAN),
        Kind("scan_failed", "Scan Failed", Type.FAIL, Category.SCAN),
        Kind("promote", "Promotion", Type.CREATE, Category.PROMOTION, ("tag",)),
        Kind("promote_failed", "Promotion Failed", Type.FAIL, Category.PROMOTION),
        *_kinds("promotion_policy", Category.PROMOTION),
        Kind("push_mirror", "Push Mirror", Type.SEND, Category.MIRROR),
        Kind("push_mirror_failed", "Push Mirror Failed", Type.FAIL, Category.MIRROR),
        Kind("pull_mirror", "Pull Mirror", Type.UPDATE, Category.MIRROR),
        Kind("pull_mirror_failed", "Pull Mirror Failed", Type.FAIL, Category.MIRROR),
        *_kinds("push_mirroring_policy", Category.MIRROR),
        *_kinds("pull_mirroring_policy", Category.MIRROR),
        *_kinds("pruning_policy", Category.PRUNING),
        *_kinds("grant", Category.ACCESS),
        *_kinds("team", Category.ACCESS),
        *_kinds("team_member", Category.ACCESS, "create delete"),
        *_kinds("organization", Category.ACCESS),
        *_kinds("organization_member", Category.ACCESS),
        *_kinds("namespace", Category.ACCESS),
        *_kinds("visibility", Category.ACCESS, "update"),
        *_kinds("description", Category.ACCESS, "update"),
        *_kinds("hold", Category.ACCESS, is_permanent=True),
        *_kinds("session", Category.ACCOUNT, "create delete"),
        Kind(FAILED_LOGIN, "Create Session Failed", Type.FAIL, Category.ACCOUNT),
        *_kinds("user", Category.ACCOUNT),
        *_kinds("password", Category.ACCOUNT, "update"),
        *_kinds("profile", Category.ACCOUNT, "update"),
        *_kinds("token", Category.ACCOUNT),
        *_kinds("group", Category.ACCOUNT),
        *_kinds("group_member", Category.ACCOUNT, "create delete"),
        *_kinds("registry_settings", Category.SYSTEM, "update"),
        *_kinds("registry", Category.SYSTEM, "update delete"),
        Kind("start_registry_node", "Start Registry Node", Type.CREATE, Category.SYSTEM),
        *_kinds("auto_deletion", Category.SYSTEM, "update", is_permanent=True),
        *_kinds("deletion_rule", Category.SYSTEM, is_permanent=True),
        *_kinds("deletion_run", Category.SYSTEM, "create", is_permanent=True),
        *_kinds("deletion_preview", Category.SYSTEM, "create", is_permanent=True),
        Kind(
            "cancel_deletion_change",
            "Cancel Deletion Change",
            Type.UPDATE,
            Category.SYSTEM,
            is_permanent=True,
        ),
        Kind("stop_deletion", "Stop Deletion", Type.UPDATE, Category.SYSTEM, is_permanent=True),
        Kind("delete_events", "Delete Events", Type.DELETE, Category.SYSTEM, is_permanent=True),
        *_kinds("dispute", Category.SYSTEM, "create", is_permanent=True),
        Kind("lift_dispute", "Lift Dispute", Type.DELETE, Category.SYSTEM, is_permanent=True),
        *_kinds("periodic_task", Category.SYSTEM),
        Kind("run_periodic_task", "Run Periodic Task", Type.UPDATE, Category.SYSTEM),
        *_kinds("schedule", Category.SYSTEM),
        Kind("export_events", "Export Events", Type.GET, Category.SYSTEM),
        Kind("import_events", "Import Events", Type.CREATE, Category.SYSTEM, is_permanent=True),
        Kind("release_import", "Release Import", Type.UPDATE, Category.SYSTEM, is_permanent=True),
        Kind("replay_messages", "Replay Messages", Type.UPDATE, Category.SYSTEM),
        Kind("dismiss_messages", "Dismiss Messages", Type.UPDATE, Category.SYSTEM),
    ]
}


OWN_CATEGORIES = frozenset({Category.ACCESS, Category.ACCOUNT, Category.SYSTEM})
"""The categories for actions in this application. Only the application can record events in them."""

PERMANENT_KINDS = sorted(key for key, kind in KINDS.items() if kind.is_permanent)

REPOSITORY_KINDS = {key: kind for key, kind in KINDS.items() if kind.category not in OWN_CATEGORIES}
"""The kinds of repository events. Producers can send events of these kinds."""


def label_of(key: str) -> str:
    """Return the label of a kind, or its key if the kind is unknown."""
    return KINDS[key].label if key in KINDS else key


def type_of(key: str) -> str:
    """Return the type of a kind, or an empty string if the kind is unknown."""
    return KINDS[key].type.value if key in KINDS else ""


def offered_categories(scanning_enabled: bool, sees_system: bool = True) -> list[Category]:
    """Return the categories to offer in filters.

    SCAN is included only if scanning is enabled, and SYSTEM only if the viewer can see system events.
    """
    excluded = set() if scanning_enabled else {Category.SCAN}
    if not sees_system:
        excluded.add(Category.SYSTEM)
    return [category for category in Category if category not in excluded]


def offered_types(scanning_enabled: bool, sees_system: bool = True) -> list[Type]:
    """Return the types to offer in filters: all types of events in the offered categories."""
    categories = offered_categories(scanning_enabled, sees_system)
    return [t for t in Type if any(kind.type == t and kind.category in categories for kind in KINDS.values())]
