"""The admin for organizations, their members and teams, and namespaces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.widgets import ManyToManyRawIdWidget
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from repositories.access.levels import LABELS
from repositories.admin.administrators import AdministratorsMixin
from repositories.admin.dependents import DependentsMixin
from repositories.admin.grants import (
    GRANTABLE,
    MAX_SHOWN,
    FirstRowsFormSet,
    GrantableModelAdmin,
    NamespaceTeamInline,
    NamespaceUserInline,
)
from repositories.admin.immutable import ImmutableFieldsMixin
from repositories.admin.links import change_url, grant_url, join_links, model_url
from repositories.admin.picking import PickerMixin, can_search
from repositories.models import (
    Membership,
    Namespace,
    NamespaceGroupPermission,
    Organization,
    RepositoryGroupPermission,
    Team,
)
from repositories.utils.admin_lookup import AutocompleteMultiple, LookupMixin, ObjectsField, RelationsMixin

User = get_user_model()


class UserLinkWidget(forms.Widget):
    """Shows a link to the user instead of an input, because a membership's user can't be changed."""

    def __init__(self, user: Any) -> None:
        super().__init__()
        self.user = user

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        url = change_url(self.user)
        return format_html('<a href="{}">{}</a>', url, self.user) if url else format_html("{}", self.user)


class MembershipForm(forms.ModelForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "user" in self.fields:
            self.fields["user"].disabled = True
            self.fields["user"].widget = UserLinkWidget(self.instance.user)


class MembershipInline(PickerMixin, RelationsMixin, admin.TabularInline):
    model = Membership
    form = MembershipForm
    formset = FirstRowsFormSet
    extra = 1
    ordering = ["-role", f"user__{User.USERNAME_FIELD}"]
    picked_fields = ["user"]
    verbose_name_plural = format_lazy(
        _("memberships (the first {max_shown}, owners first)"), max_shown=MAX_SHOWN
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("user", "organization")


@admin.register(Membership)
class MembershipAdmin(PickerMixin, LookupMixin, ImmutableFieldsMixin, AdministratorsMixin, admin.ModelAdmin):
    """The admin for all memberships, including memberships that an organization's page doesn't show."""

    list_display = ["user", "organization", "role"]
    list_filter = ["role"]
    list_select_related = ["user", "organization"]
    search_fields = [f"user__{User.USERNAME_FIELD}", "organization__name"]
    picked_fields = immutable_fields = ["user", "organization"]


@admin.register(Organization)
class OrganizationAdmin(
    LookupMixin, ImmutableFieldsMixin, AdministratorsMixin, DependentsMixin, admin.ModelAdmin
):
    immutable_fields = ["name"]
    list_display = ["name"]
    search_fields = ["name"]
    fields = ["name", "team_links", "namespace_links"]
    readonly_fields = ["team_links", "namespace_links"]
    inlines = [MembershipInline]

    @admin.display(description=_("teams"))
    def team_links(self, organization: Organization) -> str:
        return _links_to_first(organization, "teams")

    @admin.display(description=_("namespaces"))
    def namespace_links(self, organization: Organization) -> str:
        return _links_to_first(organization, "namespaces")


def _links_to_first(organization: Organization, relation: str) -> str:
    """Return links to the first MAX_SHOWN teams or namespaces, to the complete list, and to the add form."""
    if not organization.pk:
        return "–"
    rows = getattr(organization, relation).order_by("name")
    links = [(change_url(row), row.name) for row in rows[:MAX_SHOWN]]
    list_link = model_url(rows.model, "changelist", f"organization__id__exact={organization.pk}")
    add_link = model_url(rows.model, "add", f"organization={organization.pk}")
    return join_links([*links, (list_link, gettext("all")), (add_link, gettext("add"))])


class TeamAdminForm(forms.ModelForm):
    """A form for a team and its members, who are the users in the team's group."""

    members = ObjectsField(User._default_manager.all(), label=_("Members"), required=False)
    admin_site: AdminSite
    """Set by `TeamAdmin`."""

    class Meta:
        model = Team
        fields = ["organization", "name"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "members" in self.fields:
            self.fields["members"].widget = self._members_widget()
        if self.instance.pk:
            self.initial["members"] = self.instance.group.user_set.all()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        organization = cleaned.get("organization") or (
            self.instance.organization if self.instance.pk else None
        )
        if organization and "name" in cleaned:
            name = str(Team(organization=organization, name=cleaned["name"]))
            if Group.objects.filter(name=name).exclude(pk=self.instance.group_id).exists():
                self.add_error("name", gettext("There is a group that is called %(name)s.") % {"name": name})
        if organization and "members" in cleaned:
            for user in cleaned["members"].exclude(memberships__organization=organization)[:MAX_SHOWN]:
                message = gettext("%(user)s is not a member of %(organization)s. Add the user to it first.")
                self.add_error("members", message % {"user": user, "organization": organization})
        return cleaned

    def _members_widget(self) -> forms.Widget:
        field: Any = Membership._meta.get_field("user")
        choices = self.fields["members"].choices  # type: ignore[attr-defined]
        if can_search(User, self.admin_site):
            return AutocompleteMultiple(field, self.admin_site, choices=choices)
        return ManyToManyRawIdWidget(field.remote_field, self.admin_site)


@admin.register(Team)
class TeamAdmin(PickerMixin, LookupMixin, ImmutableFieldsMixin, DependentsMixin, admin.ModelAdmin):
    immutable_fields = ["organization"]
    form = TeamAdminForm
    list_display = ["__str__", "organization"]
    list_select_related = ["organization"]
    search_fields = ["name", "organization__name"]
    picked_fields = ["organization"]
    fields = ["organization", "name", "members", "grant_links"]
    readonly_fields = ["grant_links"]

    def get_form(
        self, request: HttpRequest, obj: Team | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"admin_site": self.admin_site})

    @admin.display(description=_("grants"))
    def grant_links(self, team: Team) -> str:
        """Return links to the team's grants. Grants are added on the page of the namespace or repository."""
        return join_links(
            (
                grant_url(grant),
                gettext("%(level)s on %(place)s")
                % {"level": LABELS[grant.permission.codename], "place": grant.content_object},
            )
            for grant in self.grants_to(team)
        )

    def grants_to(self, team: Team) -> Iterable[Any]:
        """Yield up to MAX_SHOWN of the team's grants on namespaces, and up to MAX_SHOWN on repositories."""
        for model, place in (NamespaceGroupPermission, ""), (RepositoryGroupPermission, "__namespace"):
            grants = model._default_manager.filter(group=team.group_id, permission__codename__in=GRANTABLE)
            yield from grants.select_related("permission", f"content_object{place}").order_by("pk")[
                :MAX_SHOWN
            ]

    def save_model(self, request: HttpRequest, obj: Team, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "members" in form.cleaned_data:
            obj.group.user_set.set(form.cleaned_data["members"])


class OwnerFilter(admin.SimpleListFilter):
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("user", gettext("A user")),
            ("organization", gettext("An organization")),
            ("unclaimed", gettext("Unclaimed")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        conditions = {
            "user": Q(user__isnull=False),
            "organization": Q(organization__isnull=False),
            "unclaimed": Namespace.UNCLAIMED,
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(Namespace)
class NamespaceAdmin(PickerMixin, ImmutableFieldsMixin, DependentsMixin, GrantableModelAdmin):
    """The admin for namespaces. MSR admins give an unclaimed namespace an owner here."""

    immutable_fields = ["name"]
    list_display = ["name", "owner"]
    list_filter = [OwnerFilter]
    list_select_related = ["user", "organization"]
    search_fields = ["name"]
    picked_fields = ["user", "organization"]
    inlines = [NamespaceUserInline, NamespaceTeamInline]

    @admin.display(description=_("owner"))
    def owner(self, namespace: Namespace) -> Any:
        return namespace.owner
