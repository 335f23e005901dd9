"""The pages that events link to, as far as the viewer can open them.

Load events with `select_related(*ACTORS)`, to avoid queries for each event.
"""

from __future__ import annotations

from django.urls import reverse

from activity.models import ActorType, Event
from repositories.access import levels
from repositories.access.resolving import Access
from repositories.models import Policy


def links(event: Event, access: Access) -> dict[str, str]:
    """Return the URLs that a page which shows the event links to; each can be empty."""
    return {
        "repository_url": repository_url(event, access),
        "actor_url": actor_url(event, access),
        "subject_url": "" if event.actor_type in Policy.Kind.values else policy_url(event, access),
    }


def repository_url(event: Event, access: Access) -> str:
    """Return the URL of the repository, or an empty string if it was deleted or the viewer can't open it."""
    repository = event.repository
    if not repository or repository.deleted_at or not access.permissions_on(repository):
        return ""
    return reverse("registry_repositories:repository", args=[repository.namespace.name, repository.name])


def actor_url(event: Event, access: Access) -> str:
    """Return the URL of the actor's page, or an empty string if there is none that the viewer can open."""
    if event.actor_user_id and event.actor_user:
        return reverse("registry_activity:user", args=[event.actor_user.get_username()])
    if event.actor_type == ActorType.MANUAL_PROMOTION:
        return _promotions_url(event, access)
    return policy_url(event, access) if event.actor_type in Policy.Kind.values else ""


def _promotions_url(event: Event, access: Access) -> str:
    repository = event.repository
    if not repository or repository.deleted_at:
        return ""
    if levels.VIEW_POLICIES not in access.permissions_on(repository):
        return ""
    return reverse("registry_repositories:promotions", args=[repository.namespace.name, repository.name])


def policy_url(event: Event, access: Access) -> str:
    """Return the URL of the policy, or an empty string if it was deleted or the viewer can't open it."""
    if not event.policy_id or not event.policy:
        return ""
    may_open = levels.VIEW_POLICIES in access.permissions_on(event.policy.repository)
    return event.policy.get_absolute_url() if may_open else ""
