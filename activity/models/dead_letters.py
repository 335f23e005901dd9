"""Dead letters: messages that could not be recorded."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from repositories.models import MAX_TOKEN_KEY_LENGTH


class DeadLetter(models.Model):
    """A message, or part of a message, that could not be recorded, and the reason why."""

    class Source(models.TextChoices):
        REGISTRY = "registry", "Registry notification"
        PRODUCER = "producer", "Events API"
        APPLICATION = "application", "This application"

    fingerprint = models.CharField(
        max_length=64, unique=True, editable=False, help_text="SHA-256 of source, account, size and content."
    )
    source = models.CharField(max_length=11, choices=Source)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        help_text="The account that delivered the message.",
    )
    token_key = models.CharField(max_length=MAX_TOKEN_KEY_LENGTH, blank=True, editable=False)
    """The first digits of the access token that delivered the message."""
    received_at = models.DateTimeField(default=timezone.now, db_index=True)
    reason = models.CharField(max_length=500)
    content = models.BinaryField(help_text="The raw bytes of the message.")
    size = models.BigIntegerField(help_text="Size of the whole message, in bytes.")
    replayed_at = models.DateTimeField(null=True, editable=False)
    dismissed_at = models.DateTimeField(null=True, editable=False)
    dismissed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    note = models.TextField(blank=True, editable=False, help_text="Why the message was dismissed.")

    NOT_REPLAYED: ClassVar[Q] = Q(replayed_at=None)
    NOT_DISMISSED: ClassVar[Q] = Q(dismissed_at=None)
    WAITING: ClassVar[Q] = NOT_REPLAYED & NOT_DISMISSED
    """The condition for messages that an admin has neither replayed nor dismissed yet."""

    class Meta:
        ordering = ["-received_at", "-pk"]
        default_permissions = ["change", "view"]  # "change" allows replaying and dismissing
        indexes = [
            models.Index(
                fields=["received_at", "id"],
                condition=Q(replayed_at=None, dismissed_at=None),
                name="dead_letter_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_source_display()}, {self.received_at:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def is_truncated(self) -> bool:
        """Whether only the beginning of the message is stored. Such a message can't be replayed."""
        return len(self.content) < self.size

    @property
    def text(self) -> str:
        """The content decoded as UTF-8, with invalid bytes escaped."""
        return bytes(self.content).decode("utf-8", "backslashreplace")
