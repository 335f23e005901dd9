"""The kinds of events: the one place that says what each is called, its type and its category.

Pages, API, filters, admin and tests read this catalogue. To add a kind, add a line to `KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models

from repositories.levels import Category
from repositories.models import Policy


class Type(models.TextChoices):
    """What an event did, as registries name it."""

    CREATE = "CREATE", "CREATE"
    GET = "GET", "GET"
    UPDATE = "UPDATE", "UPDATE"
    DELETE = "DELETE", "DELETE"
    SEND = "SEND", "SEND"
    FAIL = "FAIL", "FAIL"
    SCAN = "SCAN", "SCAN"


@dataclass(frozen=True)
class Kind:
    """One kind of event."""

    key: str
    """What is stored and what producers send."""
    label: str
    type: Type
    category: Category
    requires: tuple[str, ...] = ()
    """The fields without which an event of this kind tells nothing: `tag`, `digest`."""

    @property
    def is_pull(self) -> bool:
        return self.category == Category.PULL


def _policy_kinds(kind: Policy.Kind, category: Category) -> list[Kind]:
    return [
        Kind(
            f"{verb.lower()}_{kind}_policy",
            f"{verb} {kind.label} Policy".title(),
            Type[verb.upper()],
            category,
        )
        for verb in ("Create", "Update", "Delete")
    ]


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
        *_policy_kinds(Policy.Kind.PROMOTION, Category.PROMOTION),
        Kind("push_mirror", "Push Mirror", Type.SEND, Category.MIRROR),
        Kind("push_mirror_failed", "Push Mirror Failed", Type.FAIL, Category.MIRROR),
        Kind("pull_mirror", "Pull Mirror", Type.UPDATE, Category.MIRROR),
        Kind("pull_mirror_failed", "Pull Mirror Failed", Type.FAIL, Category.MIRROR),
        *_policy_kinds(Policy.Kind.PUSH_MIRRORING, Category.MIRROR),
        *_policy_kinds(Policy.Kind.PULL_MIRRORING, Category.MIRROR),
        *_policy_kinds(Policy.Kind.PRUNING, Category.PRUNING),
        Kind("delete_events", "Delete Events", Type.DELETE, Category.SYSTEM),
        Kind("export_events", "Export Events", Type.GET, Category.SYSTEM),
    ]
}


REPOSITORY_KINDS = {key: kind for key, kind in KINDS.items() if kind.category != Category.SYSTEM}
"""What happens in repositories, and what producers may tell of."""


def label_of(key: str) -> str:
    """Return the label of a kind; an unknown one is shown by its key."""
    return KINDS[key].label if key in KINDS else key


def type_of(key: str) -> str:
    """Return the type of a kind, or nothing for an unknown one."""
    return KINDS[key].type.value if key in KINDS else ""


def offered_categories(scanning_enabled: bool) -> list[Category]:
    """Return the categories to offer as a filter: scans only where scanning is set up."""
    return [category for category in Category if scanning_enabled or category != Category.SCAN]


def offered_types(scanning_enabled: bool) -> list[Type]:
    """Return the types to offer as a filter: those of the categories that are offered."""
    categories = offered_categories(scanning_enabled)
    return [t for t in Type if any(kind.type == t and kind.category in categories for kind in KINDS.values())]
