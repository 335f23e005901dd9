"""Policies, which act on the tags of a repository on their own, and their criteria."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse

from repositories import names
from repositories.policies import criteria, tag_templates

MAX_VALUE_LENGTH = 1000

_HOST = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?")


def new_policy_id() -> str:
    """Return an id such as `CA5E7822`."""
    return secrets.token_hex(4).upper()


def validate_registry(url: str) -> None:
    """Refuse what isn't the address of a registry and nothing else, so that no password gets in."""
    try:
        urlsplit(url).port  # noqa: B018 - raises ValueError for one that is too large
        fits = _HOST.fullmatch(url)
    except ValueError:
        fits = None
    if not fits:
        raise ValidationError(
            "Enter the registry's address alone, such as https://registry.example.com: http or https, a host,"
            " and a port if need be; no path, user name or password."
        )


def validate_name(name: str) -> None:
    """Refuse what no registry calls a repository."""
    if not names.is_name(name):
        raise ValidationError("Enter a repository's full name, such as acme/web.")


class Policy(models.Model):
    """A rule of a repository that acts on its own: it promotes, prunes or mirrors."""

    class Kind(models.TextChoices):
        PROMOTION = "promotion", "Promotion"
        PRUNING = "pruning", "Pruning"
        PUSH_MIRRORING = "push_mirroring", "Push mirroring"
        PULL_MIRRORING = "pull_mirroring", "Pull mirroring"

    class Interval(models.IntegerChoices):
        """How often a repository is mirrored here, in hours."""

        HOURLY = 1, "every hour"
        FOUR_TIMES_A_DAY = 6, "every 6 hours"
        DAILY = 24, "every day"
        WEEKLY = 168, "every week"

    public_id = models.CharField("id", max_length=8, unique=True, default=new_policy_id, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    repository = models.ForeignKey(
        "registry_repositories.Repository", models.CASCADE, related_name="policies"
    )
    enabled = models.BooleanField("switched on", default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    target = models.ForeignKey(
        "registry_repositories.Repository",
        models.CASCADE,
        verbose_name="target repository",
        null=True,
        blank=True,
        related_name="+",
        help_text="The repository of this registry that tags are promoted to.",
    )
    remote_registry = models.CharField(
        max_length=255,
        blank=True,
        validators=[validate_registry],
        help_text="Its address, such as https://registry.example.com.",
    )
    remote_repository = models.CharField(
        max_length=names.MAX_NAME_LENGTH,
        blank=True,
        validators=[validate_name],
        help_text="Its full name there, such as acme/web.",
    )
    tag_template = models.CharField(
        "name of the new tag",
        max_length=names.MAX_TAG_LENGTH,
        blank=True,
        validators=[tag_templates.validate],
        help_text="In it, "
        + ", ".join(f"{key} is {meaning}" for key, meaning in tag_templates.PLACEHOLDERS.items())
        + " (UTC).",
    )
    interval = models.PositiveSmallIntegerField(
        "how often", choices=Interval, null=True, blank=True, help_text="The whole repository is mirrored."
    )

    NEEDS = {
        Kind.PROMOTION: ["target", "tag_template"],
        Kind.PUSH_MIRRORING: ["remote_registry", "remote_repository", "tag_template"],
        Kind.PULL_MIRRORING: ["remote_registry", "remote_repository", "interval"],
        Kind.PRUNING: [],
    }
    """What each kind must be told, besides its criteria."""

    class Meta:
        ordering = ["repository", "kind", "public_id"]
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.public_id}"

    def get_absolute_url(self) -> str:
        return reverse("registry_activity:policy", args=[self.public_id])

    def clean(self) -> None:
        if self.target_id and self.target_id == self.repository_id:
            raise ValidationError({"target": "A repository isn't promoted to itself."})
        if self.target and self.target.deleted_at:
            raise ValidationError({"target": "This repository was deleted."})

    def criteria_in_words(self) -> str:
        """Return its criteria, such as “tag starts with “v”, and not pulled for 90 days”."""
        return in_words(self.criteria.all())


class Criterion(models.Model):
    """One condition that a tag must meet for a policy to act on it. All of a policy's must be met."""

    policy = models.ForeignKey(Policy, models.CASCADE, related_name="criteria")
    operator = models.CharField("criterion", max_length=20, choices=criteria.Operator)
    value = models.CharField(max_length=MAX_VALUE_LENGTH)

    class Meta:
        ordering = ["pk"]
        verbose_name_plural = "criteria"

    def __str__(self) -> str:
        number = f"{int(self.value):,}" if self.operator in criteria.NUMBERS else ""
        days = "1 day" if number == "1" else f"{number} days"
        match self.operator:
            case criteria.Operator.NOT_PULLED_FOR:
                return f"not pulled for {days}"
            case criteria.Operator.PUSHED_BEFORE:
                return f"pushed more than {days} ago"
            case criteria.Operator.ALL_BUT_NEWEST:
                return f"all but the newest {number}"
        tags = criteria.tags_in(self.value)
        return f"{self.get_operator_display()} {', '.join(f'“{tag}”' for tag in tags)}"

    def clean(self) -> None:
        if self.value and self.operator in criteria.Operator:  # that there is none, the field says
            try:
                self.value = criteria.clean_value(self.operator, self.value)
            except ValidationError as error:
                raise ValidationError({"value": error}) from error


def in_words(criteria: Iterable[Criterion]) -> str:
    """Return criteria as a sentence would say them; without any, that every tag meets them."""
    return ", and ".join(map(str, criteria)) or "every tag"
