"""Models: organizations, teams, namespaces, repositories, registry settings, and grants."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.signals import pre_delete
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase
from solo.models import SingletonModel

from repositories import names
from repositories.access import levels
from repositories.accounts import current_request
from repositories.accounts.models import AccessToken as AccessToken
from repositories.accounts.models import Counter as Counter
from repositories.accounts.models import Login as Login
from repositories.accounts.models import Profile as Profile
from repositories.accounts.models import Scope as Scope
from repositories.policies.models import Criterion as Criterion
from repositories.policies.models import Policy as Policy
from repositories.policies.models import new_policy_id as new_policy_id  # used by migrations
from repositories.utils.fields import name_fields

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


class RoleGroup(models.Model):
    """The group of a role in the whole registry. See `repositories.access.groups`."""

    class Role(models.TextChoices):
        MSR_ADMINS = "msr_admins", _("MSR admins")
        AUDITORS = "auditors", _("Security auditors")

    role = models.CharField(max_length=10, choices=Role, unique=True)
    group = models.OneToOneField(Group, models.CASCADE, related_name="role")

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        return self.get_role_display()


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


class RepositoryQuerySet(models.QuerySet["Repository"]):
    def live(self) -> RepositoryQuerySet:
        """Exclude deleted repositories."""
        return self.filter(deleted_at__isnull=True)

    def named(self, full_name: str) -> RepositoryQuerySet:
        """Filter by full name. Deleted repositories are included."""
        namespace, name = names.split_name(full_name)
        return self.filter(namespace__name=namespace, name=name)

    def not_pulled_for(self, days: int) -> RepositoryQuerySet:
        """Return the repositories that have been known for this long, and were not pulled since."""
        since = timezone.now() - timedelta(days=days)
        return self.filter(Q(last_pull=None) | Q(last_pull__lt=since), known_since__lt=since)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Mark repositories as deleted one by one, so that signals are sent for each one."""
        repositories = list(self.select_related("namespace"))
        for repository in repositories:
            repository.delete()
        return len(repositories), {self.model._meta.label: len(repositories)}


class FullNameField(models.CharField):
    """The full name of a repository, computed when the row is inserted. Repositories can't be renamed."""

    def pre_save(self, repository: Any, add: bool) -> str:
        if add:
            repository.full_name = names.join_name(repository.namespace.name, repository.name)
        return repository.full_name


class Repository(models.Model):
    """A repository in the registry. Deleting it frees its name, but keeps the row that events refer to."""

    class Visibility(models.TextChoices):
        PRIVATE = "private", _("Private")
        PUBLIC = "public", _("Public")

    namespace = models.ForeignKey(
        Namespace, models.PROTECT, related_name="repositories", verbose_name=_("namespace")
    )
    name = models.CharField(
        _("name"),
        max_length=names.MAX_NAME_LENGTH,
        help_text=_("The name after the namespace. It can contain slashes."),
    )
    full_name = FullNameField(max_length=names.MAX_NAME_LENGTH, editable=False, verbose_name=_("full name"))
    """The name that the registry uses, e.g. `acme/team/web` or `alpine`."""
    visibility = models.CharField(
        _("visibility"), max_length=10, choices=Visibility, default=Visibility.PRIVATE
    )
    description = models.TextField(_("description"), blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, null=True, editable=False)
    """None if the repository was created before its registry was connected."""
    known_since = models.DateTimeField(_("known since"), default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True, editable=False)
    last_push = models.DateTimeField(_("last push"), null=True, editable=False)
    """The hour of the last push that is known. It remains when events are deleted. None if there is none."""
    last_pull = models.DateTimeField(_("last pull"), null=True, editable=False)
    """The hour in which a client last pulled, or asked for a tag whose image it had already."""

    objects = RepositoryQuerySet.as_manager()

    class Meta:
        verbose_name = _("repository")
        ordering = ["namespace__name", "name"]
        verbose_name_plural = _("repositories")
        permissions = levels.GRANTABLE
        constraints = [
            models.UniqueConstraint(
                fields=["full_name"],
                condition=Q(deleted_at__isnull=True),
                name="one_live_repository_of_a_name",
            ),
            # Otherwise, acme/web could be a repository without a namespace.
            models.CheckConstraint(
                condition=~Q(full_name=F("name")) | ~Q(name__contains="/"), name="repository_in_its_namespace"
            ),
        ]
        indexes = [
            models.Index(fields=["namespace", "name"], name="repository_by_name"),
            models.Index(
                fields=["full_name"], condition=Q(deleted_at__isnull=False), name="deleted_repository_by_name"
            ),
        ]

    def __str__(self) -> str:
        return self.full_name

    def clean(self) -> None:
        """Check that namespace and name form a full name, which no other live repository has."""
        if self.namespace_id is None or not self._state.adding:
            return
        full_name = names.join_name(self.namespace.name, self.name)
        if not names.is_path(self.name):
            error = {
                "name": gettext("Use lowercase letters and digits, with separators (. _ - /) between them.")
            }
        elif names.split_name(full_name) != (self.namespace.name, self.name):
            error = {"name": gettext("The name of a repository without a namespace can't contain slashes.")}
        elif not names.is_name(full_name):
            error = {"namespace": gettext("This namespace and name don't form a valid repository name.")}
        elif Repository.objects.live().filter(full_name=full_name).exists():
            error = {"name": gettext("This namespace already has a repository with that name.")}
        else:
            return
        raise ValidationError(error)

    @transaction.atomic
    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Mark the repository as deleted, and delete the grants on it. A second call does nothing."""
        if self.deleted_at is None:
            pre_delete.send(Repository, instance=self, origin=self)  # so that the grants are recorded
            with current_request.auditing_disabled():
                for grants in (RepositoryUserPermission.objects, RepositoryGroupPermission.objects):
                    grants.filter(content_object=self).delete()
            self.deleted_at = timezone.now()
            self.save(update_fields=["deleted_at"])
        return 1, {self._meta.label: 1}


class RegistrySettings(SingletonModel):
    """Settings that apply to the whole registry."""

    scanning_enabled = models.BooleanField(
        _("security scanning"),
        default=False,
        help_text=_("If disabled, the scan filter is hidden, and scan events are stored as dead letters."),
    )

    class Meta:
        verbose_name = verbose_name_plural = _("registry settings")
        permissions = [
            ("audit_registry", "Can see every repository and every event"),
            ("administer_registry", "Can do everything in every repository"),
        ]

    def __str__(self) -> str:
        return gettext("Registry settings")


# Grants use django-guardian's models with direct foreign keys, because queries can join on these keys and the
# database enforces them.


class GrantQuerySet(models.QuerySet):
    """Grants that can end."""

    def in_force(self) -> Self:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))

    def expired(self) -> Self:
        return self.filter(expires_at__lte=timezone.now())


class ExpiringGrant(models.Model):
    """A grant that gives access until a certain time, or without end."""

    expires_at = models.DateTimeField(_("until"), null=True, blank=True, db_index=True)
    """From this time on, the grant gives no access. Celery beat deletes it soon afterward."""

    grants = GrantQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return gettext("until %(expires_at)s") % {"expires_at": self.expires_at}


class RepositoryUserPermission(UserObjectPermissionBase, ExpiringGrant):
    """A grant to one user on one repository."""

    content_object = models.ForeignKey(Repository, models.CASCADE, verbose_name=_("content object"))

    class Meta(UserObjectPermissionBase.Meta):
        verbose_name = _("grant on a repository to a user")
        verbose_name_plural = _("grants on repositories to users")


class RepositoryGroupPermission(GroupObjectPermissionBase, ExpiringGrant):
    """A grant to one team on one repository."""

    content_object = models.ForeignKey(Repository, models.CASCADE, verbose_name=_("content object"))

    class Meta(GroupObjectPermissionBase.Meta):
        verbose_name = _("grant on a repository to a team")
        verbose_name_plural = _("grants on repositories to teams")


class NamespaceUserPermission(UserObjectPermissionBase, ExpiringGrant):
    """A grant to one user on all repositories in a namespace."""

    content_object = models.ForeignKey(Namespace, models.CASCADE, verbose_name=_("content object"))

    class Meta(UserObjectPermissionBase.Meta):
        verbose_name = _("grant on a namespace to a user")
        verbose_name_plural = _("grants on namespaces to users")


class NamespaceGroupPermission(GroupObjectPermissionBase, ExpiringGrant):
    """A grant to one team on all repositories in a namespace."""

    content_object = models.ForeignKey(Namespace, models.CASCADE, verbose_name=_("content object"))

    class Meta(GroupObjectPermissionBase.Meta):
        verbose_name = _("grant on a namespace to a team")
        verbose_name_plural = _("grants on namespaces to teams")


name_fields(RepositoryUserPermission, user=_("user"))
name_fields(RepositoryGroupPermission, group=_("team"))
name_fields(NamespaceUserPermission, user=_("user"))
name_fields(NamespaceGroupPermission, group=_("team"))
