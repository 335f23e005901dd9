"""Texts that many events have in common, such as the names of clients."""

from __future__ import annotations

from django.db import models

MAX_TEXT = 255


class Text(models.Model):
    """A text that is stored once and that events refer to. It is never changed."""

    id = models.AutoField(primary_key=True)  # four bytes in each event
    value = models.CharField(max_length=MAX_TEXT)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["value"], name="unique_text")]

    def __str__(self) -> str:
        return self.value
