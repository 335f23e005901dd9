"""Organizations, their members and teams, and namespaces, in the admin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from repositories.access.explaining import label_of
from repositories.admin.grants import (
    GRANTABLE,
    MAX_SHOWN,
    GrantedAdmin,
    NamespaceTeamInline,
    NamespaceUserInline,
)
from repositories.admin.links import add_url, change_url, grant_url, joined, list_url
from repositories.admin.people import NamedForEverMixin
from repositories.models import (
    Membership,
    Namespace,
    NamespaceGroupPermission,
    Organization,
    RepositoryGroupPermission,
    Team,
)

User = get_user_model()


class NameWidget(forms.Widget):
    """Shows who it is, without a field: nobody becomes somebody else."""

    def __init__(self, person: Any) -> None:
        super().__init__()
        self.person = person

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        return format_html('<a href="{}">{}</a>', change_url(self.person), self.person)


class MembershipForm(forms.ModelForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "user" in self.fields:
            self.fields["user"].disabled = True
            self.fields["user"].widget = NameWidget(self.instance.user)


class FirstMembers(BaseInlineFormSet):
    """The owners first, and of the members as many as fit."""

    def get_queryset(self) -> QuerySet:
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[:MAX_SHOWN]
        return self._queryset


class MembershipInline(admin.TabularInline):
    model = Membership
    form = MembershipForm
    formset = FirstMembers
    extra = 1
    autocomplete_fields = ["user"]
    verbose_name_plural = f"memberships (the first {MAX_SHOWN}, owners before members)"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        people = f"user__{User.USERNAME_FIELD}"
        memberships = super().get_queryset(request)
        return memberships.select_related("user", "organization").order_by("-role", people)


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):
    """All members of all organizations, for those that are too many for the organization's page."""

    list_display = ["user", "organization", "role"]
    list_filter = ["role"]
    list_select_related = ["user", "organization"]
    search_fields = [f"user__{User.USERNAME_FIELD}", "organization__name"]
    autocomplete_fields = ["user", "organization"]

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> list[str]:
        return ["user", "organization"] if obj else []


@admin.register(Organization)
class OrganizationAdmin(NamedForEverMixin, admin.ModelAdmin):
    name_field = "name"
    list_display = ["name"]
    search_fields = ["name"]
    fields = ["name", "teams_shown", "namespaces_shown"]
    readonly_fields = ["teams_shown", "namespaces_shown"]
    inlines = [MembershipInline]

    @admin.display(description="teams")
    def teams_shown(self, organization: Organization) -> str:
        narrowed = f"organization={organization.pk}"
        return _first(organization.teams.order_by("name"), narrowed) if organization.pk else "–"

    @admin.display(description="namespaces")
    def namespaces_shown(self, organization: Organization) -> str:
        narrowed = f"organization={organization.pk}"
        return _first(organization.namespaces.order_by("name"), narrowed) if organization.pk else "–"


def _first(rows: QuerySet, narrowed: str) -> str:
    """Return links to the first teams or namespaces, to all of them, and to making one more."""
    links = [(change_url(row), row.name) for row in rows[:MAX_SHOWN]]
    all_of_them = [(list_url(rows.model, f"{narrowed.replace('=', '__id__exact=')}"), "all")]
    return joined([*links, *all_of_them, (add_url(rows.model, narrowed), "add")])


class TeamForm(forms.ModelForm):
    """A team with its members, who are the users of its group."""

    members = forms.ModelMultipleChoiceField(
        User._default_manager.all(),
        required=False,
        widget=AutocompleteSelectMultiple(Membership._meta.get_field("user"), admin.site),
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
    fields = ["organization", "name", "members", "granted"]
    readonly_fields = ["granted"]

    @admin.display(description="granted")
    def granted(self, team: Team) -> str:
        """What the team was granted; it is granted on the page of the namespace or the repository."""
        if not team.pk:
            return "–"
        return joined(
            (grant_url(grant), f"{label_of(grant.permission.codename)} on {grant.content_object}")
            for grant in self.grants_to(team)
        )

    def grants_to(self, team: Team) -> Iterable[Any]:
        for model, place in (NamespaceGroupPermission, ""), (RepositoryGroupPermission, "__namespace"):
            grants = model._default_manager.filter(group=team.group_id, permission__codename__in=GRANTABLE)
            yield from grants.select_related("permission", f"content_object{place}").order_by("pk")[
                :MAX_SHOWN
            ]

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
class NamespaceAdmin(NamedForEverMixin, GrantedAdmin):
    """Claiming a namespace is choosing its owner here."""

    name_field = "name"
    list_display = ["name", "owner"]
    list_filter = [UnclaimedFilter]
    list_select_related = ["user", "organization"]
    search_fields = ["name"]
    autocomplete_fields = ["user", "organization"]
    grant_inlines = [NamespaceUserInline, NamespaceTeamInline]
