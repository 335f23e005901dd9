"""What follows from changes to users, teams and groups."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from repositories.accounts import current_request
from repositories.models import Membership, Namespace, Team


@receiver(post_save, sender=get_user_model())
def give_namespace(instance: Any, created: bool, raw: bool, **_: Any) -> None:
    """Give a new user the namespace of their name, if it is free.

    One that the registry named before stays unclaimed: what is in it may be somebody else's, so an
    MSR admin has to say whose it is.
    """
    if created and not raw:
        Namespace.objects.get_or_create(name=instance.get_username(), defaults={"user": instance})


@receiver(post_delete, sender=Team)
def delete_group(instance: Team, **_: Any) -> None:
    """Delete the group with its team, and so the team's grants."""
    with current_request.auditing_disabled():
        Group.objects.filter(pk=instance.group_id).delete()


@receiver(post_delete, sender=Membership)
def leave_teams(instance: Membership, **_: Any) -> None:
    """Take who left an organization out of its teams, and so of what is granted to these."""
    teams = Team.objects.filter(organization=instance.organization_id, group__user=instance.user_id)
    for team in teams.select_related("group"):
        team.group.user_set.remove(instance.user_id)
