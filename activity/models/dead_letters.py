"""Dead letters: messages that could not be recorded."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from repositories.accounts.models import MAX_TOKEN_KEY_LENGTH


class DeadLetter(models.Model):
    """A message, or part of a message, that could not be recorded, and the reason why."""

    class Source(models.TextChoices):
        REGISTRY = "registry", _("Registry notification")
        PRODUCER = "producer", _("Events API")
        APPLICATION = "application", _("This application")

    fingerprint = models.CharField(
        _("fingerprint"),
        max_length=64,
        unique=True,
        editable=False,
        help_text=_("SHA-256 of source, account, size and content."),
    )
    source = models.CharField(_("source"), max_length=11, choices=Source)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        help_text=_("The account that delivered the message."),
        verbose_name=_("account"),
    )
    token_key = models.CharField(_("token key"), max_length=MAX_TOKEN_KEY_LENGTH, blank=True, editable=False)
    """The first digits of the access token that delivered the message."""
    received_at = models.DateTimeField(_("received at"), default=timezone.now, db_index=True)
    reason = models.CharField(_("reason"), max_length=500)
    content = models.BinaryField(_("content"), help_text=_("The raw bytes of the message."))
    size = models.BigIntegerField(_("size"), help_text=_("Size of the whole message, in bytes."))
    replayed_at = models.DateTimeField(_("replayed at"), null=True, editable=False)
    dismissed_at = models.DateTimeField(_("dismissed at"), null=True, editable=False)
    dismissed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("dismissed by"),
    )
    note = models.TextField(
        _("note"), blank=True, editable=False, help_text=_("Why the message was dismissed.")
    )

    NOT_REPLAYED: ClassVar[Q] = Q(replayed_at=None)
    NOT_DISMISSED: ClassVar[Q] = Q(dismissed_at=None)
    WAITING: ClassVar[Q] = NOT_REPLAYED & NOT_DISMISSED
    """The condition for messages that an admin has neither replayed nor dismissed yet."""

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
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
