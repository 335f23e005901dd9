"""Accounts and tokens of registries and other producers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from knox.models import get_token_model

from activity.models import AccessToken

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
        Permission.objects.get(content_type__app_label="activity", codename="add_event")
    )


def new_token(account: Any, name: str = "", expires_in: timedelta | None = None) -> str:
    """Make an access token for an account. Only its hash is stored: this is the one time it can be read."""
    token, text = get_token_model().objects.create(user=account, expiry=expires_in)
    AccessToken.objects.filter(token=token).update(name=name)
    return text
