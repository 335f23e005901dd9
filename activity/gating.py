"""The permission gate: who may see which events. Every query on behalf of a viewer goes through it.

This module imports none of this app's models at runtime, so that the models can use its querysets:
`Event.objects.visible_to(access)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.db.models import Model, Q, QuerySet

from activity.scans import REPORT, SCANNER, SEVERITIES
from repositories.access.levels import (
    CATEGORY_PERMISSIONS,
    REPOSITORY_CATEGORIES,
    VIEW_DETAILS,
    VIEW_UNKNOWN_EVENTS,
    Category,
)
from repositories.access.resolving import Access
from repositories.models import Repository
from repositories.utils.among import among

if TYPE_CHECKING:
    from activity.models import Event

Row = TypeVar("Row", bound=Model)

DETAILS_FOR_EVERYONE = frozenset(
    {
        # what registries say about a manifest
        "media_type",
        "size",
        # how many vulnerabilities of each severity a scan found, with which scanner, and where its report is
        *SEVERITIES,
        *(SCANNER, REPORT),
        # what this application says about a change, and about the event itself
        *("subject", "changes", "members", "count", "policy_id", "attempts", "foreign_archive"),
    }
)
"""The details that everyone who can see an event can see. `docs/permissions.md` lists them, too."""
MESSAGE = "message"
"""The detail that only MSR admins and auditors see: a registry can put anything into its message."""


class GatedQuerySet(QuerySet[Row]):
    """A queryset of events or tallies: rows with `repository`, `category` and `is_pull` fields."""

    def visible_to(self, access: Access, repository: Repository | None = None) -> Self:
        """Return the rows that a viewer may see, in one repository or across all repositories.

        Access is denied by default. Events in an unknown category require the permission to see unknown
        events. Events without a repository and events of deleted repositories are visible only to MSR admins
        and auditors.
        """
        rows = self if repository is None else self.filter(repository=repository)
        if access.sees_everything:
            return rows
        if repository is None:
            return rows.filter(_visible_anywhere(access))
        permissions = access.permissions_on(repository)
        if VIEW_UNKNOWN_EVENTS in permissions:
            return rows
        categories = [category for category in REPOSITORY_CATEGORIES if category.permission in permissions]
        if Category.PULL not in categories:
            rows = rows.without_pulls()
        return rows.filter(category__in=[category.value for category in categories])

    def visible_in_each(self, access: Access, repositories: Iterable[Repository]) -> Self:
        """Return the rows that a viewer may see, if all of them belong to the given repositories."""
        if access.sees_everything:
            return self
        ids_by_permissions: dict[frozenset[str], list[int]] = defaultdict(list)
        for repository in repositories:
            ids_by_permissions[access.permissions_on(repository)].append(repository.pk)
        visible = Q(pk__in=[])
        for permissions, ids in ids_by_permissions.items():
            condition = Q(repository__in=ids)
            if VIEW_UNKNOWN_EVENTS not in permissions:
                condition &= Q(
                    category__in=[c.value for c in REPOSITORY_CATEGORIES if c.permission in permissions]
                )
            visible |= condition
        return self.filter(visible)

    def without_pulls(self) -> Self:
        """Exclude pulls, so that PostgreSQL can use the partial indexes and skip the pull partitions."""
        return self.filter(is_pull=False)

    def only_pulls(self) -> Self:
        """Exclude all other events, so that PostgreSQL can skip their partitions."""
        return self.filter(is_pull=True)


class GatedEventQuerySet(GatedQuerySet["Event"]):
    """A queryset of events, whose `visible_to` includes the viewer's own account events.

    A viewer's own account events are those in the `account` category whose actor is the viewer, or which are
    about the viewer's account.
    """

    def visible_to(self, access: Access, repository: Repository | None = None) -> Self:
        """Return the events that a viewer may see, in one repository or across all repositories.

        Without `repository`, the result includes the viewer's own account events.
        """
        if access.sees_everything or repository is not None:
            return super().visible_to(access, repository)
        events = self.filter(_visible_anywhere(access) | _own_account(access) | _about_account(access))
        # Without this condition, PostgreSQL would scan all pulls for visible events.
        return events if sees_pulls(access) else events.without_pulls()

    def for_own_account(self, access: Access) -> Self:
        """Return the viewer's own account events, or none if the viewer sees all account events anyway."""
        if access.sees_everything:
            return self.none()
        return self.filter(_own_account(access) | _about_account(access))


def sees_pulls(access: Access, repository: Repository | None = None) -> bool:
    """Return whether the viewer may see pulls in a repository, or in any repository."""
    if repository is None:
        return access.has_any(Category.PULL.permission)
    return Category.PULL.permission in access.permissions_on(repository)


def sees_only_pulls(access: Access, repository: Repository | None = None) -> bool:
    """Return whether pulls are all that the viewer may see in a repository, or in all that aren't public."""
    pulls = Category.PULL.permission
    if repository is not None:
        return access.permissions_on(repository) & CATEGORY_PERMISSIONS == {pulls}
    if access.sees_everything or not sees_pulls(access):
        return False
    others = access.repositories(CATEGORY_PERMISSIONS - {pulls})
    return not others.exclude(visibility=Repository.Visibility.PUBLIC).exists()


def possible_categories(access: Access) -> set[Category] | None:
    """Return all categories of which the viewer may see events, and perhaps others, or None for all.

    Unlike `visible_categories`, this needs no query: the viewer may have a permission on nothing that exists.
    """
    if access.sees_everything or _may_have(access, VIEW_UNKNOWN_EVENTS):
        return None
    return {
        Category.ACCOUNT,
        *(category for category in REPOSITORY_CATEGORIES if _may_have(access, category.permission)),
    }


def _may_have(access: Access, permission: str) -> bool:
    anywhere = access.everywhere | access.in_public
    return permission in anywhere or any(access.granted_ids(frozenset({permission})))


def visible_categories(access: Access) -> set[Category]:
    """Return the categories of which the viewer may see events in a repository, or of their own."""
    if access.sees_everything:
        return set(Category)
    own = {Category.ACCOUNT} if access.viewer_id is not None else set()
    return own | {category for category in REPOSITORY_CATEGORIES if access.has_any(category.permission)}


def visible_details(event: Event, access: Access) -> Any:
    """Return the part of an event's details that a viewer who may see the event may see.

    Load `repository__namespace` beforehand to save queries.
    """
    if access.sees_everything:
        return event.full_details()
    details = event.full_details(with_message=False)
    if not isinstance(details, dict):
        return {}
    if _sees_all_details(event, access):
        return {key: value for key, value in details.items() if key != MESSAGE}
    return {key: value for key, value in details.items() if key in DETAILS_FOR_EVERYONE}


def _sees_all_details(event: Event, access: Access) -> bool:
    """Return whether a viewer may see the details that aren't for everyone, except the original message.

    The clients of delivered events are the business of the repository's admins. But people who change
    something in this application shouldn't have to show their address to a repository's other admins.
    """
    if event.category == Category.ACCOUNT:
        return access.viewer_id is not None and event.actor_user_id == access.viewer_id
    repository = event.repository if event.delivered_by_id else None
    return repository is not None and VIEW_DETAILS in access.permissions_on(repository)


def with_all_details(access: Access) -> Q:
    """Return the condition for the events of which a viewer may see all details, as in `visible_details`.

    A search for a detail that isn't for everyone must be limited to these events. Otherwise, the viewer could
    find out the value by trying values.
    """
    if access.sees_everything:
        return Q()
    delivered = Q(delivered_by__isnull=False) & _in_repositories_with(access, VIEW_DETAILS)
    return (delivered & ~Q(category=Category.ACCOUNT.value)) | _own_account(access)


def sees_delivery(access: Access, event: Event | None = None) -> bool:
    """Return whether a viewer may see which account and token delivered an event, or any event at all.

    People also see it of what their own account delivered.
    """
    account = event.delivered_by_id if event else None
    return access.sees_everything or (account is not None and account == access.viewer_id)


def with_delivery(access: Access) -> Q:
    """Return the condition for the events that a viewer may find by their delivery."""
    return Q() if sees_delivery(access) else Q(pk__in=[])


def _own_account(access: Access) -> Q:
    """Return the condition for what the viewer did to accounts, of which they may see all details."""
    if access.viewer_id is None:
        return Q(pk__in=[])
    return Q(category=Category.ACCOUNT.value, actor_user=access.viewer_id, repository=None)


def _about_account(access: Access) -> Q:
    """Return the condition for what anybody did to the viewer's account."""
    if access.viewer_id is None:
        return Q(pk__in=[])
    return Q(category=Category.ACCOUNT.value, subject_user=access.viewer_id)


def _visible_anywhere(access: Access) -> Q:
    """Return the condition for the rows that a viewer may see, across all repositories.

    Categories that are visible in the same repositories share a branch of the condition.
    """
    categories_by_access: dict[tuple, list[Category]] = defaultdict(list)
    for category in REPOSITORY_CATEGORIES:
        permission = category.permission
        key = (*access.granted_ids(frozenset({permission})), permission in access.in_public)
        categories_by_access[key].append(category)
    # Repository admins see all categories, even unknown ones: their branch below has no such filter.
    categories_by_access.pop((*access.granted_ids(frozenset({VIEW_UNKNOWN_EVENTS})), False), None)
    visible = _in_repositories_with(access, VIEW_UNKNOWN_EVENTS)
    for categories in categories_by_access.values():
        names = [category.value for category in categories]
        visible |= Q(category__in=names) & _in_repositories_with(access, categories[0].permission)
    return visible


def _in_repositories_with(access: Access, permission: str) -> Q:
    """Return the condition for the rows of the repositories on which the viewer has a permission.

    With the ids of a few repositories, the query planner can estimate the number of visible events. If this
    number is small, the planner reads only these events. With a subquery, it would scan the events of all
    repositories until a page is full. Of 20,000 repositories, each subquery would also take 4 ms, and a chart
    has up to 14 of them.
    """
    ids = access.repository_ids([permission])
    found = access.repositories([permission]).order_by().values("pk") if ids is None else among(ids)
    return Q(repository__in=found)
