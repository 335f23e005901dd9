"""Repositories, and the settings of the registry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.signals import pre_delete
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from solo.models import SingletonModel

from repositories import names
from repositories.access import levels
from repositories.accounts import current_request
from repositories.models.organizations import Namespace


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
                self.repositoryuserpermission_set.all().delete()
                self.repositorygrouppermission_set.all().delete()
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
