"""The catalogue of event kinds: categories, labels, types, and the access levels that can see each kind."""

import pytest

from activity.catalogue import KINDS, REPOSITORY_KINDS, Type, offered_categories, offered_types
from repositories.access.levels import GRANTABLE, PERMISSIONS_BY_LEVEL, REPOSITORY_CATEGORIES, Category, Level

VERBS = ["create", "update", "delete"]
KINDS_BY_CATEGORY = {
    "push": {"create_manifest", "update_tag", "create_tag"},
    "scan": {"scan", "scan_failed"},
    "delete": {"delete_tag", "delete_manifest", "delete_repository"},
    "create_repo": {"create_repository"},
    "promotion": {
        "create_promotion_policy",
        "update_promotion_policy",
        "delete_promotion_policy",
        "promote",
        "promote_failed",
    },
    "pull": {"get_tag", "get_manifest"},
    "mirror": {
        "push_mirror",
        "push_mirror_failed",
        "pull_mirror",
        "pull_mirror_failed",
        "create_push_mirroring_policy",
        "update_push_mirroring_policy",
        "delete_push_mirroring_policy",
        "create_pull_mirroring_policy",
        "update_pull_mirroring_policy",
        "delete_pull_mirroring_policy",
    },
    "pruning": {"create_pruning_policy", "update_pruning_policy", "delete_pruning_policy"},
    "access": {
        *(f"{verb}_grant" for verb in VERBS),
        *(f"{verb}_team" for verb in VERBS),
        *(f"{verb}_organization" for verb in VERBS),
        *(f"{verb}_organization_member" for verb in VERBS),
        *(f"{verb}_namespace" for verb in VERBS),
        *(f"{verb}_hold" for verb in VERBS),
        "create_team_member",
        "delete_team_member",
        "update_visibility",
        "update_description",
    },
    "account": {
        "create_session",
        "create_session_failed",
        "delete_session",
        *(f"{verb}_user" for verb in VERBS),
        "update_password",
        "update_profile",
        *(f"{verb}_token" for verb in VERBS),
        *(f"{verb}_group" for verb in VERBS),
        "create_group_member",
        "delete_group_member",
    },
    "system": {
        "update_registry_settings",
        "update_registry",
        "delete_registry",
        "update_auto_deletion",
        *(f"{verb}_deletion_rule" for verb in VERBS),
        "create_dispute",
        "lift_dispute",
        "cancel_deletion_change",
        "run_periodic_task",
        "start_registry_node",
        "create_deletion_run",
        "create_deletion_preview",
        "stop_deletion",
        "delete_events_failed",
        "trust_clock",
        "delete_events",
        *(f"{verb}_periodic_task" for verb in VERBS),
        *(f"{verb}_schedule" for verb in VERBS),
        "export_events",
        "import_events",
        "import_events_failed",
        "release_import",
        "replay_messages",
        "dismiss_messages",
    },
}
NUMBERS = {
    "create_repository": 1,
    "create_manifest": 2,
    "create_tag": 3,
    "update_tag": 4,
    "get_manifest": 5,
    "get_tag": 6,
    "delete_manifest": 7,
    "delete_tag": 8,
    "delete_repository": 9,
    "scan": 10,
    "scan_failed": 11,
    "promote": 12,
    "promote_failed": 13,
    "push_mirror": 14,
    "push_mirror_failed": 15,
    "pull_mirror": 16,
    "pull_mirror_failed": 17,
    "create_session_failed": 18,
    "start_registry_node": 19,
    "cancel_deletion_change": 20,
    "stop_deletion": 21,
    "delete_events": 22,
    "lift_dispute": 23,
    "run_periodic_task": 24,
    "export_events": 25,
    "import_events": 26,
    "release_import": 27,
    "replay_messages": 28,
    "dismiss_messages": 29,
    "create_promotion_policy": 100,
    "update_promotion_policy": 101,
    "delete_promotion_policy": 102,
    "create_push_mirroring_policy": 103,
    "update_push_mirroring_policy": 104,
    "delete_push_mirroring_policy": 105,
    "create_pull_mirroring_policy": 106,
    "update_pull_mirroring_policy": 107,
    "delete_pull_mirroring_policy": 108,
    "create_pruning_policy": 109,
    "update_pruning_policy": 110,
    "delete_pruning_policy": 111,
    "create_grant": 112,
    "update_grant": 113,
    "delete_grant": 114,
    "create_team": 115,
    "update_team": 116,
    "delete_team": 117,
    "create_team_member": 118,
    "delete_team_member": 120,
    "create_organization": 121,
    "update_organization": 122,
    "delete_organization": 123,
    "create_organization_member": 124,
    "update_organization_member": 125,
    "delete_organization_member": 126,
    "create_namespace": 127,
    "update_namespace": 128,
    "delete_namespace": 129,
    "update_visibility": 131,
    "update_description": 134,
    "create_hold": 136,
    "update_hold": 137,
    "delete_hold": 138,
    "create_session": 139,
    "delete_session": 141,
    "create_user": 142,
    "update_user": 143,
    "delete_user": 144,
    "update_password": 146,
    "update_profile": 149,
    "create_token": 151,
    "update_token": 152,
    "delete_token": 153,
    "create_group": 154,
    "update_group": 155,
    "delete_group": 156,
    "create_group_member": 157,
    "delete_group_member": 159,
    "update_registry_settings": 161,
    "update_registry": 164,
    "delete_registry": 165,
    "update_auto_deletion": 167,
    "create_deletion_rule": 169,
    "update_deletion_rule": 170,
    "delete_deletion_rule": 171,
    "create_deletion_run": 172,
    "create_deletion_preview": 175,
    "create_dispute": 178,
    "create_periodic_task": 181,
    "update_periodic_task": 182,
    "delete_periodic_task": 183,
    "create_schedule": 184,
    "update_schedule": 185,
    "delete_schedule": 186,
}
"""The numbers of kinds that databases contain. Entries are only ever added."""


def test_every_kind_is_in_its_category() -> None:
    assert {c: {k.key for k in KINDS.values() if k.category == c} for c in Category} == KINDS_BY_CATEGORY


@pytest.mark.parametrize(
    ("kind", "label", "type"),
    [
        ("create_manifest", "Create Manifest", "CREATE"),
        ("update_tag", "Update Tag", "UPDATE"),
        ("get_tag", "Get Tag", "GET"),
        ("delete_tag", "Delete Tag", "DELETE"),
        ("push_mirror", "Push Mirror", "SEND"),
        ("pull_mirror_failed", "Pull Mirror Failed", "FAIL"),
        ("scan", "Scan", "SCAN"),
        ("scan_failed", "Scan Failed", "FAIL"),
        ("create_promotion_policy", "Create Promotion Policy", "CREATE"),
        ("create_grant", "Create Grant", "CREATE"),
        ("create_session", "Create Session", "CREATE"),
        ("create_session_failed", "Create Session Failed", "FAIL"),
        ("delete_session", "Delete Session", "DELETE"),
    ],
)
def test_kinds_have_the_expected_labels_and_types(kind: str, label: str, type: str) -> None:
    assert (KINDS[kind].label, KINDS[kind].type) == (label, type)


@pytest.mark.parametrize(
    ("level", "sees"),
    [
        (Level.READ, {"push", "scan", "delete", "create_repo"}),
        (Level.READ_WRITE, {"push", "scan", "delete", "create_repo"}),
        (Level.ADMIN, set(REPOSITORY_CATEGORIES)),
    ],
)
def test_each_level_permits_its_categories(level: Level, sees: set[str]) -> None:
    assert {c.value for c in Category if c.permission in PERMISSIONS_BY_LEVEL[level]} == sees


def test_every_category_of_repositories_can_be_granted_separately() -> None:
    granted = {codename for codename, _ in GRANTABLE}

    assert {c for c in Category if c.permission not in granted} == {Category.ACCOUNT, Category.SYSTEM}


def test_producers_cannot_send_access_account_or_system_events() -> None:
    assert not {kind.category for kind in REPOSITORY_KINDS.values()} & {"access", "account", "system"}


def test_system_category_is_offered_only_to_users_who_can_see_it() -> None:
    assert Category.SYSTEM in offered_categories(True, sees_system=True)
    assert Category.SYSTEM not in offered_categories(True, sees_system=False)
    # Every user can see the events about their own account.
    assert Category.ACCOUNT in offered_categories(True, sees_system=False)


def test_scans_are_offered_only_if_scanning_is_on() -> None:
    assert Category.SCAN in offered_categories(True)
    assert Category.SCAN not in offered_categories(False)
    assert Type.SCAN in offered_types(True)
    assert Type.SCAN not in offered_types(False)
    # Not only scans but also mirroring and promotions can fail.
    assert Type.FAIL in offered_types(False)


def test_numbers_of_kinds_are_unique() -> None:
    assert len({kind.number for kind in KINDS.values()}) == len(KINDS)
    assert all(0 < kind.number < 2**15 for kind in KINDS.values())


def test_numbers_of_kinds_never_change() -> None:
    assert {key: kind.number for key, kind in KINDS.items() if key in NUMBERS} == NUMBERS
