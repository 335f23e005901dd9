"""The catalogue of event kinds, with the number, label, type and category of each.

To add a kind, add a line with a new number to `KINDS`. Pages, filters, the API and the admin then include it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db import models
from django.utils.functional import Promise, cached_property
from django.utils.translation import gettext_lazy as _

from repositories.access.levels import Category
from repositories.utils.text import untranslated


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
    label: Promise
    type: Type
    category: Category
    requires: tuple[str, ...] = ()
    """The fields, if any, that an event of this kind must have: `tag` or `digest`."""
    is_permanent: bool = False
    """Whether events of this kind are never deleted. These are the events about deletion itself."""

    @cached_property
    def english_label(self) -> str:
        """The label in searches, exports and the API, which are the same in every language."""
        return untranslated(self.label)


VERBS = ("create", "update", "delete")


def _kinds(
    number: int, noun: str, category: Category, is_permanent: bool = False, **labels: Promise
) -> list[Kind]:
    """Return a kind for each verb that has a label, for example `create_team` for `create`.

    Three numbers are reserved for each noun: `number` for `create`, and the next ones for the other verbs.
    """
    return [
        Kind(
            number + VERBS.index(verb),
            f"{verb}_{noun}",
            label,
            Type[verb.upper()],
            category,
            is_permanent=is_permanent,
        )
        for verb, label in labels.items()
    ]


FAILED_LOGIN = "create_session_failed"


KINDS: dict[str, Kind] = {
    kind.key: kind
    for kind in [
        Kind(1, "create_repository", _("Create Repository"), Type.CREATE, Category.CREATE_REPO),
        Kind(2, "create_manifest", _("Create Manifest"), Type.CREATE, Category.PUSH, ("digest",)),
        Kind(3, "create_tag", _("Create Tag"), Type.CREATE, Category.PUSH, ("tag",)),
        Kind(4, "update_tag", _("Update Tag"), Type.UPDATE, Category.PUSH, ("tag",)),
        Kind(5, "get_manifest", _("Get Manifest"), Type.GET, Category.PULL, ("digest",)),
        Kind(6, "get_tag", _("Get Tag"), Type.GET, Category.PULL, ("tag",)),
        Kind(7, "delete_manifest", _("Delete Manifest"), Type.DELETE, Category.DELETE, ("digest",)),
        Kind(8, "delete_tag", _("Delete Tag"), Type.DELETE, Category.DELETE, ("tag",)),
        Kind(9, "delete_repository", _("Delete Repository"), Type.DELETE, Category.DELETE),
        Kind(10, "scan", _("Scan"), Type.SCAN, Category.SCAN),
        Kind(11, "scan_failed", _("Scan Failed"), Type.FAIL, Category.SCAN),
        Kind(12, "promote", _("Promotion"), Type.CREATE, Category.PROMOTION, ("tag",)),
        Kind(13, "promote_failed", _("Promotion Failed"), Type.FAIL, Category.PROMOTION),
        *_kinds(
            100,
            "promotion_policy",
            Category.PROMOTION,
            create=_("Create Promotion Policy"),
            update=_("Update Promotion Policy"),
            delete=_("Delete Promotion Policy"),
        ),
        Kind(14, "push_mirror", _("Push Mirror"), Type.SEND, Category.MIRROR),
        Kind(15, "push_mirror_failed", _("Push Mirror Failed"), Type.FAIL, Category.MIRROR),
        Kind(16, "pull_mirror", _("Pull Mirror"), Type.UPDATE, Category.MIRROR),
        Kind(17, "pull_mirror_failed", _("Pull Mirror Failed"), Type.FAIL, Category.MIRROR),
        *_kinds(
            103,
            "push_mirroring_policy",
            Category.MIRROR,
            create=_("Create Push Mirroring Policy"),
            update=_("Update Push Mirroring Policy"),
            delete=_("Delete Push Mirroring Policy"),
        ),
        *_kinds(
            106,
            "pull_mirroring_policy",
            Category.MIRROR,
            create=_("Create Pull Mirroring Policy"),
            update=_("Update Pull Mirroring Policy"),
            delete=_("Delete Pull Mirroring Policy"),
        ),
        *_kinds(
            109,
            "pruning_policy",
            Category.PRUNING,
            create=_("Create Pruning Policy"),
            update=_("Update Pruning Policy"),
            delete=_("Delete Pruning Policy"),
        ),
        *_kinds(
            112,
            "grant",
            Category.ACCESS,
            create=_("Create Grant"),
            update=_("Update Grant"),
            delete=_("Delete Grant"),
        ),
        *_kinds(
            115,
            "team",
            Category.ACCESS,
            create=_("Create Team"),
            update=_("Update Team"),
            delete=_("Delete Team"),
        ),
        *_kinds(
            118,
            "team_member",
            Category.ACCESS,
            create=_("Create Team Member"),
            delete=_("Delete Team Member"),
        ),
        *_kinds(
            121,
            "organization",
            Category.ACCESS,
            create=_("Create Organization"),
            update=_("Update Organization"),
            delete=_("Delete Organization"),
        ),
        *_kinds(
            124,
            "organization_member",
            Category.ACCESS,
            create=_("Create Organization Member"),
            update=_("Update Organization Member"),
            delete=_("Delete Organization Member"),
        ),
        *_kinds(
            127,
            "namespace",
            Category.ACCESS,
            create=_("Create Namespace"),
            update=_("Update Namespace"),
            delete=_("Delete Namespace"),
        ),
        *_kinds(130, "visibility", Category.ACCESS, update=_("Update Visibility")),
        *_kinds(133, "description", Category.ACCESS, update=_("Update Description")),
        *_kinds(
            136,
            "hold",
            Category.ACCESS,
            is_permanent=True,
            create=_("Create Hold"),
            update=_("Update Hold"),
            delete=_("Delete Hold"),
        ),
        *_kinds(139, "session", Category.ACCOUNT, create=_("Create Session"), delete=_("Delete Session")),
        Kind(18, FAILED_LOGIN, _("Create Session Failed"), Type.FAIL, Category.ACCOUNT),
        *_kinds(
            142,
            "user",
            Category.ACCOUNT,
            create=_("Create User"),
            update=_("Update User"),
            delete=_("Delete User"),
        ),
        *_kinds(145, "password", Category.ACCOUNT, update=_("Update Password")),
        *_kinds(148, "profile", Category.ACCOUNT, update=_("Update Profile")),
        *_kinds(
            151,
            "token",
            Category.ACCOUNT,
            create=_("Create Token"),
            update=_("Update Token"),
            delete=_("Delete Token"),
        ),
        *_kinds(
            154,
            "group",
            Category.ACCOUNT,
            create=_("Create Group"),
            update=_("Update Group"),
            delete=_("Delete Group"),
        ),
        *_kinds(
            157,
            "group_member",
            Category.ACCOUNT,
            create=_("Create Group Member"),
            delete=_("Delete Group Member"),
        ),
        *_kinds(160, "registry_settings", Category.SYSTEM, update=_("Update Registry Settings")),
        *_kinds(163, "registry", Category.SYSTEM, update=_("Update Registry"), delete=_("Delete Registry")),
        Kind(19, "start_registry_node", _("Start Registry Node"), Type.CREATE, Category.SYSTEM),
        *_kinds(166, "auto_deletion", Category.SYSTEM, is_permanent=True, update=_("Update Auto Deletion")),
        *_kinds(
            169,
            "deletion_rule",
            Category.SYSTEM,
            is_permanent=True,
            create=_("Create Deletion Rule"),
            update=_("Update Deletion Rule"),
            delete=_("Delete Deletion Rule"),
        ),
        *_kinds(172, "deletion_run", Category.SYSTEM, is_permanent=True, create=_("Create Deletion Run")),
        *_kinds(
            175, "deletion_preview", Category.SYSTEM, is_permanent=True, create=_("Create Deletion Preview")
        ),
        Kind(
            20,
            "cancel_deletion_change",
            _("Cancel Deletion Change"),
            Type.UPDATE,
            Category.SYSTEM,
            is_permanent=True,
        ),
        Kind(21, "stop_deletion", _("Stop Deletion"), Type.UPDATE, Category.SYSTEM, is_permanent=True),
        Kind(22, "delete_events", _("Delete Events"), Type.DELETE, Category.SYSTEM, is_permanent=True),
        Kind(
            30,
            "delete_events_failed",
            _("Delete Events Failed"),
            Type.FAIL,
            Category.SYSTEM,
            is_permanent=True,
        ),
        Kind(31, "trust_clock", _("Trust Clock"), Type.UPDATE, Category.SYSTEM, is_permanent=True),
        *_kinds(178, "dispute", Category.SYSTEM, is_permanent=True, create=_("Create Dispute")),
        Kind(23, "lift_dispute", _("Lift Dispute"), Type.DELETE, Category.SYSTEM, is_permanent=True),
        *_kinds(
            181,
            "periodic_task",
            Category.SYSTEM,
            create=_("Create Periodic Task"),
            update=_("Update Periodic Task"),
            delete=_("Delete Periodic Task"),
        ),
        Kind(24, "run_periodic_task", _("Run Periodic Task"), Type.UPDATE, Category.SYSTEM),
        *_kinds(
            184,
            "schedule",
            Category.SYSTEM,
            create=_("Create Schedule"),
            update=_("Update Schedule"),
            delete=_("Delete Schedule"),
        ),
        Kind(25, "export_events", _("Export Events"), Type.GET, Category.SYSTEM),
        Kind(26, "import_events", _("Import Events"), Type.CREATE, Category.SYSTEM, is_permanent=True),
        Kind(
            32,
            "import_events_failed",
            _("Import Events Failed"),
            Type.FAIL,
            Category.SYSTEM,
            is_permanent=True,
        ),
        Kind(27, "release_import", _("Release Import"), Type.UPDATE, Category.SYSTEM, is_permanent=True),
        Kind(28, "replay_messages", _("Replay Messages"), Type.UPDATE, Category.SYSTEM),
        Kind(29, "dismiss_messages", _("Dismiss Messages"), Type.UPDATE, Category.SYSTEM),
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
    """Return the label of a kind in the current language, or its key if the kind is unknown."""
    return str(KINDS[key].label) if key in KINDS else key


def english_label_of(key: str) -> str:
    """Return the label of a kind in English, or its key if the kind is unknown."""
    return KINDS[key].english_label if key in KINDS else key


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
