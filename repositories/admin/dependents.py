"""Lists before a deletion what else it deletes or changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from repositories.admin.links import change_url
from repositories.dependents import dependents_of


class DependentsMixin(admin.ModelAdmin):
    """Lists what else a deletion deletes or changes. Django's list lacks namespaces without an owner."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        _, counts, missing_permissions, protected = super().get_deleted_objects(objs, request)
        return with_dependents(objs, request), counts, missing_permissions, protected


def with_dependents(rows: Iterable[Any], request: HttpRequest) -> list[Any]:
    """Return a nested list for the admin's pages: the rows to delete, each with what depends on it.

    The names, such as those of private repositories, are only for MSR admins and auditors. Other staff see
    how many rows of each kind are deleted with it.
    """
    sees_names = request.user.has_perm("registry_repositories.audit_registry")
    shown: list[Any] = []
    for row in rows:
        url = change_url(row)
        shown.append(format_html('<a href="{}">{}</a>', url, row) if url else str(row))
        along: list[Any] = []
        for kind, names in dependents_of(row).in_words().items():
            along += [kind, names] if sees_names else [kind]
        shown += [along] if along else []
    return shown
