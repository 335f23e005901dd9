"""Registries that deliver notifications."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class RegistryNode(models.Model):
    """A node of a registry, from its start to its end. See `activity.sources.nodes`."""

    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    """The account that delivers the notifications."""
    instance_id = models.CharField(max_length=255)
    """The id that the node has chosen at its start (`source.instanceID`)."""
    address = models.CharField(max_length=255)
    first_event_at = models.DateTimeField()
    last_event_at = models.DateTimeField()
    """The time of the newest notification, to the minute."""
    clock_offset = models.DurationField(null=True)
    """How far the clock of the node is ahead, negative if it is behind, or None if it is right."""

    class Meta:
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(fields=["account", "instance_id"], name="unique_registry_node"),
        ]

    def __str__(self) -> str:
        return self.address or self.instance_id

    @property
    def is_ahead(self) -> bool:
        return self.clock_offset is not None and self.clock_offset > timedelta()

    @property
    def clock_offset_in_words(self) -> str:
        """How far off the clock is, e.g. `1 year ahead` or `2 hours behind`."""
        offset, now = self.clock_offset or timedelta(), timezone.now()
        text = gettext("%(time)s ahead") if self.is_ahead else gettext("%(time)s behind")
        return text % {"time": timesince(now - abs(offset), now, depth=1)}


class Registry(models.Model):
    """A registry, identified by the account that delivers its notifications.

    It outlives its account, so that nobody overlooks that it can't deliver anything anymore.
    See `activity.sources.registries`.
    """

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="registry",
        verbose_name=_("account"),
    )
    name = models.CharField(
        _("name"), max_length=255, editable=False, help_text=_("The last known name of the account.")
    )
    last_contact_at = models.DateTimeField(
        _("last contact at"),
        default=timezone.now,
        editable=False,
        help_text=_("When the registry last delivered a message, to the minute, by this server's clock."),
    )
    quiet_after = models.PositiveIntegerField(
        _("quiet after (hours)"),
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 366)],
        help_text=_("Report the registry as quiet if it delivers nothing for longer than this."),
    )

    class Meta:
        verbose_name = _("registry")
        ordering = ["last_contact_at"]
        verbose_name_plural = _("registries")

    def __str__(self) -> str:
        return str(self.account or self.name)

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.account:
            self.name = self.account.get_username()
        super().save(*args, **kwargs)

    @property
    def is_quiet(self) -> bool:
        return self.last_contact_at < timezone.now() - timedelta(hours=self.quiet_after)
