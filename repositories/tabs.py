"""The tabs on the pages of repositories and organizations. Each app registers its own tabs."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from repositories.models import Organization, Repository

TABS: list[Tab] = []


@dataclass(frozen=True)
class Tab:
    """A tab on a repository's page. Viewers with at least one of its permissions can open it."""

    position: int
    """Tabs are sorted by position, in an order that users know from other registries."""
    label: str | Promise
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


ORGANIZATION_TABS: dict[str, str | Promise] = {
    "registry_repositories:organization": _("Overview"),
    "registry_repositories:teams": _("Teams"),
    "registry_repositories:members": _("Members"),
}
"""The URL names and labels of an organization's tabs. Everyone who can see the organization can open them."""


def register_organization_tab(label: str | Promise, url_name: str) -> None:
    """Add a tab to organization pages. Call this from `AppConfig.ready`."""
    ORGANIZATION_TABS[url_name] = label


def tabs_for_organization(organization: Organization) -> list[tuple[str | Promise, str]]:
    """Return the labels and URLs of an organization's tabs."""
    return [(label, reverse(name, args=[organization.name])) for name, label in ORGANIZATION_TABS.items()]
