"""Organizations and teams, and the namespaces that belong to organizations and users."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories import names
from repositories.access import levels
from repositories.accounts import current_request

MAX_GROUP_NAME_PART = 70
"""The maximum length of organization and team names.

The group name `organization/team` can have at most 150 characters.
"""

validate_component = RegexValidator(
    rf"^{names.COMPONENT}\Z",
    _("Use lowercase letters and digits, with single separators (. _ -) between them."),
)
validate_namespace = RegexValidator(
    rf"^(?:{names.NAMESPACE})\Z",
    _("Use letters and digits, with single separators (. _ -) between them."),
)


def validate_not_reserved(name: str) -> None:
    """Raise ValidationError for a name that no user or organization may have."""
    if names.is_reserved(name):
        raise ValidationError(gettext("This name is reserved."), code="reserved")


class Organization(models.Model):
    """A group of people. It owns namespaces, one of which has the same name as the organization."""

    name = models.CharField(
        _("name"),
        max_length=MAX_GROUP_NAME_PART,
        unique=True,
        validators=[validate_namespace, validate_not_reserved],
    )
    users: models.ManyToManyField = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="Membership", related_name="organizations", verbose_name=_("users")
    )

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Check that the name isn't taken by a user or another organization."""
        taken = Namespace.objects.filter(name=self.name).exclude(Namespace.UNCLAIMED)
        if taken.exclude(organization__isnull=False, organization=self.pk).exists():
            raise ValidationError({"name": gettext("A user or another organization already has this name.")})

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the organization. If it is new, also create or claim the namespace with the same name.

        Raises ValidationError if that namespace belongs to another owner, or if the name is reserved.
        """
        validate_not_reserved(self.name)
        adding = self._state.adding
        super().save(*args, **kwargs)
        if adding:
            namespace, _ = Namespace.objects.get_or_create(name=self.name)
            namespace.claim(organization=self)


class Membership(models.Model):
    """A user's membership in an organization.

    Owners administer the organization. Members can be added to its teams.
    """

    class Role(models.TextChoices):
        OWNER = "owner", _("Owner")
        MEMBER = "member", _("Member")

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="memberships", verbose_name=_("organization")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships", verbose_name=_("user")
    )
    role = models.CharField(_("role"), max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="one_membership")]

    def __str__(self) -> str:
        return gettext("%(user)s (%(role)s of %(organization)s)") % {
            "user": self.user,
            "role": self.get_role_display(),
            "organization": self.organization,
        }


class Team(models.Model):
    """Members of an organization who are granted access together, through a Django group."""

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="teams", verbose_name=_("organization")
    )
    name = models.CharField(_("name"), max_length=MAX_GROUP_NAME_PART, validators=[validate_component])
    group = models.OneToOneField(Group, models.CASCADE, editable=False, verbose_name=_("group"))

    class Meta:
        verbose_name = _("team")
        verbose_name_plural = _("teams")
        ordering = ["organization__name", "name"]
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="one_team_of_a_name")]

    def __str__(self) -> str:
        return f"{self.organization}/{self.name}"

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the team, and create or rename its group (`organization/team`)."""
        if self.group_id is None:
            with current_request.auditing_disabled():
                self.group = Group.objects.create(name=str(self))
        else:
            Group.objects.filter(pk=self.group_id).update(name=str(self))
        super().save(*args, **kwargs)


class Namespace(models.Model):
    """The first part of a repository's name. It belongs to a user or an organization, or has no owner yet.

    A namespace without an owner is *unclaimed*. For example, a namespace is unclaimed if it was created
    because the registry reported a repository in it. Until an MSR admin assigns it to an owner, only MSR
    admins and auditors can see its repositories, regardless of any grants.
    """

    UNCLAIMED: ClassVar[Q] = Q(user__isnull=True, organization__isnull=True) & ~Q(name=names.LIBRARY)

    name = models.CharField(_("name"), max_length=names.MAX_NAME_LENGTH, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="namespaces",
        verbose_name=_("user"),
    )
    organization = models.ForeignKey(
        Organization,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="namespaces",
        verbose_name=_("organization"),
    )

    class Meta:
        verbose_name = _("namespace")
        verbose_name_plural = _("namespaces")
        ordering = ["name"]
        permissions = levels.GRANTABLE
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True) | Q(organization__isnull=True),
                name="namespace_of_one_owner",
                violation_error_message=_(
                    "A namespace can belong to a user or to an organization, but not to both."
                ),
            ),
            models.CheckConstraint(
                condition=~Q(name=names.LIBRARY) | Q(user__isnull=True, organization__isnull=True),
                name="library_without_owner",
            ),
            models.CheckConstraint(condition=~Q(name__contains="/"), name="namespace_of_one_component"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_unclaimed(self) -> bool:
        return self.user_id is None and self.organization_id is None and self.name != names.LIBRARY

    @property
    def owner(self) -> Any:
        """The user or organization that the namespace belongs to, or None."""
        return self.user or self.organization

    def clean(self) -> None:
        if self._state.adding:
            validate_namespace(self.name)
        # In the admin, the name is read-only, so the constraint isn't checked.
        if self.name == names.LIBRARY and self.owner:
            raise ValidationError(
                gettext("Repositories without a namespace have no owner. Grant access instead.")
            )

    def claim(self, *, user: Any = None, organization: Organization | None = None) -> None:
        """Assign an unclaimed namespace to an owner.

        Raises ValidationError if it already belongs to another owner.
        """
        if not self.is_unclaimed and self.owner not in (user, organization):
            message = gettext("The namespace %(name)s belongs to %(owner)s.")
            raise ValidationError(
                message, params={"name": self.name, "owner": self.owner or gettext("nobody")}
            )
        self.user, self.organization = user, organization
        self.full_clean(validate_unique=False)
        self.save(update_fields=["user", "organization"])
