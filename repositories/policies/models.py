"""Policies for automatically promoting, pruning or mirroring a repository's tags, and their criteria."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories import extensions, names
from repositories.policies import criteria, tag_templates

MAX_VALUE_LENGTH = 1000

_HOST = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?")


def new_policy_id() -> str:
    """Return a random id, e.g. `CA5E7822`."""
    return secrets.token_hex(4).upper()


def validate_registry(url: str) -> None:
    """Raise ValidationError unless `url` consists only of a scheme, a host and an optional port.

    The other parts of a URL could contain a password.
    """
    try:
        urlsplit(url).port  # noqa: B018 - raises ValueError if the port is out of range
        match = _HOST.fullmatch(url)
    except ValueError:
        match = None
    if not match:
        raise ValidationError(
            gettext(
                "Enter the URL of the registry, such as https://registry.example.com. It consists of http or"
                " https, a host, and optionally a port. It can't contain a path, a username or a password."
            )
        )


def validate_name(name: str) -> None:
    """Raise ValidationError unless `name` can be the full name of a repository."""
    if not names.is_name(name):
        raise ValidationError(gettext("Enter a repository's full name, such as acme/web."))


class Policy(models.Model):
    """A rule for promoting, pruning or mirroring a repository's tags. Other programs execute it."""

    class Kind(models.TextChoices):
        PROMOTION = "promotion", _("Promotion")
        PRUNING = "pruning", _("Pruning")
        PUSH_MIRRORING = "push_mirroring", _("Push mirroring")
        PULL_MIRRORING = "pull_mirroring", _("Pull mirroring")

    class Interval(models.IntegerChoices):
        """How often, in hours, a repository is mirrored from another registry."""

        HOURLY = 1, _("every hour")
        FOUR_TIMES_A_DAY = 6, _("every 6 hours")
        DAILY = 24, _("every day")
        WEEKLY = 168, _("every week")

    public_id = models.CharField(_("id"), max_length=8, unique=True, default=new_policy_id, editable=False)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    repository = models.ForeignKey(
        "registry_repositories.Repository",
        models.CASCADE,
        related_name="policies",
        verbose_name=_("repository"),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    target = models.ForeignKey(
        "registry_repositories.Repository",
        models.CASCADE,
        verbose_name=_("target repository"),
        null=True,
        blank=True,
        related_name="+",
        help_text=_("The repository in this registry that tags are promoted to."),
    )
    remote_registry = models.CharField(
        _("remote registry"),
        max_length=255,
        blank=True,
        validators=[validate_registry],
        help_text=_("The address of the registry, such as https://registry.example.com."),
    )
    remote_repository = models.CharField(
        _("remote repository"),
        max_length=names.MAX_NAME_LENGTH,
        blank=True,
        validators=[validate_name],
        help_text=_("The repository's full name in the remote registry, such as acme/web."),
    )
    tag_template = models.CharField(
        _("new tag name"),
        max_length=names.MAX_TAG_LENGTH,
        blank=True,
        validators=[tag_templates.validate],
        help_text=tag_templates.HELP,
    )
    interval = models.PositiveSmallIntegerField(
        _("interval"),
        choices=Interval,
        null=True,
        blank=True,
        help_text=_("How often the repository is mirrored. All of its tags are mirrored each time."),
    )

    REQUIRED_FIELDS = {
        Kind.PROMOTION: ["target", "tag_template"],
        Kind.PUSH_MIRRORING: ["remote_registry", "remote_repository", "tag_template"],
        Kind.PULL_MIRRORING: ["remote_registry", "remote_repository", "interval"],
        Kind.PRUNING: [],
    }
    """The fields that each kind of policy requires. Criteria are checked separately."""

    class Meta:
        verbose_name = _("policy")
        ordering = ["repository", "kind", "public_id"]
        verbose_name_plural = _("policies")

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.public_id}"

    def get_absolute_url(self) -> str:
        return extensions.page_url("policy", self.public_id)

    def clean(self) -> None:
        if self.target_id and self.target_id == self.repository_id:
            raise ValidationError({"target": gettext("The target must be a different repository.")})
        if self.target and self.target.deleted_at:
            raise ValidationError({"target": gettext("This repository has been deleted.")})

    def criteria_in_words(self) -> str:
        """Return the criteria as text, e.g. `tag starts with “v”, and not pulled for 90 days`."""
        return in_words(self.criteria.all())


class Criterion(models.Model):
    """A condition in a policy. A policy applies to the tags that meet all of its criteria."""

    policy = models.ForeignKey(Policy, models.CASCADE, related_name="criteria", verbose_name=_("policy"))
    operator = models.CharField(_("criterion"), max_length=20, choices=criteria.Operator)
    value = models.CharField(_("value"), max_length=MAX_VALUE_LENGTH)

    class Meta:
        verbose_name = _("criterion")
        ordering = ["pk"]
        verbose_name_plural = _("criteria")

    def __str__(self) -> str:
        return criteria.in_words(self.operator, self.value)

    def clean(self) -> None:
        if self.value and self.operator in criteria.Operator:  # the form fields report missing values
            try:
                self.value = criteria.clean_value(self.operator, self.value)
            except ValidationError as error:
                raise ValidationError({"value": error}) from error


def in_words(criteria: Iterable[Criterion]) -> str:
    """Return criteria as text, or `every tag` if there are none."""
    return gettext(", and ").join(map(str, criteria)) or gettext("every tag")
