"""Pages for organizations and teams.

Members of an organization can see its pages. Its owners and MSR admins can also make changes.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import cached_property

from repositories import memberships
from repositories.access import grants
from repositories.access.people import visible_organizations
from repositories.forms import MemberForm, TeamForm, TeamGrantForm, UserForm
from repositories.models import (
    Membership,
    NamespaceGroupPermission,
    Organization,
    Repository,
    RepositoryGroupPermission,
    Team,
)
from repositories.tabs import tabs_for_organization
from repositories.utils.keyset import BY_NAME, Key, Keyset
from repositories.utils.text import get_named_or_404
from repositories.views.actions import ActionsMixin
from repositories.views.lists import KeysetListView
from repositories.views.pages import ViewerMixin
from repositories.views.repositories import repository_rows

USERNAME = get_user_model().USERNAME_FIELD


class OrganizationPage(ViewerMixin):
    """A page of an organization. Returns 404 to viewers who can't see the organization.

    The view's URL must have a `name` parameter, and its template must extend
    `repositories/organization.html`.
    """

    tab: str
    """The label of the tab that the page belongs to."""

    @cached_property
    def organization(self) -> Organization:
        return get_named_or_404(visible_organizations(self.request.user), name=self.kwargs["name"])

    @cached_property
    def can_manage(self) -> bool:
        """Whether the viewer can change the organization: owners and MSR admins can."""
        if "manage_access" in self.access.everywhere:
            return True
        owners = self.organization.memberships.filter(role=Membership.Role.OWNER)
        return owners.filter(user=self.request.user.pk).exists()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "organization": self.organization,
            "can_manage": self.can_manage,
            "tabs": tabs_for_organization(self.organization),
            "current_tab": self.tab,
            "section": "organizations",
        }


class ManagedPage(OrganizationPage, ActionsMixin, KeysetListView):
    """A page with a list that owners and MSR admins can change, and a form to add items to the list."""

    def get_form(self, data: Any = None) -> Any:
        """Return the form to add items, bound to `data` if given. Abstract."""
        raise NotImplementedError

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**{"form": self.get_form(), **kwargs})

    def post(self, request: Any, **kwargs: Any) -> HttpResponse:
        if not self.can_manage:
            raise Http404
        return super().post(request, **kwargs)

    def render_with(self, **context: Any) -> HttpResponse:
        """Return the page with additional context, such as an invalid form."""
        return self.render_to_response(self.get_context_data(**context))

    def redirect_with_success(self, message: str) -> HttpResponse:
        messages.success(self.request, message)
        return redirect(self.request.path)

    def redirect_with_error(self, error: ValidationError) -> HttpResponse:
        messages.error(self.request, error.messages[0])
        return redirect(self.request.path)


class OrganizationListView(KeysetListView):
    """The organizations that the viewer belongs to, or all of them for MSR admins and auditors."""

    template_name = "repositories/organizations.html"
    extra_context = {"section": "organizations"}
    keyset = Keyset([Key("name")])

    def get_queryset(self) -> QuerySet[Organization]:
        return visible_organizations(self.request.user).filter(name__icontains=self.search.values["q"])

    def get_rows(self, rows: list[Organization]) -> list[tuple[Organization, str | None]]:
        own_memberships = Membership.objects.filter(user=self.request.user.pk, organization__in=rows)
        roles = {membership.organization_id: membership.get_role_display() for membership in own_memberships}
        return [(organization, roles.get(organization.pk)) for organization in rows]


class OverviewView(OrganizationPage, KeysetListView):
    """The repositories in an organization, limited to those that the viewer can see."""

    tab = "Overview"
    template_name = "repositories/overview.html"
    keyset = BY_NAME

    def get_queryset(self) -> QuerySet[Repository]:
        return self.access.repositories().filter(namespace__organization=self.organization).with_names()

    def get_rows(self, rows: list[Repository]) -> list[dict[str, Any]]:
        return repository_rows(self.access, rows)


class MembersView(ManagedPage):
    """The members of an organization."""

    tab = "Members"
    template_name = "repositories/members.html"
    actions = ["save_member", "remove_member"]
    keyset = Keyset([Key("username")])

    def get_queryset(self) -> QuerySet[Membership]:
        return self.organization.memberships.annotate(username=F(f"user__{USERNAME}"))

    def get_form(self, data: Any = None) -> MemberForm:
        return MemberForm(data)

    def save_member(self) -> HttpResponse:
        form = self.get_form(self.request.POST)
        if not form.is_valid():
            return self.render_with(form=form)
        user, role = form.cleaned_data["user"], form.cleaned_data["role"]
        try:
            membership = memberships.set_role(self.organization, user, role)
        except ValidationError as error:
            return self.redirect_with_error(error)
        role = "an owner" if membership.role == Membership.Role.OWNER else "a member"
        return self.redirect_with_success(f"{user} is now {role} of {self.organization}.")

    def remove_member(self) -> HttpResponse:
        form = UserForm(self.request.POST)
        if not form.is_valid():
            return self.render_with(form=form)
        user = form.cleaned_data["user"]
        try:
            memberships.remove(self.organization, user)
        except ValidationError as error:
            return self.redirect_with_error(error)
        messages.success(self.request, f"{user} was removed from {self.organization}.")
        left = user == self.request.user
        return redirect("registry_repositories:organizations") if left else redirect(self.request.path)


class TeamsView(ManagedPage):
    """The teams of an organization."""

    tab = "Teams"
    template_name = "repositories/teams.html"
    actions = ["create_team"]
    keyset = Keyset([Key("name")])

    def get_queryset(self) -> QuerySet[Team]:
        return self.organization.teams.all()

    def get_form(self, data: Any = None) -> TeamForm:
        return TeamForm(data, instance=Team(organization=self.organization))

    def create_team(self) -> HttpResponse:
        form = self.get_form(self.request.POST)
        try:
            with transaction.atomic():
                team = form.save() if form.is_valid() else None
        except IntegrityError:  # another request created the team, or a group has this name
            form.add_error("name", "This name is taken.")
            team = None
        if team is None:
            return self.render_with(form=form)
        messages.success(self.request, f"{team} was created.")
        return redirect("registry_repositories:team", self.organization.name, team.name)


class TeamPage(ManagedPage):
    """A page of a team."""

    tab = "Teams"

    @cached_property
    def team(self) -> Team:
        return get_named_or_404(self.organization.teams.select_related("group"), name=self.kwargs["team"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "team": self.team}


class TeamView(TeamPage):
    """The members of a team."""

    template_name = "repositories/team.html"
    actions = ["add_member", "remove_member", "delete_team"]
    keyset = Keyset([Key(USERNAME)])

    def get_queryset(self) -> QuerySet:
        return self.team.group.user_set.all()

    def get_form(self, data: Any = None) -> UserForm:
        form = UserForm(data, users=self.organization.users.all())
        form.fields["user"].error_messages["invalid_choice"] = (
            f"No member of {self.organization} has this name. Add the user to the organization first."
        )
        return form

    def add_member(self) -> HttpResponse:
        form = self.get_form(self.request.POST)
        if not form.is_valid():
            return self.render_with(form=form)
        user = form.cleaned_data["user"]
        self.team.group.user_set.add(user)
        return self.redirect_with_success(f"{user} was added to {self.team}.")

    def remove_member(self) -> HttpResponse:
        form = UserForm(self.request.POST, users=self.get_queryset())
        if not form.is_valid():
            return self.render_with(form=form)
        user = form.cleaned_data["user"]
        self.team.group.user_set.remove(user)
        return self.redirect_with_success(f"{user} was removed from {self.team}.")

    def delete_team(self) -> HttpResponse:
        self.team.delete()
        messages.success(self.request, f"{self.team} was deleted.")
        return redirect("registry_repositories:teams", self.organization.name)


class TeamAccessView(TeamPage):
    """A team's grants, limited to repositories and namespaces that the viewer can see."""

    template_name = "repositories/team_access.html"
    actions = ["grant", "revoke"]
    keyset = Keyset([Key("namespace_name"), Key("name"), Key("pk", type=int)])

    def get_queryset(self) -> QuerySet[RepositoryGroupPermission]:
        visible = self.access.repositories().order_by().values("pk")
        grants = RepositoryGroupPermission.objects.filter(content_object__in=visible, group=self.team.group)
        return grants.select_related("permission", "content_object__namespace").annotate(
            namespace_name=F("content_object__namespace__name"), name=F("content_object__name")
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        managed = self.access.namespaces("manage_access").values("pk")
        on_namespaces = NamespaceGroupPermission.objects.filter(
            Q(content_object__organization=self.organization) | Q(content_object__in=managed),
            group=self.team.group,
        )
        on_namespaces = on_namespaces.select_related("permission", "content_object")
        return super().get_context_data(
            **kwargs, on_namespaces=on_namespaces.order_by("content_object__name", "pk")
        )

    def get_form(self, data: Any = None) -> TeamGrantForm:
        return TeamGrantForm(data, organization=self.organization)

    def grant(self) -> HttpResponse:
        form = self.get_form(self.request.POST)
        if not form.is_valid():
            return self.render_with(form=form)
        grants.grant(form.cleaned_data["codename"], self.team.group, form.cleaned_data["place"])
        return self.redirect_with_success(f"Granted {self.team} access to {form.cleaned_data['place']}.")

    def revoke(self) -> HttpResponse:
        form = self.get_form(self.request.POST)
        if not form.is_valid():
            return self.render_with(form=form)
        grants.revoke(form.cleaned_data["codename"], self.team.group, form.cleaned_data["place"])
        return self.redirect_with_success(f"Revoked {self.team}'s access to {form.cleaned_data['place']}.")
