"""Disputes: marks on the events that an account or one of its access tokens delivered."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories.accounts.models import MAX_TOKEN_KEY_LENGTH, SHOWN_DIGITS
from repositories.utils.fields import UnconstrainedForeignKey

if TYPE_CHECKING:
    from activity.models.events import Event


class Dispute(models.Model):
    """States that what an account or one of its access tokens delivered may be forged.

    The events themselves don't change. They are shown as disputed, and held until the dispute is lifted. The
    times are those of receipt, because whoever forges an event chooses the time at which it occurred.
    """

    account = UnconstrainedForeignKey(settings.AUTH_USER_MODEL, verbose_name=_("account"))
    """The account, which may have been deleted since."""
    token_key = models.CharField(
        _("first digits of the token"),
        max_length=MAX_TOKEN_KEY_LENGTH,
        blank=True,
        validators=[
            RegexValidator(rf"^[0-9a-f]{{{SHOWN_DIGITS},}}$", _("Enter the digits as an event shows them."))
        ],
        help_text=_("Leave empty to dispute whatever the account delivered, with any token."),
    )
    since = models.DateTimeField(_("received since"), help_text=_("Events received at this time or later."))
    until = models.DateTimeField(
        _("received before"), null=True, blank=True, help_text=_("Leave empty to include all later events.")
    )
    reason = models.TextField(_("reason"))
    disputed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("disputed by"),
    )
    disputed_at = models.DateTimeField(_("disputed at"), default=timezone.now, editable=False)
    lifted_at = models.DateTimeField(_("lifted at"), null=True, editable=False)

    class Meta:
        verbose_name = _("dispute")
        verbose_name_plural = _("disputes")
        ordering = ["-disputed_at", "-pk"]
        default_permissions = ["add", "change", "view"]  # "change" allows lifting a dispute

    def __str__(self) -> str:
        values = {
            "account": self.account or f"#{self.account_id}",
            "token": f"{self.token_key[:SHOWN_DIGITS]}…",
            "time": f"{self.since:%Y-%m-%d %H:%M}",
        }
        if self.token_key:
            return gettext("%(account)s, token %(token)s, since %(time)s UTC") % values
        return gettext("%(account)s, since %(time)s UTC") % values

    def clean(self) -> None:
        super().clean()
        if self.since and self.until and self.since >= self.until:
            raise ValidationError({"until": gettext("The end must be after the start.")})

    @property
    def events(self) -> Q:
        """The condition for the disputed events."""
        condition = Q(delivered_by=self.account_id, received_at__gte=self.since)
        if self.token_key:
            condition &= Q(delivered_with__startswith=self.token_key)
        return condition if self.until is None else condition & Q(received_at__lt=self.until)

    def includes(self, event: Event) -> bool:
        """Return whether an event meets the condition."""
        return (
            event.delivered_by_id == self.account_id
            and event.delivered_with.startswith(self.token_key)
            and event.received_at >= self.since
            and (self.until is None or event.received_at < self.until)
        )

    @classmethod
    def in_force(cls, accounts: Collection[int | None]) -> list[Self]:
        """Return the disputes about what these accounts delivered. Without accounts, runs no query."""
        return list(cls.objects.filter(account__in=accounts, lifted_at=None)) if accounts else []
