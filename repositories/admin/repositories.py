"""The admin for repositories and for the registry settings."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from solo.admin import SingletonModelAdmin

from repositories.admin.dependents import what_goes_along
from repositories.admin.effective_access import access_page, repository_access_view, user_access_view
from repositories.admin.grants import GrantableModelAdmin, RepositoryTeamInline, RepositoryUserInline
from repositories.admin.immutable import ImmutableFieldsMixin
from repositories.admin.picking import PickerMixin
from repositories.models import RegistrySettings, Repository
from repositories.utils.admin_lookup import LookupMixin


@admin.register(Repository)
class RepositoryAdmin(PickerMixin, ImmutableFieldsMixin, GrantableModelAdmin):
    list_display = ["full_name", "visibility", "created_at", "known_since", "deleted_at"]
    list_filter = ["visibility", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["namespace"]
    search_fields = ["namespace__name", "name"]
    picked_fields = ["namespace"]
    immutable_fields = ["namespace", "name"]
    readonly_fields = ["created_at", "known_since", "deleted_at"]
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

    def save_model(self, request: HttpRequest, obj: Repository, form: Any, change: bool) -> None:
        # Save only the changed fields, so that a deletion in the meantime isn't undone.
        obj.save(update_fields=form.changed_data if change else None)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        # Only the grants are deleted, because the repository itself is only marked as deleted.
        return what_goes_along(objs, request), {"repositories": len(objs)}, set(), []


@admin.register(RegistrySettings)
class RegistrySettingsAdmin(LookupMixin, SingletonModelAdmin):
    """The settings of the whole registry."""
