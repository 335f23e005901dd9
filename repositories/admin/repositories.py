"""The admin for repositories and for the registry settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from solo.admin import SingletonModelAdmin

from repositories import names
from repositories.admin.dependents import with_dependents
from repositories.admin.effective_access import access_page, repository_access_view, user_access_view
from repositories.admin.grants import GrantableModelAdmin, RepositoryTeamInline, RepositoryUserInline
from repositories.admin.immutable import ImmutableFieldsMixin
from repositories.admin.picking import PickerMixin
from repositories.models import RegistrySettings, Repository
from repositories.utils.admin_lookup import LookupMixin


class NotPulledFilter(admin.SimpleListFilter):
    """A filter for repositories that nobody has used for a while."""

    title = _("last pull")
    parameter_name = "not_pulled_for"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(days), gettext("Not for %(days)s days") % {"days": days}) for days in (30, 90, 365)]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if not (days := self.value()) or days not in dict(self.lookup_choices):
            return queryset
        return queryset.not_pulled_for(int(days))  # type: ignore[attr-defined]


USES = {"last_push", "last_pull", NotPulledFilter}


def without_uses(columns: Iterable[Any], request: HttpRequest) -> list[Any]:
    """Return columns, fields or filters without those about pushes and pulls that the viewer may not see."""
    sees_uses = request.user.has_perm("registry_repositories.audit_registry")
    return [column for column in columns if sees_uses or column not in USES]


@admin.register(Repository)
class RepositoryAdmin(PickerMixin, ImmutableFieldsMixin, GrantableModelAdmin):
    list_display = [
        *("full_name", "visibility", "created_at", "known_since", "last_push", "last_pull", "deleted_at"),
    ]
    list_filter = [NotPulledFilter, "visibility", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["namespace"]
    search_fields = ["full_name"]
    picked_fields = ["namespace"]
    immutable_fields = ["namespace", "name"]
    readonly_fields = ["created_at", "known_since", "last_push", "last_pull", "deleted_at"]
    inlines = [RepositoryUserInline, RepositoryTeamInline]

    def get_urls(self) -> list[Any]:
        return [
            access_page(
                self, repository_access_view, "<int:pk>/access/", "registry_repositories_repository_access"
            ),
            # Not part of the admin for users, because the site may have its own, or none.
            access_page(
                self, user_access_view, "access-of-user/<str:user_id>/", "registry_repositories_user_access"
            ),
            *super().get_urls(),
        ]

    # When a repository was used is as confidential as its events.

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return without_uses(super().get_list_display(request), request)

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return without_uses(super().get_list_filter(request), request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return without_uses(super().get_readonly_fields(request, obj), request)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        field = lookup.partition("__")[0]
        return without_uses([field], request) == [field] and super().lookup_allowed(lookup, value, request)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> Any:
        """Also find a repository by a reference that was copied from elsewhere."""
        return super().get_search_results(request, queryset, names.name_in(search_term))

    def save_model(self, request: HttpRequest, obj: Repository, form: Any, change: bool) -> None:
        # Save only the changed fields, so that a deletion in the meantime isn't undone.
        obj.save(update_fields=form.changed_data if change else None)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        # Only the grants are deleted, because the repository itself is only marked as deleted.
        return with_dependents(objs, request), {Repository._meta.verbose_name_plural: len(objs)}, set(), []


@admin.register(RegistrySettings)
class RegistrySettingsAdmin(LookupMixin, SingletonModelAdmin):
    """The settings of the whole registry."""
