"""The permission gate: which events a viewer may see. Every reader of events passes through here.

This module builds conditions and imports no model of this application, so that the querysets of events and
tallies can apply them: `Event.objects.visible_to(access)`.
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
    """Narrow events to those that a viewer may see: of one repository, or of all.

    Deny by default: an event of an unknown category requires the permission to see unknown events; one
    without a repository, or of a deleted repository, is visible to MSR admins and auditors only. Events of
    category `account` about the viewer's own account are visible to the viewer, in lists of all events.
    """
    own = own_account(access) if repository is None else None
    if own is None:
        return visible_rows(events, access, repository)
    events = events.filter(_visible_anywhere(access) | own)
    # Without this, PostgreSQL would walk back through all pulls in search of one that is visible.
    return events if sees_pulls(access) else without_pulls(events)


def own_account(access: Access) -> Q | None:
    """Return the condition of a viewer's own account's events, None for those who see everybody's."""
    if access.sees_everything or access.viewer_id is None:
        return None
    return Q(category=Category.ACCOUNT.value, actor_user=access.viewer_id)


def visible_rows(rows: QuerySet[Row], access: Access, repository: Repository | None = None) -> QuerySet[Row]:
    """Narrow events, or tallies of them, to those that a viewer may see.

    Rows have a `repository`, a `category` and `is_pull`.
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
    return _only(rows, categories)


def visible_rows_in_each(
    rows: QuerySet[Row], access: Access, repositories: Iterable[Repository]
) -> QuerySet[Row]:
    """Narrow rows of some repositories to those that a viewer may see in each."""
    if access.sees_everything:
        return rows
    alike: dict[frozenset[str], list[int]] = defaultdict(list)
    for repository in repositories:
        alike[access.permissions_on(repository)].append(repository.pk)
    visible = Q(pk__in=[])
    for permissions, ids in alike.items():
        seen = Q(repository__in=ids)
        if VIEW_UNKNOWN_EVENTS not in permissions:
            seen &= Q(category__in=[c.value for c in REPOSITORY_CATEGORIES if c.permission in permissions])
        visible |= seen
    return rows.filter(visible)


def sees_pulls(access: Access, repository: Repository | None = None) -> bool:
    """Tell whether the viewer may see pulls: in one repository, or in any."""
    if repository is None:
        return access.sees_pulls_somewhere
    return Category.PULL.permission in access.permissions_on(repository)


def details_of(event: Event, access: Access) -> Any:
    """Return the details of an event that a viewer may see.

    The message that it came in, of which nobody knows what else a registry puts into it, is for MSR
    admins and auditors alone.
    """
    if access.sees_everything or not isinstance(event.details, dict):
        return event.details
    return {key: value for key, value in event.details.items() if key != "message"}


def without_pulls(events: QuerySet) -> QuerySet:
    """Leave pulls out, in the words of the partial indexes and the partitions that don't hold them."""
    return events.filter(is_pull=False)


def _only(events: QuerySet, categories: Sequence[Category]) -> QuerySet:
    if Category.PULL not in categories:
        events = without_pulls(events)
    return events.filter(category__in=[category.value for category in categories])


def _visible_anywhere(access: Access) -> Q:
    """Return the condition over all repositories, one branch for categories that are seen alike."""
    alike: dict[tuple, list[Category]] = defaultdict(list)
    for category in REPOSITORY_CATEGORIES:
        permission = category.permission
        alike[(*access.scope(frozenset({permission})), permission in access.in_public)].append(category)
    # What only administrators see needs no naming of categories: they see the unknown ones as well.
    alike.pop((*access.scope(frozenset({VIEW_UNKNOWN_EVENTS})), False), None)
    reach = _reach(access)
    visible = Q(repository__in=reach(VIEW_UNKNOWN_EVENTS))
    for categories in alike.values():
        names = [category.value for category in categories]
        visible |= Q(category__in=names, repository__in=reach(categories[0].permission))
    return visible


def _reach(access: Access) -> Callable[[str], Any]:
    """Return what tells the repositories in which the viewer has a permission.

    If they are few, by their ids: the planner then knows how few events a viewer of some quiet
    repositories sees, and reads these, instead of walking through everybody's until a page is full.
    """
    if access.few_repositories is None:
        return lambda permission: access.repositories([permission]).order_by().values("pk")
    permissions = {repository.pk: access.permissions_on(repository) for repository in access.few_repositories}
    return lambda permission: [pk for pk, held in permissions.items() if permission in held]
