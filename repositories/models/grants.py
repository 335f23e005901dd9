"""Grants on repositories and namespaces, and the groups of the roles in the whole registry.

Grants use django-guardian's models with direct foreign keys, because queries can join on these keys and the
database enforces them.
"""

from __future__ import annotations

from typing import Self

from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from repositories.models.organizations import Namespace
from repositories.models.repositories import Repository
from repositories.utils.fields import name_fields


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
