"""The admin for users."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from repositories.access.delegation import DelegationMixin
from repositories.accounts.passwords import RevokeTokensMixin
from repositories.admin.effective_access import access_page, user_access_view
from repositories.admin.immutable import ImmutableFieldsMixin
from repositories.admin.lookup import LookupMixin
from repositories.models import Namespace, Profile, validate_not_reserved

User = get_user_model()


class RegistryUserCreationForm(AdminUserCreationForm):
    """A form for new users. It rejects a username if the namespace with that name already has an owner."""

    def clean_username(self) -> str:
        username = super().clean_username()
        validate_not_reserved(username)
        if Namespace.objects.filter(name=username).exclude(Namespace.UNCLAIMED).exists():
            raise ValidationError(
                "The namespace with this name already belongs to an organization or another user."
            )
        return username


class PasswordForm(RevokeTokensMixin, AdminPasswordChangeForm):
    """A form for the password of another user."""


class ProfileInline(admin.StackedInline):
    model = Profile
    can_delete = False


class RegistryUserAdmin(LookupMixin, ImmutableFieldsMixin, DelegationMixin, UserAdmin):
    immutable_fields = ["username"]
    readonly_fields = ["last_login", "date_joined"]  # Django sets these, so no events record their changes
    add_form = RegistryUserCreationForm
    change_password_form = PasswordForm
    change_user_password_template = "admin/registry_repositories/change_password.html"  # noqa: S105
    inlines = [ProfileInline]
    # Every team has a group, so there can be thousands of groups, too many for a select box.
    autocomplete_fields = ["groups"]
    filter_horizontal = ["user_permissions"]

    def get_urls(self) -> list[Any]:
        return [access_page(self, user_access_view), *super().get_urls()]

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return self.inlines if obj else []

    @transaction.atomic  # Django's other admin views that change data already run in a transaction
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set the password of another user. The page for the own password asks for the old one."""
        if self.get_object(request, unquote(id)) == request.user:
            messages.warning(request, "Change your own password here, with your old password.")
            return redirect("registry_repositories:password")
        return super().user_change_password(request, id, form_url)


admin.site.unregister(User)
admin.site.register(User, RegistryUserAdmin)
