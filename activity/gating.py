"""Which events a viewer may see. Every reader of events, page, API or admin, begins here."""

from __future__ import annotations

from collections import defaultdict

from django.db.models import Q, QuerySet

from activity.models import Event
from repositories.access import Access
from repositories.levels import VIEW_UNKNOWN_EVENTS, Category
from repositories.models import Repository


def visible_events(access: Access, repository: Repository | None = None) -> QuerySet[Event]:
    """Return the events that a viewer may see: of one repository, or of all.

    Deny by default: an event of an unknown category is for those who may see unknown events, and
    one without a repository, or of a deleted one, for MSR admins and auditors alone.
    """
    events: QuerySet[Event] = Event.objects.all()
    if repository is not None:
        events = events.filter(repository=repository)
    if access.sees_everything:
        return events
    if repository is None:
        return events.filter(_visible_anywhere(access))
    permissions = access.permissions_on(repository)
    if VIEW_UNKNOWN_EVENTS in permissions:
        return events
    categories = [category for category in Category if category.permission in permissions]
    return _only(events, categories)


def sees_pulls(access: Access, repository: Repository | None = None) -> bool:
    """Tell whether the viewer may see pulls: in one repository, or in any."""
    permission = Category.PULL.permission
    if repository is not None:
        return permission in access.permissions_on(repository)
    # Grants alone don't tell: everybody owns a namespace, mostly an empty one.
    return permission in access.everywhere or access.repositories([permission]).exists()


def without_pulls(events: QuerySet) -> QuerySet:
    """Leave pulls out, in the words of the partial indexes and the partitions that don't hold them."""
    return events.filter(is_pull=False)


def _only(events: QuerySet, categories: list[Category]) -> QuerySet:
    if Category.PULL not in categories:
        events = without_pulls(events)
    return events.filter(category__in=[category.value for category in categories])


def _visible_anywhere(access: Access) -> Q:
    """Return the condition over all repositories, one branch for categories that are seen alike."""
    alike: dict[tuple, list[Category]] = defaultdict(list)
    for category in Category:
        permission = category.permission
        alike[(*access.scope(frozenset({permission})), permission in access.in_public)].append(category)
    # What only administrators see needs no naming of categories: they see the unknown ones as well.
    alike.pop((*access.scope(frozenset({VIEW_UNKNOWN_EVENTS})), False), None)
    visible = Q(repository__in=access.repositories([VIEW_UNKNOWN_EVENTS]).values("pk"))
    for categories in alike.values():
        repositories = access.repositories([categories[0].permission]).values("pk")
        visible |= Q(category__in=[c.value for c in categories], repository__in=repositories)
    return visible
