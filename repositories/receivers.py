"""Signal receivers for changes to users, teams and memberships."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from repositories.access.people import create_namespace_of
from repositories.accounts import current_request
from repositories.models import Membership, Team
from repositories.utils.migrated import is_migrated


@receiver(post_save, sender=get_user_model())
def create_namespace_of_new_user(instance: Any, created: bool, raw: bool, **_: Any) -> None:
    """Create the namespace of a new user."""
    if created and not raw and is_migrated("registry_repositories"):
        create_namespace_of(instance)


@receiver(post_delete, sender=Team)
def delete_group(instance: Team, **_: Any) -> None:
    """Delete the group of a deleted team, which also deletes the team's grants."""
    with current_request.auditing_disabled():
        Group.objects.filter(pk=instance.group_id).delete()


@receiver(post_delete, sender=Membership)
def remove_from_teams(instance: Membership, origin: Any, **_: Any) -> None:
    """Remove a former member from the organization's teams, so that they lose the teams' grants.

    If the user or the organization is deleted, the teams lose the member anyway.
    """
    if origin is not instance and getattr(origin, "model", None) is not Membership:
        return
    teams = Team.objects.filter(organization=instance.organization_id, group__user=instance.user_id)
    for team in teams.select_related("group"):
        team.group.user_set.remove(instance.user_id)
