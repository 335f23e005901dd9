"""What the site keeps about a user: display preferences, and access tokens."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from timezone_field import TimeZoneField


class Profile(models.Model):
    """How one person wants to see the site."""

    class Theme(models.TextChoices):
        SYSTEM = "", "As my system has it"
        LIGHT = "light", "Light"
        DARK = "dark", "Dark"

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE)
    time_zone = TimeZoneField(null=True, blank=True, choices_display="WITH_GMT_OFFSET")
    """None until the person chooses one, or their browser tells it."""
    time_zone_guessed = models.BooleanField(default=False, editable=False)
    theme = models.CharField(max_length=5, choices=Theme, blank=True, default=Theme.SYSTEM)

    def __str__(self) -> str:
        return f"Profile of {self.user}"

    @classmethod
    def of(cls, user: Any) -> Profile:
        """Return a person's profile; a new one, not stored, for whoever has none."""
        return cls.objects.filter(user=user.pk).first() or cls(user_id=user.pk)


class AccessToken(models.Model):
    """What Knox doesn't keep of an access token: what its owner calls it, and when it was last used."""

    token = models.OneToOneField(settings.KNOX_TOKEN_MODEL, models.CASCADE, related_name="access_token")
    name = models.CharField(max_length=100, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-token__created", "pk"]

    def __str__(self) -> str:
        return self.name or "unnamed"
