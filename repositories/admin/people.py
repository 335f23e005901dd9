"""What this app adds to the admin for users, which is the site's own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories.access.delegation import DelegationMixin
from repositories.accounts import passwords
from repositories.accounts.passwords import RevokeTokensMixin
from repositories.accounts.service_accounts import disable_password
from repositories.admin.administrators import AdministratorsMixin
from repositories.admin.dependents import DependentsMixin
from repositories.administrators import reasons_to_keep
from repositories.models import Namespace, Profile, validate_not_reserved
from repositories.utils.admin_lookup import LookupMixin


class UserCreationForm(AdminUserCreationForm):
    """A form for new users. It rejects a username if the namespace with that name already has an owner."""

    def clean_username(self) -> str:
        username = super().clean_username()
        validate_not_reserved(username)
        if Namespace.objects.filter(name=username).exclude(Namespace.UNCLAIMED).exists():
            raise ValidationError(
                gettext("The namespace with this name already belongs to an organization or another user.")
            )
        return username


class PasswordForm(RevokeTokensMixin, AdminPasswordChangeForm):
    """A form for the password of another user, who can log in with the new one at once."""

    def save(self, commit: bool = True) -> Any:
        passwords.unlock(self.user.get_username())
        return super().save(commit)


class ProfileForm(forms.ModelForm):
    """A form for a user's profile. Whoever is logged in to a new service account is logged out."""

    def save(self, commit: bool = True) -> Profile:
        profile = super().save(commit)
        if profile.is_service_account and "is_service_account" in self.changed_data:
            disable_password(profile.user)
        return profile


class ProfileInline(admin.StackedInline):
    model = Profile
    form = ProfileForm
    can_delete = False


@admin.display(description=_("access, tokens and sessions"))
def access_link(user: Any) -> str:
    """Return a link to the page about all access of a user."""
    url = reverse("admin:registry_repositories_user_access", args=[user.pk])
    label = gettext("Access of %(user)s") % {"user": user}
    return format_html('<a href="{}" aria-label="{}">{}</a>', url, label, gettext("Access"))


class UserAdminMixin(DelegationMixin, AdministratorsMixin, DependentsMixin, LookupMixin):
    """What the user admin of a site with this app offers. Put it before the site's own base class.

    Staff can't give others more permissions than they have, each user's profile is part of their page, which
    links to their effective access, and a password change offers to revoke the access tokens. The last MSR
    admin, the last owner of an organization, and the account of a registry can't be deleted.
    """

    change_form_template = "admin/registry_repositories/user_change_form.html"
    change_password_form = PasswordForm
    change_user_password_template = "admin/registry_repositories/change_password.html"  # noqa: S105

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        *found, protected = super().get_deleted_objects(objs, request)
        return (*found, [*protected, *reasons_to_keep(objs)])  # type: ignore[return-value]

    # Django's other admin views that change data already run in a transaction.
    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set the password of another user. The page for the own password asks for the old one."""
        if self.get_object(request, unquote(id)) == request.user:
            messages.warning(request, gettext("Change your own password here, with your old password."))
            return redirect("registry_repositories:password")
        return super().user_change_password(request, id, form_url)  # type: ignore[misc]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        if request.user.has_perm("registry_repositories.audit_registry"):
            columns.append(access_link)
        return columns

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [*super().get_list_filter(request), "profile__is_service_account"]

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return [*super().get_inlines(request, obj), ProfileInline] if obj else []


class GroupAdminMixin(AdministratorsMixin, DependentsMixin, LookupMixin):
    """What the group admin of a site with this app offers. Put it before the site's own base class.

    The group through which the last MSR admin has the role can't be deleted, nor lose that permission.
    """
