"""Grants in the admin: inlines on the pages of repositories and namespaces, and guardian's pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from guardian.admin import AdminGroupObjectPermissionsForm, AdminUserObjectPermissionsForm, GuardedModelAdmin

from repositories.access import levels
from repositories.access.levels import LABELS, Level
from repositories.admin.links import grant_url
from repositories.admin.picking import PickerMixin
from repositories.models import (
    NamespaceGroupPermission,
    NamespaceUserPermission,
    RepositoryGroupPermission,
    RepositoryUserPermission,
)
from repositories.utils.admin_lookup import LookupMixin, RelationsMixin

MAX_SHOWN = 100
"""The maximum number of grants on one page. Django rejects forms with more than 1,000 fields."""

GRANTABLE = dict(levels.GRANTABLE)
CHOICES: list[Any] = [
    ("", "---------"),
    (_("Level"), [(level.value, level.label) for level in Level]),
    (_("Single category"), [(name, LABELS[name]) for name in GRANTABLE if name not in Level.values]),
]


class GrantForm(forms.ModelForm):
    """A form for a new grant, which gives access either at a level or to a single category of events."""

    access = forms.ChoiceField(label=_("Access"), choices=CHOICES)

    def clean_expires_at(self) -> datetime | None:
        until = self.cleaned_data["expires_at"]
        if until and until <= timezone.now():
            raise ValidationError(gettext("This time has passed."))
        return until

    def clean_access(self) -> str:
        codename = self.cleaned_data["access"]
        place = self._meta.model._meta.get_field("content_object").related_model
        content_type = ContentType.objects.get_for_model(place)
        self.instance.permission = Permission.objects.get(content_type=content_type, codename=codename)
        return codename


class FirstRowsFormSet(BaseInlineFormSet):
    """A formset for the first MAX_SHOWN existing rows and for new rows."""

    def get_queryset(self) -> QuerySet:
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[:MAX_SHOWN]
        return self._queryset


class GrantFormSet(FirstRowsFormSet):
    model: Any

    def clean(self) -> None:
        """Add a form error for each grant that already exists, which the database would reject."""
        super().clean()
        seen = set()
        for form in self.extra_forms:
            if form.errors or not form.has_changed():
                continue
            holder = {name: form.cleaned_data[name] for name in ("user", "group") if name in form.fields}
            row = (*holder.values(), form.cleaned_data["access"])
            existing = self.model.objects.filter(
                content_object=self.instance, permission=form.instance.permission, **holder
            )
            if row in seen or existing.exists():
                form.add_error("access", gettext("This access is already granted."))
            seen.add(row)


class GrantInline(PickerMixin, RelationsMixin, admin.TabularInline):
    """An inline in which grants can be added and deleted, but not changed."""

    form = GrantForm
    formset = GrantFormSet
    extra = 1
    classes = ["grants"]
    place = "content_object"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        grants = super().get_queryset(request).filter(permission__codename__in=GRANTABLE)
        return grants.select_related("permission", self.place, *self.picked_fields).order_by("pk")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("access"))
    def access(self, grant: Any) -> str:
        return format_html('<a href="{}">{}</a>', grant_url(grant), LABELS[grant.permission.codename])


class GrantToUserInline(GrantInline):
    verbose_name = _("grant to a user")
    verbose_name_plural = format_lazy(_("grants to users (the first {max_shown})"), max_shown=MAX_SHOWN)
    fields = ["user", "access", "expires_at"]
    picked_fields = ["user"]


class GrantToTeamInline(GrantInline):
    verbose_name = _("grant to a team")
    verbose_name_plural = format_lazy(_("grants to teams (the first {max_shown})"), max_shown=MAX_SHOWN)
    fields = ["group", "access", "expires_at"]
    picked_fields = ["group"]


class RepositoryUserInline(GrantToUserInline):
    model = RepositoryUserPermission
    place = "content_object__namespace"


class RepositoryTeamInline(GrantToTeamInline):
    model = RepositoryGroupPermission
    place = "content_object__namespace"


class NamespaceUserInline(GrantToUserInline):
    model = NamespaceUserPermission


class NamespaceTeamInline(GrantToTeamInline):
    model = NamespaceGroupPermission


class GrantablePermissionsMixin:
    """Limits guardian's forms to permissions that can be granted.

    Django's default permissions have no effect when they are granted on a single repository or namespace.
    """

    def get_obj_perms_field_choices(self) -> list[tuple[str, Any]]:
        return list(levels.GRANTABLE_CHOICES)


class UserGrantsForm(GrantablePermissionsMixin, AdminUserObjectPermissionsForm):
    pass


class TeamGrantsForm(GrantablePermissionsMixin, AdminGroupObjectPermissionsForm):
    pass


def _with_numeric_ids(view: Callable[..., HttpResponse]) -> Any:
    """Make one of guardian's views return 404 for ids that aren't numbers, which guardian doesn't check."""

    def checked(model_admin: Any, request: HttpRequest, **ids: str) -> HttpResponse:
        if not all(text.isascii() and text.isdecimal() and len(text) < 20 for text in ids.values()):
            raise Http404
        return view(model_admin, request, **ids)

    return checked


class GrantableModelAdmin(LookupMixin, GuardedModelAdmin):
    """A model admin for objects that have grants. Adds guardian's pages and inlines for grants."""

    change_form_template = "admin/registry_repositories/granted_change_form.html"  # type: ignore[misc]
    obj_perms_manage_template: str = "admin/registry_repositories/granted_permissions.html"

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return list(self.inlines) if obj else []

    def get_obj_perms_base_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        context = super().get_obj_perms_base_context(request, obj)
        return {**context, "model_perms": context["model_perms"].filter(codename__in=GRANTABLE)}

    def get_obj_perms_manage_user_form(self, request: HttpRequest) -> type[forms.Form]:
        return UserGrantsForm

    def get_obj_perms_manage_group_form(self, request: HttpRequest) -> type[forms.Form]:
        return TeamGrantsForm

    obj_perms_manage_view = _with_numeric_ids(GuardedModelAdmin.obj_perms_manage_view)
    obj_perms_manage_user_view = _with_numeric_ids(GuardedModelAdmin.obj_perms_manage_user_view)
    obj_perms_manage_group_view = _with_numeric_ids(GuardedModelAdmin.obj_perms_manage_group_view)
