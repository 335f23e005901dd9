"""Users in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import path

from repositories.access.delegation import DelegationMixin
from repositories.admin import effective_access
from repositories.models import Namespace, Profile

User = get_user_model()


class OwnNameUserCreationForm(AdminUserCreationForm):
    """A new user, whose name no organization has."""

    def clean_username(self) -> str:
        username = super().clean_username()
        if Namespace.objects.filter(name=username).exclude(Namespace.UNCLAIMED).exists():
            raise ValidationError("An organization, or another user, already has the namespace of this name.")
        return username


class NamedForEverMixin:
    """Users and organizations keep their names: those of namespaces, and what events call them."""

    name_field: str

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))  # type: ignore[misc]
        return [*fields, self.name_field] if obj else fields


class ProfileInline(admin.StackedInline):
    model = Profile
    can_delete = False


class RegistryUserAdmin(NamedForEverMixin, DelegationMixin, UserAdmin):
    name_field = "username"
    add_form = OwnNameUserCreationForm
    inlines = [ProfileInline]
    # The groups of teams, thousands of them, are joined on the pages of their teams.
    autocomplete_fields = ["groups"]
    filter_horizontal = ["user_permissions"]

    def get_urls(self) -> list[Any]:
        access = self.admin_site.admin_view(self.access)
        return [path("<int:pk>/access/", access, name="auth_user_access"), *super().get_urls()]

    def access(self, request: HttpRequest, pk: int) -> HttpResponse:
        return effective_access.of_user(self, request, pk)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return self.inlines if obj else []


admin.site.unregister(User)
admin.site.register(User, RegistryUserAdmin)
