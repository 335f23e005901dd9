"""The tabs of a repository's page. Each application adds its own, so that none knows the others."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from repositories.models import Repository

ORDER = ["Info", "Tags", "Activity", "Promotions", "Mirrors", "Pruning", "Permissions", "Settings"]
"""The order that people know from other registries; tabs of other labels come after these."""
TABS: list[Tab] = []


@dataclass(frozen=True)
class Tab:
    """A page about one repository, for those who have at least one of some permissions."""

    label: str
    url_name: str
    permissions: frozenset[str]

    def url(self, repository: Repository) -> str:
        return reverse(self.url_name, args=[repository.namespace.name, repository.name])


def register(tab: Tab) -> None:
    """Add a tab, once; called when applications start."""
    if tab not in TABS:
        TABS.append(tab)
        TABS.sort(key=lambda tab: ORDER.index(tab.label) if tab.label in ORDER else len(ORDER))


def tabs_for(repository: Repository, permissions: frozenset[str]) -> list[tuple[Tab, str]]:
    """Return the tabs, with their addresses, that a viewer with these permissions may open."""
    return [(tab, tab.url(repository)) for tab in TABS if tab.permissions & permissions]
