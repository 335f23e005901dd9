"""Remembers when each registry was last heard from, so that one that has gone quiet is noticed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.utils import timezone

from activity.models import Registry

PRECISION = timedelta(minutes=1)
"""A registry's row is written at most so often: it may deliver hundreds of messages a second."""


def heard_from(account: Any) -> None:
    """Remember that an account delivered a message just now. `tokens.find` has loaded its registry."""
    now = timezone.now()
    registry = getattr(account, "registry", None)
    if registry is None:
        Registry.objects.get_or_create(account=account)
    elif registry.last_heard_at < now - PRECISION:
        # The condition stands here again, so that of many requests at once one writes.
        stale = Registry.objects.filter(pk=registry.pk, last_heard_at=registry.last_heard_at)
        stale.update(last_heard_at=now)


REGISTRY_ACCOUNT = "registry"


@transaction.atomic
def registry_account() -> Any:
    """Return the account that the registry delivers with, made at the first call, without a password."""
    users = get_user_model()._default_manager
    key: dict[str, Any] = {get_user_model().USERNAME_FIELD: REGISTRY_ACCOUNT}
    account, created = users.get_or_create(**key)
    if created:
        account.set_unusable_password()
        account.save()
    allow_adding_events(account)
    return account


def allow_adding_events(account: Any) -> None:
    """Give an account the permission to add events."""
    account.user_permissions.add(
        Permission.objects.get(content_type__app_label="registry_activity", codename="add_event")
    )
