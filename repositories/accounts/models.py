"""Users' display preferences, access tokens, and counters of failed attempts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from knox.models import AbstractAuthToken

from repositories.utils.fields import TimeZoneField

MAX_TOKEN_KEY_LENGTH = 25
"""The length of the column in which Knox stores the first digits of a token."""
SHOWN_DIGITS = 8
"""The number of the first digits of a token that are shown. They tell tokens apart, and give no access."""


class Profile(models.Model):
    """A user's display preferences."""

    class Theme(models.TextChoices):
        SYSTEM = "", "Same as my system"
        LIGHT = "light", "Light"
        DARK = "dark", "Dark"

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE)
    time_zone = TimeZoneField(null=True, blank=True, choices_display="WITH_GMT_OFFSET")
    """None until the user chooses a time zone or their browser reports one."""
    time_zone_guessed = models.BooleanField(default=False, editable=False)
    theme = models.CharField(max_length=5, choices=Theme, blank=True, default=Theme.SYSTEM)

    def __str__(self) -> str:
        return f"Profile of {self.user}"

    @classmethod
    def for_user(cls, user: Any) -> Profile:
        """Return a user's profile, or a new, unsaved profile if they have none."""
        return cls.objects.filter(user=user.pk).first() or cls(user_id=user.pk)


class AccessToken(AbstractAuthToken):
    """A user's access token. Only its hash is stored."""

    # Overridden because the related name must differ from the one in Knox's own model.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="access_tokens")
    name = models.CharField(max_length=100, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created", "pk"]

    def __str__(self) -> str:
        return self.name or "unnamed"

    @property
    def is_expired(self) -> bool:
        return self.expiry is not None and self.expiry < timezone.now()


class Counter(models.Model):
    """The number of failures that count against a limit. See `repositories.accounts.limits`."""

    key = models.CharField(max_length=64, unique=True)
    """The hash of the limit and its subject."""
    count = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        return f"{self.count} until {self.expires_at:%Y-%m-%d %H:%M}"
