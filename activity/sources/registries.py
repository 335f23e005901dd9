"""Records the last contact with each registry, and creates the registry's account."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from activity.models import Registry
from repositories.models import AccessToken, Profile

PRECISION = timedelta(minutes=1)
"""The minimum time between updates to a registry's row. A registry can send hundreds of messages a second."""
REGISTRY_ACCOUNT = "registry"
ADD_EVENT = Permission.objects.filter(content_type__app_label="registry_activity", codename="add_event")


def update_last_contact(account: Any) -> None:
    """Record that an account has just delivered a message.

    Token authentication loads the account with its registry, so reading the registry needs no extra query.
    """
    now = timezone.now()
    registry = getattr(account, "registry", None)
    if registry is None:
        Registry.objects.get_or_create(account=account)
    elif registry.last_contact_at < now - PRECISION:
        # The time is part of the filter, so that only one of several concurrent requests updates the row.
        stale = Registry.objects.filter(pk=registry.pk, last_contact_at=registry.last_contact_at)
        stale.update(last_contact_at=now)


def reasons_to_keep(accounts: Collection[Any]) -> Iterator[str]:
    """Yield why accounts must not be deleted: they deliver events, which would be refused from then on."""
    ids = [account.pk for account in accounts]
    registries = Registry.objects.filter(account__in=ids).select_related("account")
    for registry in registries:
        text = _("%(account)s is the account of a registry. Delete the registry first.")
        yield text % {"account": registry.account}
    producers = get_user_model()._default_manager.filter(
        Exists(AccessToken.objects.filter(user=OuterRef("pk"), can_write=True)),
        pk__in=ids,
        user_permissions__in=ADD_EVENT,
    )
    for account in producers.exclude(pk__in=registries.values("account")):
        yield _("%(account)s can deliver events. Revoke its access tokens first.") % {"account": account}


class PersonalAccount(Exception):
    """An account belongs to a person, so a registry can't use it."""


@transaction.atomic
def registry_account(name: str = REGISTRY_ACCOUNT) -> Any:
    """Return a registry's service account. The first call creates it, without a usable password.

    Raises PersonalAccount if somebody can log in with this account, unless they may add events already.
    """
    users = get_user_model()._default_manager
    key: dict[str, Any] = {get_user_model().USERNAME_FIELD: name}
    account, created = users.get_or_create(**key)
    if created:
        account.set_unusable_password()
        account.save()
        Profile.objects.create(user=account, is_service_account=True)
    elif account.has_usable_password() and not account.has_perm("registry_activity.add_event"):
        raise PersonalAccount
    grant_add_event_permission(account)
    return account


def may_add_events(account: str) -> Exists:
    """Return the condition that an account may add events. `account` is the name of the foreign key to it."""
    holders = Q(user=OuterRef(account)) | Q(group__user=OuterRef(account))
    return Exists(ADD_EVENT.filter(holders))


def grant_add_event_permission(account: Any) -> None:
    """Grant an account the permission to add events."""
    account.user_permissions.add(ADD_EVENT.get())
