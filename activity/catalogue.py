"""The catalogue of event kinds, with the number, label, type and category of each.

To add a kind, add a line with a new number. Pages, filters, the API and the admin then include it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

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


FAILED_LOGIN = "create_session_failed"
Permanent = partial(Kind, is_permanent=True)

_KINDS = [
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
    Kind(100, "create_promotion_policy", _("Create Promotion Policy"), Type.CREATE, Category.PROMOTION),
    Kind(101, "update_promotion_policy", _("Update Promotion Policy"), Type.UPDATE, Category.PROMOTION),
    Kind(102, "delete_promotion_policy", _("Delete Promotion Policy"), Type.DELETE, Category.PROMOTION),
    Kind(14, "push_mirror", _("Push Mirror"), Type.SEND, Category.MIRROR),
    Kind(15, "push_mirror_failed", _("Push Mirror Failed"), Type.FAIL, Category.MIRROR),
    Kind(16, "pull_mirror", _("Pull Mirror"), Type.UPDATE, Category.MIRROR),
    Kind(17, "pull_mirror_failed", _("Pull Mirror Failed"), Type.FAIL, Category.MIRROR),
    Kind(
        103, "create_push_mirroring_policy", _("Create Push Mirroring Policy"), Type.CREATE, Category.MIRROR
    ),
    Kind(
        104, "update_push_mirroring_policy", _("Update Push Mirroring Policy"), Type.UPDATE, Category.MIRROR
    ),
    Kind(
        105, "delete_push_mirroring_policy", _("Delete Push Mirroring Policy"), Type.DELETE, Category.MIRROR
    ),
    Kind(
        106, "create_pull_mirroring_policy", _("Create Pull Mirroring Policy"), Type.CREATE, Category.MIRROR
    ),
    Kind(
        107, "update_pull_mirroring_policy", _("Update Pull Mirroring Policy"), Type.UPDATE, Category.MIRROR
    ),
    Kind(
        108, "delete_pull_mirroring_policy", _("Delete Pull Mirroring Policy"), Type.DELETE, Category.MIRROR
    ),
    Kind(109, "create_pruning_policy", _("Create Pruning Policy"), Type.CREATE, Category.PRUNING),
    Kind(110, "update_pruning_policy", _("Update Pruning Policy"), Type.UPDATE, Category.PRUNING),
    Kind(111, "delete_pruning_policy", _("Delete Pruning Policy"), Type.DELETE, Category.PRUNING),
    Kind(112, "create_grant", _("Create Grant"), Type.CREATE, Category.ACCESS),
    Kind(113, "update_grant", _("Update Grant"), Type.UPDATE, Category.ACCESS),
    Kind(114, "delete_grant", _("Delete Grant"), Type.DELETE, Category.ACCESS),
    Kind(115, "create_team", _("Create Team"), Type.CREATE, Category.ACCESS),
    Kind(116, "update_team", _("Update Team"), Type.UPDATE, Category.ACCESS),
    Kind(117, "delete_team", _("Delete Team"), Type.DELETE, Category.ACCESS),
    Kind(118, "create_team_member", _("Create Team Member"), Type.CREATE, Category.ACCESS),
    Kind(120, "delete_team_member", _("Delete Team Member"), Type.DELETE, Category.ACCESS),
    Kind(121, "create_organization", _("Create Organization"), Type.CREATE, Category.ACCESS),
    Kind(122, "update_organization", _("Update Organization"), Type.UPDATE, Category.ACCESS),
    Kind(123, "delete_organization", _("Delete Organization"), Type.DELETE, Category.ACCESS),
    Kind(124, "create_organization_member", _("Create Organization Member"), Type.CREATE, Category.ACCESS),
    Kind(125, "update_organization_member", _("Update Organization Member"), Type.UPDATE, Category.ACCESS),
    Kind(126, "delete_organization_member", _("Delete Organization Member"), Type.DELETE, Category.ACCESS),
    Kind(127, "create_namespace", _("Create Namespace"), Type.CREATE, Category.ACCESS),
    Kind(128, "update_namespace", _("Update Namespace"), Type.UPDATE, Category.ACCESS),
    Kind(129, "delete_namespace", _("Delete Namespace"), Type.DELETE, Category.ACCESS),
    Kind(131, "update_visibility", _("Update Visibility"), Type.UPDATE, Category.ACCESS),
    Kind(134, "update_description", _("Update Description"), Type.UPDATE, Category.ACCESS),
    Permanent(136, "create_hold", _("Create Hold"), Type.CREATE, Category.ACCESS),
    Permanent(137, "update_hold", _("Update Hold"), Type.UPDATE, Category.ACCESS),
    Permanent(138, "delete_hold", _("Delete Hold"), Type.DELETE, Category.ACCESS),
    Kind(139, "create_session", _("Create Session"), Type.CREATE, Category.ACCOUNT),
    Kind(141, "delete_session", _("Delete Session"), Type.DELETE, Category.ACCOUNT),
    Kind(18, FAILED_LOGIN, _("Create Session Failed"), Type.FAIL, Category.ACCOUNT),
    Kind(142, "create_user", _("Create User"), Type.CREATE, Category.ACCOUNT),
    Kind(143, "update_user", _("Update User"), Type.UPDATE, Category.ACCOUNT),
    Kind(144, "delete_user", _("Delete User"), Type.DELETE, Category.ACCOUNT),
    Kind(146, "update_password", _("Update Password"), Type.UPDATE, Category.ACCOUNT),
    Kind(149, "update_profile", _("Update Profile"), Type.UPDATE, Category.ACCOUNT),
    Kind(151, "create_token", _("Create Token"), Type.CREATE, Category.ACCOUNT),
    Kind(152, "update_token", _("Update Token"), Type.UPDATE, Category.ACCOUNT),
    Kind(153, "delete_token", _("Delete Token"), Type.DELETE, Category.ACCOUNT),
    Kind(154, "create_group", _("Create Group"), Type.CREATE, Category.ACCOUNT),
    Kind(155, "update_group", _("Update Group"), Type.UPDATE, Category.ACCOUNT),
    Kind(156, "delete_group", _("Delete Group"), Type.DELETE, Category.ACCOUNT),
    Kind(157, "create_group_member", _("Create Group Member"), Type.CREATE, Category.ACCOUNT),
    Kind(159, "delete_group_member", _("Delete Group Member"), Type.DELETE, Category.ACCOUNT),
    Kind(161, "update_registry_settings", _("Update Registry Settings"), Type.UPDATE, Category.SYSTEM),
    Kind(164, "update_registry", _("Update Registry"), Type.UPDATE, Category.SYSTEM),
    Kind(165, "delete_registry", _("Delete Registry"), Type.DELETE, Category.SYSTEM),
    Kind(19, "start_registry_node", _("Start Registry Node"), Type.CREATE, Category.SYSTEM),
    Permanent(167, "update_auto_deletion", _("Update Auto Deletion"), Type.UPDATE, Category.SYSTEM),
    Permanent(169, "create_deletion_rule", _("Create Deletion Rule"), Type.CREATE, Category.SYSTEM),
    Permanent(170, "update_deletion_rule", _("Update Deletion Rule"), Type.UPDATE, Category.SYSTEM),
    Permanent(171, "delete_deletion_rule", _("Delete Deletion Rule"), Type.DELETE, Category.SYSTEM),
    Permanent(172, "create_deletion_run", _("Create Deletion Run"), Type.CREATE, Category.SYSTEM),
    Permanent(175, "create_deletion_preview", _("Create Deletion Preview"), Type.CREATE, Category.SYSTEM),
    Permanent(20, "cancel_deletion_change", _("Cancel Deletion Change"), Type.UPDATE, Category.SYSTEM),
    Permanent(21, "stop_deletion", _("Stop Deletion"), Type.UPDATE, Category.SYSTEM),
    Permanent(22, "delete_events", _("Delete Events"), Type.DELETE, Category.SYSTEM),
    Permanent(30, "delete_events_failed", _("Delete Events Failed"), Type.FAIL, Category.SYSTEM),
    Permanent(31, "trust_clock", _("Trust Clock"), Type.UPDATE, Category.SYSTEM),
    Permanent(178, "create_dispute", _("Create Dispute"), Type.CREATE, Category.SYSTEM),
    Permanent(23, "lift_dispute", _("Lift Dispute"), Type.DELETE, Category.SYSTEM),
    Kind(181, "create_periodic_task", _("Create Periodic Task"), Type.CREATE, Category.SYSTEM),
    Kind(182, "update_periodic_task", _("Update Periodic Task"), Type.UPDATE, Category.SYSTEM),
    Kind(183, "delete_periodic_task", _("Delete Periodic Task"), Type.DELETE, Category.SYSTEM),
    Kind(24, "run_periodic_task", _("Run Periodic Task"), Type.UPDATE, Category.SYSTEM),
    Kind(184, "create_schedule", _("Create Schedule"), Type.CREATE, Category.SYSTEM),
    Kind(185, "update_schedule", _("Update Schedule"), Type.UPDATE, Category.SYSTEM),
    Kind(186, "delete_schedule", _("Delete Schedule"), Type.DELETE, Category.SYSTEM),
    Kind(25, "export_events", _("Export Events"), Type.GET, Category.SYSTEM),
    Permanent(26, "import_events", _("Import Events"), Type.CREATE, Category.SYSTEM),
    Permanent(32, "import_events_failed", _("Import Events Failed"), Type.FAIL, Category.SYSTEM),
    Permanent(27, "release_import", _("Release Import"), Type.UPDATE, Category.SYSTEM),
    Kind(28, "replay_messages", _("Replay Messages"), Type.UPDATE, Category.SYSTEM),
    Kind(29, "dismiss_messages", _("Dismiss Messages"), Type.UPDATE, Category.SYSTEM),
]
KINDS = {kind.key: kind for kind in _KINDS}

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
