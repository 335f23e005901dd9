"""The tabs on the pages of repositories and organizations. Each app registers its own tabs."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from repositories.models import Organization, Repository

TABS: list[Tab] = []


@dataclass(frozen=True)
class Tab:
    """A tab on a repository's page. Viewers with at least one of its permissions can open it."""

    position: int
    """Tabs are sorted by position, in an order that users know from other registries."""
    label: str
    url_name: str
    permissions: frozenset[str]


def register(tab: Tab) -> None:
    """Add a tab to repository pages, unless it is already registered. Call this from `AppConfig.ready`."""
    if tab not in TABS:
        TABS.append(tab)
        TABS.sort(key=lambda tab: tab.position)


def tabs_for(repository: Repository, permissions: frozenset[str]) -> list[tuple[Tab, str]]:
    """Return the tabs that a viewer with these permissions can open, with their URLs."""
    name = [repository.namespace.name, repository.name]
    return [(tab, reverse(tab.url_name, args=name)) for tab in TABS if tab.permissions & permissions]


ORGANIZATION_TABS = {
    "Overview": "registry_repositories:organization",
    "Teams": "registry_repositories:teams",
    "Members": "registry_repositories:members",
}
"""The labels and URL names of an organization's tabs. Everyone who can see the organization can open them."""


def register_organization_tab(label: str, url_name: str) -> None:
    """Add a tab to organization pages. Call this from `AppConfig.ready`."""
    ORGANIZATION_TABS[label] = url_name


def tabs_for_organization(organization: Organization) -> list[tuple[str, str]]:
    """Return the labels and URLs of an organization's tabs."""
    return [(label, reverse(name, args=[organization.name])) for label, name in ORGANIZATION_TABS.items()]
