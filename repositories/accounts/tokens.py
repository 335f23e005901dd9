"""The access token of a request travels with the request's user, so that whatever asks for the permissions of
this user gets those of the token.
"""

from __future__ import annotations

from typing import Any

ATTRIBUTE = "_registry_access_token"


def attach(token: Any) -> None:
    """Attach a token to its owner: from now on, this object of the owner stands for the token."""
    setattr(token.user, ATTRIBUTE, token)


def token_of(user: Any) -> Any:
    """Return the token with which a user has authenticated, or None if they have logged in."""
    return getattr(user, ATTRIBUTE, None)
