"""Permission checks for events. All queries for the events that a viewer can see go through this module.

It builds conditions and imports no models of this app, so that the models can use it:
`Event.objects.visible_to(access)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Model, Q, QuerySet

from repositories.access.levels import REPOSITORY_CATEGORIES, VIEW_UNKNOWN_EVENTS, Category
from repositories.access.resolving import Access
from repositories.models import Repository

if TYPE_CHECKING:
    from activity.models import Event

Row = TypeVar("Row", bound=Model)


def visible_events(
    events: QuerySet[Event], access: Access, repository: Repository | None = None
) -> QuerySet[Event]:
    """Return the events that a viewer may see, in one repository or in all.

    Access is denied by default. Events of an unknown category require the permission to see unknown events.
    Events without a repository and events of deleted repositories are visible only to MSR admins and
    auditors. In lists of all events, viewers also see the events of category `account` about their own
    account.
    """
    own = own_account_condition(access) if repository is None else None
    if own is None:
        return visible_rows(events, access, repository)
    events = events.filter(_visible_anywhere(access) | own)
    # Without this, PostgreSQL would scan all pulls for visible ones.
    return events if sees_pulls(access) else without_pulls(events)


def own_account_condition(access: Access) -> Q | None:
    """Return the condition for the viewer's own account events; None for viewers who see all of them."""
    if access.sees_everything or access.viewer_id is None:
        return None
    return Q(category=Category.ACCOUNT.value, actor_user=access.viewer_id)


def visible_rows(rows: QuerySet[Row], access: Access, repository: Repository | None = None) -> QuerySet[Row]:
    """Return the events or tallies that a viewer may see, in one repository or in all.

    The rows must have the fields `repository`, `category` and `is_pull`.
    """
    if repository is not None:
        rows = rows.filter(repository=repository)
    if access.sees_everything:
        return rows
    if repository is None:
        return rows.filter(_visible_anywhere(access))
    permissions = access.permissions_on(repository)
    if VIEW_UNKNOWN_EVENTS in permissions:
        return rows
    categories = [category for category in REPOSITORY_CATEGORIES if category.permission in permissions]
    return _in_categories(rows, categories)


def visible_rows_in_each(
    rows: QuerySet[Row], access: Access, repositories: Iterable[Repository]
) -> QuerySet[Row]:
    """Return the rows of the given repositories that a viewer may see."""
    if access.sees_everything:
        return rows
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
    return rows.filter(visible)


def sees_pulls(access: Access, repository: Repository | None = None) -> bool:
    """Return whether the viewer may see pulls in a repository, or in any repository."""
    if repository is None:
        return access.can_see_any_pulls
    return Category.PULL.permission in access.permissions_on(repository)


def visible_details(event: Event, access: Access) -> Any:
    """Return the details of an event that a viewer may see.

    Only MSR admins and auditors see the original message, because a registry can put anything into it.
    """
    if access.sees_everything or not isinstance(event.details, dict):
        return event.details
    return {key: value for key, value in event.details.items() if key != "message"}


def without_pulls(events: QuerySet) -> QuerySet:
    """Exclude pulls, with the condition of the partial indexes and the partitions without pulls."""
    return events.filter(is_pull=False)


def _in_categories(events: QuerySet, categories: Sequence[Category]) -> QuerySet:
    if Category.PULL not in categories:
        events = without_pulls(events)
    return events.filter(category__in=[category.value for category in categories])


def _visible_anywhere(access: Access) -> Q:
    """Return the condition for all repositories, with one branch per set of equally accessible categories."""
    categories_by_access: dict[tuple, list[Category]] = defaultdict(list)
    for category in REPOSITORY_CATEGORIES:
        permission = category.permission
        key = (*access.granted_ids(frozenset({permission})), permission in access.in_public)
        categories_by_access[key].append(category)
    # Admins see events of all categories, even unknown ones, so their branch has no category condition.
    categories_by_access.pop((*access.granted_ids(frozenset({VIEW_UNKNOWN_EVENTS})), False), None)
    repositories_with = _repositories_by_permission(access)
    visible = Q(repository__in=repositories_with(VIEW_UNKNOWN_EVENTS))
    for categories in categories_by_access.values():
        names = [category.value for category in categories]
        visible |= Q(category__in=names, repository__in=repositories_with(categories[0].permission))
    return visible


def _repositories_by_permission(access: Access) -> Callable[[str], Any]:
    """Return a function from a permission to the repositories in which the viewer has it.

    If there are few, the function returns their ids instead of a queryset. The query planner can then
    estimate how few events a viewer of some quiet repositories sees, and reads only these. Otherwise it
    would scan the events of all repositories until a page is full.
    """
    if access.repositories_if_few is None:
        return lambda permission: access.repositories([permission]).order_by().values("pk")
    permissions_by_id = {
        repository.pk: access.permissions_on(repository) for repository in access.repositories_if_few
    }
    return lambda permission: [pk for pk, granted in permissions_by_id.items() if permission in granted]
