"""Makes access tokens. Knox stores them hashed; an `AccessToken` row beside each holds its name and last use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from knox.models import get_token_model

from repositories.models import AccessToken


def new_token(account: Any, name: str = "", expires_in: timedelta | None = None) -> str:
    """Make an access token for an account. Only its hash is stored: this is the one time it can be read."""
    token, text = get_token_model().objects.create(user=account, expiry=expires_in)
    AccessToken.objects.filter(token=token).update(name=name)
    return text


def describe(sender: Any, instance: Any, created: bool, **_: Any) -> None:
    """Put an `AccessToken` beside a token, whoever made it. Receives `post_save`."""
    if created:
        AccessToken.objects.create(token=instance)
