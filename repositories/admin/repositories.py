"""The admin for repositories and for the registry settings."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path
from solo.admin import SingletonModelAdmin

from repositories.admin import effective_access
from repositories.admin.grants import GrantableModelAdmin, RepositoryTeamInline, RepositoryUserInline
from repositories.models import RegistrySettings, Repository


@admin.register(Repository)
class RepositoryAdmin(GrantableModelAdmin):
    list_display = ["full_name", "visibility", "created_at", "deleted_at"]
    list_filter = ["visibility", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["namespace"]
    search_fields = ["namespace__name", "name"]
    autocomplete_fields = ["namespace"]
    readonly_fields = ["created_at", "deleted_at"]
    grant_inlines = [RepositoryUserInline, RepositoryTeamInline]

    def get_urls(self) -> list[Any]:
        access = self.admin_site.admin_view(self.access_view)
        return [
            path("<int:pk>/access/", access, name="registry_repositories_repository_access"),
            *super().get_urls(),
        ]

    def access_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return effective_access.repository_access_view(self, request, pk)

    def get_readonly_fields(self, request: HttpRequest, obj: Repository | None = None) -> list[str]:
        # Grants and events refer to the row, so renaming it would attach them to a different repository.
        return [*self.readonly_fields, "namespace", "name"] if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Repository, form: Any, change: bool) -> None:
        # Save only the changed fields, so that a deletion in the meantime isn't undone.
        obj.save(update_fields=form.changed_data if change else None)

    def delete_model(self, request: HttpRequest, obj: Repository) -> None:
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Repository]) -> None:
        for repository in queryset.select_related("namespace"):
            repository.delete()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        # No related rows are deleted, because the repository is only marked as deleted.
        names = [str(obj) for obj in objs]
        return names, {"repositories": len(names)}, set(), []


@admin.register(RegistrySettings)
class RegistrySettingsAdmin(SingletonModelAdmin):
    pass
