"""The catalogue of event kinds, with the number, label, type and category of each.

To add a kind, add a line with a new number to `KINDS`. Pages, filters, the API and the admin then include it.
"""

from __future__ import annotations

from collections.abc import Collection
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

    number: int
    """The number of the kind in the database. It is never changed or given to another kind."""
    key: str
    """The identifier of the kind in searches, exports and archives."""
    label: str
    type: Type
    category: Category
    requires: tuple[str, ...] = ()
    """The fields, if any, that an event of this kind must have: `tag` or `digest`."""
    is_permanent: bool = False
    """Whether events of this kind are never deleted. These are the events about deletion itself."""


VERBS = ("create", "update", "delete")


def _kinds(number: int, noun: str, category: Category, *verbs: str, is_permanent: bool = False) -> list[Kind]:
    """Return a kind for each verb, for example `create_team` with the label Create Team.

    Three numbers are reserved for each noun: `number` for `create`, and the next ones for the other verbs.
    """
    return [
        Kind(
            number + VERBS.index(verb),
            f"{verb}_{noun}",
            f"{verb}_{noun}".replace("_", " ").title(),
            Type[verb.upper()],
            category,
            is_permanent=is_permanent,
        )
        for verb in verbs or VERBS
    ]


FAILED_LOGIN = "create_session_failed"


KINDS: dict[str, Kind] = {
    kind.key: kind
    for kind in [
        Kind(1, "create_repository", "Create Repository", Type.CREATE, Category.CREATE_REPO),
        Kind(2, "create_manifest", "Create Manifest", Type.CREATE, Category.PUSH, ("digest",)),
        Kind(3, "create_tag", "Create Tag", Type.CREATE, Category.PUSH, ("tag",)),
        Kind(4, "update_tag", "Update Tag", Type.UPDATE, Category.PUSH, ("tag",)),
        Kind(5, "get_manifest", "Get Manifest", Type.GET, Category.PULL, ("digest",)),
        Kind(6, "get_tag", "Get Tag", Type.GET, Category.PULL, ("tag",)),
        Kind(7, "delete_manifest", "Delete Manifest", Type.DELETE, Category.DELETE, ("digest",)),
        Kind(8, "delete_tag", "Delete Tag", Type.DELETE, Category.DELETE, ("tag",)),
        Kind(9, "delete_repository", "Delete Repository", Type.DELETE, Category.DELETE),
        Kind(10, "scan", "Scan", Type.SCAN, Category.SCAN),
        Kind(11, "scan_failed", "Scan Failed", Type.FAIL, Category.SCAN),
        Kind(12, "promote", "Promotion", Type.CREATE, Category.PROMOTION, ("tag",)),
        Kind(13, "promote_failed", "Promotion Failed", Type.FAIL, Category.PROMOTION),
        *_kinds(100, "promotion_policy", Category.PROMOTION),
        Kind(14, "push_mirror", "Push Mirror", Type.SEND, Category.MIRROR),
        Kind(15, "push_mirror_failed", "Push Mirror Failed", Type.FAIL, Category.MIRROR),
        Kind(16, "pull_mirror", "Pull Mirror", Type.UPDATE, Category.MIRROR),
        Kind(17, "pull_mirror_failed", "Pull Mirror Failed", Type.FAIL, Category.MIRROR),
        *_kinds(103, "push_mirroring_policy", Category.MIRROR),
        *_kinds(106, "pull_mirroring_policy", Category.MIRROR),
        *_kinds(109, "pruning_policy", Category.PRUNING),
        *_kinds(112, "grant", Category.ACCESS),
        *_kinds(115, "team", Category.ACCESS),
        *_kinds(118, "team_member", Category.ACCESS, "create", "delete"),
        *_kinds(121, "organization", Category.ACCESS),
        *_kinds(124, "organization_member", Category.ACCESS),
        *_kinds(127, "namespace", Category.ACCESS),
        *_kinds(130, "visibility", Category.ACCESS, "update"),
        *_kinds(133, "description", Category.ACCESS, "update"),
        *_kinds(136, "hold", Category.ACCESS, is_permanent=True),
        *_kinds(139, "session", Category.ACCOUNT, "create", "delete"),
        Kind(18, FAILED_LOGIN, "Create Session Failed", Type.FAIL, Category.ACCOUNT),
        *_kinds(142, "user", Category.ACCOUNT),
        *_kinds(145, "password", Category.ACCOUNT, "update"),
        *_kinds(148, "profile", Category.ACCOUNT, "update"),
        *_kinds(151, "token", Category.ACCOUNT),
        *_kinds(154, "group", Category.ACCOUNT),
        *_kinds(157, "group_member", Category.ACCOUNT, "create", "delete"),
        *_kinds(160, "registry_settings", Category.SYSTEM, "update"),
        *_kinds(163, "registry", Category.SYSTEM, "update", "delete"),
        Kind(19, "start_registry_node", "Start Registry Node", Type.CREATE, Category.SYSTEM),
        *_kinds(166, "auto_deletion", Category.SYSTEM, "update", is_permanent=True),
        *_kinds(169, "deletion_rule", Category.SYSTEM, is_permanent=True),
        *_kinds(172, "deletion_run", Category.SYSTEM, "create", is_permanent=True),
        *_kinds(175, "deletion_preview", Category.SYSTEM, "create", is_permanent=True),
        Kind(
            20,
            "cancel_deletion_change",
            "Cancel Deletion Change",
            Type.UPDATE,
            Category.SYSTEM,
            is_permanent=True,
        ),
        Kind(21, "stop_deletion", "Stop Deletion", Type.UPDATE, Category.SYSTEM, is_permanent=True),
        Kind(22, "delete_events", "Delete Events", Type.DELETE, Category.SYSTEM, is_permanent=True),
        Kind(
            30, "delete_events_failed", "Delete Events Failed", Type.FAIL, Category.SYSTEM, is_permanent=True
        ),
        Kind(31, "trust_clock", "Trust Clock", Type.UPDATE, Category.SYSTEM, is_permanent=True),
        *_kinds(178, "dispute", Category.SYSTEM, "create", is_permanent=True),
        Kind(23, "lift_dispute", "Lift Dispute", Type.DELETE, Category.SYSTEM, is_permanent=True),
        *_kinds(181, "periodic_task", Category.SYSTEM),
        Kind(24, "run_periodic_task", "Run Periodic Task", Type.UPDATE, Category.SYSTEM),
        *_kinds(184, "schedule", Category.SYSTEM),
        Kind(25, "export_events", "Export Events", Type.GET, Category.SYSTEM),
        Kind(26, "import_events", "Import Events", Type.CREATE, Category.SYSTEM, is_permanent=True),
        Kind(
            32, "import_events_failed", "Import Events Failed", Type.FAIL, Category.SYSTEM, is_permanent=True
        ),
        Kind(27, "release_import", "Release Import", Type.UPDATE, Category.SYSTEM, is_permanent=True),
        Kind(28, "replay_messages", "Replay Messages", Type.UPDATE, Category.SYSTEM),
        Kind(29, "dismiss_messages", "Dismiss Messages", Type.UPDATE, Category.SYSTEM),
    ]
}


OWN_CATEGORIES = frozenset({Category.ACCESS, Category.ACCOUNT, Category.SYSTEM})
"""The categories for actions in this application. Only the application can record events in them."""

PERMANENT_KINDS = sorted(key for key, kind in KINDS.items() if kind.is_permanent)

REPOSITORY_KINDS = {key: kind for key, kind in KINDS.items() if kind.category not in OWN_CATEGORIES}
"""The kinds of repository events. Producers can send events of these kinds."""


UNKNOWN = "unknown"
"""The category of events of kinds that aren't in the catalogue. Only admins can see these events."""
CATEGORY_NUMBERS = {
    UNKNOWN: 0,
    Category.PUSH.value: 1,
    Category.SCAN.value: 2,
    Category.DELETE.value: 3,
    Category.CREATE_REPO.value: 4,
    Category.PROMOTION.value: 5,
    Category.PULL.value: 6,
    Category.MIRROR.value: 7,
    Category.PRUNING.value: 8,
    Category.ACCESS.value: 9,
    Category.ACCOUNT.value: 10,
    Category.SYSTEM.value: 11,
}
"""The numbers of the categories in the database. They are never changed or given to other categories."""


def kinds_of(categories: Collection[str]) -> list[Kind]:
    """Return the kinds in these categories."""
    return [kind for kind in KINDS.values() if kind.category.value in categories]


def category_of(key: str) -> str:
    """Return the category of a kind."""
    return KINDS[key].category.value if key in KINDS else UNKNOWN


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
