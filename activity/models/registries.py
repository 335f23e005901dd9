"""Registries that deliver notifications."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone


class Registry(models.Model):
    """A registry, identified by the account that delivers its notifications.

    See `activity.sources.registries`.
    """

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, editable=False, related_name="registry"
    )
    last_contact_at = models.DateTimeField(
        default=timezone.now,
        editable=False,
        help_text="When the registry last delivered a message, to the minute, by this server's clock.",
    )
    quiet_after = models.PositiveIntegerField(
        "quiet after (hours)",
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 366)],
        help_text="Report the registry as quiet if it delivers nothing for longer than this.",
    )

    class Meta:
        ordering = ["last_contact_at"]
        verbose_name_plural = "registries"

    def __str__(self) -> str:
        return str(self.account)

    @property
    def is_quiet(self) -> bool:
        return self.last_contact_at < timezone.now() - timedelta(hours=self.quiet_after)
