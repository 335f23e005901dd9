"""Create access tokens. Knox stores their hashes; `AccessToken` rows store their names and last use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from knox.models import get_token_model

from repositories.models import AccessToken


def new_token(account: Any, name: str = "", expires_in: timedelta | None = None) -> str:
    """Create an access token for an account, and return it. Only its hash is stored."""
    token, text = get_token_model().objects.create(user=account, expiry=expires_in)
    AccessToken.objects.filter(token=token).update(name=name)
    return text


def add_details(sender: Any, instance: Any, created: bool, **_: Any) -> None:
    """Create the `AccessToken` row of a new Knox token. A receiver of `post_save`."""
    if created:
        AccessToken.objects.create(token=instance)
