"""The tabs on the pages of repositories and organizations. Other apps can add tabs."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from repositories.access.levels import READ_PERMISSIONS, VIEW_POLICIES, VIEW_UNKNOWN_EVENTS
from repositories.models import Organization, Repository


@dataclass(frozen=True)
class Tab:
    """A tab on a repository's page. Viewers with at least one of its permissions can open it."""

    position: int
    """Tabs are sorted by position, in an order that users know from other registries."""
    label: str | Promise
    url_name: str
    permissions: Set[str]


TABS = [
    Tab(10, _("Info"), "registry_repositories:info", READ_PERMISSIONS),
    Tab(40, _("Promotions"), "registry_repositories:promotions", {VIEW_POLICIES}),
    Tab(50, _("Mirrors"), "registry_repositories:mirrors", {VIEW_POLICIES}),
    Tab(60, _("Pruning"), "registry_repositories:pruning", {VIEW_POLICIES}),
    Tab(70, _("Permissions"), "registry_repositories:permissions", {"manage_access", VIEW_UNKNOWN_EVENTS}),
    Tab(80, _("Settings"), "registry_repositories:repository_settings", {"edit", "delete"}),
]


def register(*tabs: Tab) -> None:
    """Add tabs to repository pages. Call this from `AppConfig.ready`."""
    TABS.extend(tabs)
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
"""The URL names and labels of an organization's tabs. Everyone who can see the organization can open them.

Other apps add theirs in `AppConfig.ready`.
"""


def tabs_for_organization(organization: Organization) -> list[tuple[str | Promise, str]]:
    """Return the labels and URLs of an organization's tabs."""
    return [(label, reverse(name, args=[organization.name])) for name, label in ORGANIZATION_TABS.items()]
