"""The journal: messages that have been received and acknowledged, but not yet recorded."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from repositories.accounts.models import MAX_TOKEN_KEY_LENGTH
from repositories.utils.fields import UnconstrainedForeignKey


class JournalEntry(models.Model):
    """A message of a registry as it was received, or an action in this application, until it is recorded.

    Nobody can view entries, because a message can contain credentials until it is recorded. See
    `activity.storage.journal`.
    """

    class Source(models.IntegerChoices):
        REGISTRY = 1, "Registry notification"
        APPLICATION = 2, "Action in this application"

    source = models.SmallIntegerField(choices=Source)
    account = UnconstrainedForeignKey(settings.AUTH_USER_MODEL, null=True)
    """The account that delivered the message. None for actions in this application."""
    token_key = models.CharField(max_length=MAX_TOKEN_KEY_LENGTH, blank=True)
    received_at = models.DateTimeField()
    content = models.BinaryField()
    """The message, or the beginning of an oversized one. For an action, the draft of its event as JSON."""
    size = models.BigIntegerField()
    """The size of the whole message in bytes."""

    class Meta:
        verbose_name_plural = "journal entries"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.get_source_display()}, {self.received_at:%Y-%m-%d %H:%M:%S} UTC"
