"""Users' display preferences, access tokens, and counters of failed attempts."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from knox.models import AbstractAuthToken

from repositories.accounts.restrictions import Restriction, validate_restriction
from repositories.utils.fields import TimeZoneField, name_fields

MAX_TOKEN_KEY_LENGTH = 25
"""The length of the column in which Knox stores the first digits of a token."""
SHOWN_DIGITS = 8
"""The number of the first digits of a token that are shown. They tell tokens apart, and give no access."""


class Profile(models.Model):
    """A user's display preferences, and whether the user is a service account."""

    class Theme(models.TextChoices):
        SYSTEM = "", _("Same as my system")
        LIGHT = "light", _("Light")
        DARK = "dark", _("Dark")

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"))
    time_zone = TimeZoneField(
        null=True, blank=True, choices_display="WITH_GMT_OFFSET", verbose_name=_("time zone")
    )
    """None until the user chooses a time zone or their browser reports one."""
    time_zone_guessed = models.BooleanField(_("time zone guessed"), default=False, editable=False)
    """Whether the time zone follows that of the browser."""
    theme = models.CharField(_("theme"), max_length=5, choices=Theme, blank=True, default=Theme.SYSTEM)
    is_service_account = models.BooleanField(
        _("service account"),
        default=False,
        help_text=_("Nobody can log in to a service account. Programs use it with access tokens."),
    )

    class Meta:
        verbose_name = _("profile")
        verbose_name_plural = _("profiles")

    def __str__(self) -> str:
        return gettext("Profile of %(user)s") % {"user": self.user}

    @classmethod
    def for_user(cls, user: Any) -> Profile:
        """Return a user's profile, or a new, unsaved profile if they have none."""
        return cls.objects.filter(user=user.pk).first() or cls(user_id=user.pk)


class Scope(models.TextChoices):
    """What an access token can be used for, if its owner may do so."""

    READ = "read", _("read events")
    WRITE = "write", _("write events")


class AccessToken(AbstractAuthToken):
    """A user's access token, with which a program can do a part of what its owner may do.

    Only its hash is stored.
    """

    FOR_NOTIFICATIONS: ClassVar[Q] = Q(can_write=True, restricted_to="")
    """The condition for tokens that deliver notifications, which can be about any repository."""

    # Overridden because the related name must differ from the one in Knox's own model.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="access_tokens", verbose_name=_("user")
    )
    name = models.CharField(_("name"), max_length=100, blank=True)
    can_read = models.BooleanField(
        _("read events"),
        default=True,
        help_text=_("Includes the names of the repositories that the owner can see."),
    )
    can_write = models.BooleanField(
        _("write events"),
        default=False,
        help_text=_("For registries, scanners and others. The owner needs the permission to add events."),
    )
    restricted_to = models.TextField(
        _("only in"),
        blank=True,
        validators=[validate_restriction],
        help_text=_(
            "A namespace, such as acme/*, or a repository, such as acme/web, on each line. Leave empty"
            " for no restriction, which a registry's token needs."
        ),
    )
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)
    last_used_from = models.GenericIPAddressField(_("last used from"), null=True, editable=False)

    class Meta:
        verbose_name = _("access token")
        verbose_name_plural = _("access tokens")
        ordering = ["-created", "pk"]

    def __str__(self) -> str:
        return self.name or gettext("unnamed")

    def clean(self) -> None:
        if not self.scopes:
            raise ValidationError(gettext("Choose what the token can be used for."))

    @property
    def is_expired(self) -> bool:
        return self.expiry is not None and self.expiry < timezone.now()

    @property
    def digits(self) -> str:
        """The first digits of the token, which identify it."""
        return self.token_key[:SHOWN_DIGITS]

    @property
    def label(self) -> str:
        """The name and the first digits: `CI (4f1c09ab…)`. Only the digits if the token has no name."""
        return f"{self.name} ({self.digits}…)" if self.name else f"{self.digits}…"

    @property
    def scopes(self) -> frozenset[Scope]:
        granted = {Scope.READ: self.can_read, Scope.WRITE: self.can_write}
        return frozenset(scope for scope, is_granted in granted.items() if is_granted)

    @property
    def restriction(self) -> Restriction | None:
        """The namespaces and repositories in which the token can be used. None if it isn't restricted."""
        return Restriction.parse(self.restricted_to) if self.restricted_to else None

    @property
    def can_deliver_notifications(self) -> bool:
        return self.can_write and not self.restricted_to

    def may_write_in(self, full_name: str) -> bool:
        """Return whether the token can be used to write events of the repository with this name."""
        return self.can_write and (self.restriction is None or self.restriction.includes(full_name))


name_fields(AccessToken, created=_("created"), expiry=_("expiry"))


class Login(models.Model):
    """A session in which a user is logged in. See `repositories.accounts.sessions`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="logins")
    session_key = models.CharField(max_length=40, unique=True)
    started_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        time = f"{self.started_at:%Y-%m-%d %H:%M}"
        return gettext("Login of %(user)s at %(time)s") % {"user": self.user, "time": time}


# The same names in `Meta` would need a migration.
Login._meta.verbose_name, Login._meta.verbose_name_plural = _("login"), _("logins")


class Counter(models.Model):
    """The number of failures that count against a limit. See `repositories.accounts.limits`."""

    key = models.CharField(max_length=64, unique=True)
    """The hash of the limit and its subject."""
    group = models.CharField(max_length=64, blank=True, db_index=True)
    """The hash of what the counters have in common that are deleted together, such as a username."""
    count = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        time = f"{self.expires_at:%Y-%m-%d %H:%M}"
        return gettext("%(count)s until %(time)s") % {"count": self.count, "time": time}
