"""Who owns what, and who may do what with it, for MSR admins."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import FilteredSelectMultiple
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from guardian.admin import GuardedModelAdmin
from solo.admin import SingletonModelAdmin

from repositories import signals
from repositories.models import (
    Membership,
    Namespace,
    Organization,
    Profile,
    RegistrySettings,
    Repository,
    Team,
)
from repositories.policies import admin as policies  # noqa: F401 - registers them

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


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 1
    autocomplete_fields = ["user"]


class RegistryUserAdmin(NamedForEverMixin, UserAdmin):
    name_field = "username"
    add_form = OwnNameUserCreationForm
    inlines = [ProfileInline]

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return self.inlines if obj else []


admin.site.unregister(User)
admin.site.register(User, RegistryUserAdmin)


@admin.register(Organization)
class OrganizationAdmin(NamedForEverMixin, admin.ModelAdmin):
    name_field = "name"
    list_display = ["name"]
    search_fields = ["name"]
    inlines = [MembershipInline]


class TeamForm(forms.ModelForm):
    """A team with its members, who are the users of its group."""

    members = forms.ModelMultipleChoiceField(
        User._default_manager.all(), required=False, widget=FilteredSelectMultiple("members", False)
    )

    class Meta:
        model = Team
        fields = ["organization", "name"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["members"] = self.instance.group.user_set.all()


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin):
    form = TeamForm
    list_display = ["__str__", "organization"]
    list_select_related = ["organization"]
    search_fields = ["name", "organization__name"]
    autocomplete_fields = ["organization"]

    def save_model(self, request: HttpRequest, obj: Team, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "members" in form.cleaned_data:
            obj.group.user_set.set(form.cleaned_data["members"])


class UnclaimedFilter(admin.SimpleListFilter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("user", "A user"), ("organization", "An organization"), ("unclaimed", "Unclaimed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == "unclaimed":
            return queryset.filter(Namespace.UNCLAIMED)
        if self.value() in ("user", "organization"):
            return queryset.filter(**{f"{self.value()}__isnull": False})
        return queryset


@admin.register(Namespace)
class NamespaceAdmin(NamedForEverMixin, GuardedModelAdmin):  # type: ignore[misc]
    """Claiming a namespace is choosing its owner here."""

    name_field = "name"
    list_display = ["name", "owner"]
    list_filter = [UnclaimedFilter]
    list_select_related = ["user", "organization"]
    search_fields = ["name"]
    autocomplete_fields = ["user", "organization"]


@admin.register(Repository)
class RepositoryAdmin(GuardedModelAdmin):
    list_display = ["full_name", "visibility", "created_at", "deleted_at"]
    list_filter = ["visibility", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["namespace"]
    search_fields = ["namespace__name", "name"]
    autocomplete_fields = ["namespace"]
    readonly_fields = ["created_at", "deleted_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Repository | None = None) -> list[str]:
        # Grants and events go by the row: a repository of another name is another repository.
        return [*self.readonly_fields, "namespace", "name"] if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Repository, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            signals.repository_created.send(Repository, repository=obj, actor=request.user)

    def delete_model(self, request: HttpRequest, obj: Repository) -> None:
        obj.delete(actor=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Repository]) -> None:
        for repository in queryset.select_related("namespace"):
            repository.delete(actor=request.user)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        # Nothing goes with it, as its row stays.
        names = [str(obj) for obj in objs]
        return names, {"repositories": len(names)}, set(), []


@admin.register(RegistrySettings)
class RegistrySettingsAdmin(SingletonModelAdmin):
    pass
