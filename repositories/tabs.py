"""The tabs of pages of repositories and organizations. Each application adds its own."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from repositories.models import Organization, Repository

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


ORGANIZATION_TABS = {
    "Overview": "registry_repositories:organization",
    "Teams": "registry_repositories:teams",
    "Members": "registry_repositories:members",
}
"""The labels of an organization's tabs, open to all who may know of it, and the names of their addresses."""


def register_for_organizations(label: str, url_name: str) -> None:
    """Add a tab to the pages of organizations; called when applications start."""
    ORGANIZATION_TABS[label] = url_name


def tabs_of(organization: Organization) -> list[tuple[str, str]]:
    """Return the labels and addresses of an organization's tabs."""
    return [(label, reverse(name, args=[organization.name])) for label, name in ORGANIZATION_TABS.items()]
