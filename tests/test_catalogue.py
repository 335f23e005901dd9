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
        "delete_events",
        *(f"{verb}_periodic_task" for verb in VERBS),
        *(f"{verb}_schedule" for verb in VERBS),
        "export_events",
        "import_events",
        "release_import",
        "replay_messages",
        "dismiss_messages",
    },
}


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
