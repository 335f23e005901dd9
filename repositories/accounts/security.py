"""The security of a user's account: lists tokens and sessions, revokes them, and unlocks the username."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from repositories import signals
from repositories.accounts import passwords, sessions
from repositories.models import AccessToken, Login, Membership, Team

MAX_SHOWN = 100


@dataclass(frozen=True)
class AccountSecurity:
    """What gives a user access, besides grants."""

    user: Any

    @property
    def tokens(self) -> QuerySet[AccessToken]:
        return AccessToken.objects.filter(user=self.user)[:MAX_SHOWN]

    @property
    def logins(self) -> QuerySet[Login]:
        return Login.objects.filter(user=self.user).order_by("-started_at")[:MAX_SHOWN]

    @property
    def memberships(self) -> QuerySet[Membership]:
        found = Membership.objects.filter(user=self.user).select_related("organization")
        return found.order_by("organization__name")[:MAX_SHOWN]

    @property
    def teams(self) -> QuerySet[Team]:
        return Team.objects.filter(group__user=self.user).select_related("organization")[:MAX_SHOWN]

    @property
    def last_seen(self) -> datetime | None:
        """When the user last logged in or used a token."""
        used = AccessToken.objects.filter(user=self.user, last_used_at__isnull=False)
        newest = used.order_by("-last_used_at").values_list("last_used_at", flat=True).first()
        return max(filter(None, (self.user.last_login, newest)), default=None)

    @property
    def locked_until(self) -> datetime | None:
        return passwords.locked_until(self.user.get_username())


def end_access(user: Any) -> tuple[int, int]:
    """Revoke all access tokens of a user, and end all their sessions. Return the numbers of both."""
    tokens = AccessToken.objects.filter(user=user).count()
    AccessToken.objects.filter(user=user).delete()
    ended = sessions.end_sessions(user)
    if ended:
        signals.sessions_ended.send(type(user), user=user, number=ended)
    return tokens, ended


def unlock(user: Any) -> None:
    """Let a user log in again after too many wrong passwords for their name."""
    passwords.unlock(user.get_username())
    signals.user_unlocked.send(type(user), user=user)
