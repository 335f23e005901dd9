"""Pages of organizations and teams: their members can see them, owners and MSR admins can change them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.functional import cached_property
from django.views.generic import TemplateView
from django.views.generic.base import ContextMixin

from repositories import memberships
from repositories.access import grants
from repositories.access.people import visible_organizations
from repositories.access.resolving import Access
from repositories.forms import MemberForm, TeamForm, TeamGrantForm, UserForm
from repositories.models import (
    Membership,
    NamespaceGroupPermission,
    Organization,
    RepositoryGroupPermission,
    Team,
)
from repositories.tabs import tabs_for_organization
from repositories.utils.keyset import BY_NAME, Key, Keyset, Page
from repositories.views.actions import ActionsMixin
from repositories.views.repositories import repository_rows

PAGE_SIZE = 50
ORDER_BY_NAME = Keyset([Key("name")])
USERNAME = get_user_model().USERNAME_FIELD
ORDER_BY_USERNAME = Keyset([Key(USERNAME)])
MEMBER_ORDER = Keyset([Key("username")])
GRANT_ORDER = Keyset([Key("namespace_name"), Key("name"), Key("pk", type=int)])


class OrganizationPage(ContextMixin):
    """A page of an organization. Returns 404 to viewers who can't see the organization.

    The view's URL must have a `name` parameter, and its template must extend
    `repositories/organization.html`.
    """

    tab: str
    """The label of the tab that the page belongs to."""
    request: Any
    kwargs: Any

    @cached_property
    def access(self) -> Access:
        return Access.for_user(self.request.user)

    @cached_property
    def organization(self) -> Organization:
        name = self.kwargs["name"]
        if "\0" in name:  # databases reject NUL characters
            raise Http404
        return get_object_or_404(visible_organizations(self.request.user), name=name)

    @cached_property
    def can_manage(self) -> bool:
        """Whether the viewer can change the organization, as one of its owners or as an MSR admin."""
        if "manage_access" in self.access.everywhere:
            return True
        owners = self.organization.memberships.filter(role=Membership.Role.OWNER)
        return owners.filter(user=self.request.user).exists()

    def paginate(self, queryset: QuerySet, keyset: Keyset) -> Page:
        return keyset.page_or_first(queryset, PAGE_SIZE, self.request.GET.get("cursor"))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            "query": self.request.GET,  # a subclass may pass only part of it for links
            **super().get_context_data(**kwargs),
            "organization": self.organization,
            "can_manage": self.can_manage,
            "tabs": tabs_for_organization(self.organization),
            "current_tab": self.tab,
            "section": "organizations",
        }


class ManagedPage(OrganizationPage, ActionsMixin, TemplateView):
    """A page on which owners and MSR admins can change the organization."""

    def post(self, request: Any, **kwargs: Any) -> HttpResponse:
        if not self.can_manage:
            raise Http404
        return super().post(request, **kwargs)

    def render_with(self, **context: Any) -> HttpResponse:
        """Return the page, with an invalid form in its context."""
        return self.render_to_response(self.get_context_data(**context))

    def redirect_with_success(self, message: str) -> HttpResponse:
        messages.success(self.request, message)
        return redirect(self.request.path)

    def redirect_with_error(self, error: ValidationError) -> HttpResponse:
        messages.error(self.request, error.messages[0])
        return redirect(self.request.path)


class OrganizationListView(TemplateView):
    """The organizations that the viewer belongs to, or all of them for MSR admins and auditors."""

    template_name = "repositories/organizations.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        search = self.request.GET.get("q", "").strip().replace("\0", "")
        organizations = visible_organizations(self.request.user)
        if search:
            organizations = organizations.filter(name__icontains=search)
        page = ORDER_BY_NAME.page_or_first(organizations, PAGE_SIZE, self.request.GET.get("cursor"))
        own_memberships = Membership.objects.filter(user=self.request.user.pk, organization__in=page.rows)
        roles = {membership.organization_id: membership.get_role_display() for membership in own_memberships}
        return super().get_context_data(
            **kwargs,
            page=page,
            rows=[(organization, roles.get(organization.pk)) for organization in page.rows],
            search=search,
            query=self.request.GET,
            section="organizations",
        )


class OverviewView(OrganizationPage, TemplateView):
    """The repositories of an organization that the viewer can see."""

    tab = "Overview"
    template_name = "repositories/overview.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        repositories = self.access.repositories().filter(namespace__organization=self.organization)
        page = self.paginate(repositories.with_names(), BY_NAME)
        return super().get_context_data(**kwargs, page=page, rows=repository_rows(self.access, page.rows))


class MembersView(ManagedPage):
    """The members of an organization."""

    tab = "Members"
    template_name = "repositories/members.html"
    actions = ["save_member", "remove_member"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        members = self.organization.memberships.annotate(username=F(f"user__{USERNAME}"))
        context = super().get_context_data(**kwargs, page=self.paginate(members, MEMBER_ORDER))
        context["roles"] = Membership.Role.choices
        context.setdefault("form", MemberForm())
        return context

    def save_member(self) -> HttpResponse:
        form = MemberForm(self.request.POST)
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

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        page = self.paginate(self.organization.teams.all(), ORDER_BY_NAME)
        context = super().get_context_data(**kwargs, page=page)
        context.setdefault("form", TeamForm())
        return context

    def create_team(self) -> HttpResponse:
        form = TeamForm(self.request.POST, instance=Team(organization=self.organization))
        try:
            with transaction.atomic():
                team = form.save() if form.is_valid() else None
        except IntegrityError:  # another request created it, or a group has this name
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
        name = self.kwargs["team"]
        if "\0" in name:
            raise Http404
        return get_object_or_404(self.organization.teams.select_related("group"), name=name)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "team": self.team}


class TeamView(TeamPage):
    """The members of a team."""

    template_name = "repositories/team.html"
    actions = ["add_member", "remove_member", "delete_team"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        page = self.paginate(self.team.group.user_set.all(), ORDER_BY_USERNAME)
        context = super().get_context_data(**kwargs, page=page)
        context.setdefault("form", self.form(None))
        return context

    def form(self, data: Any) -> UserForm:
        members = self.organization.users.all()
        form = UserForm(data, users=members)
        form.fields["user"].error_messages["invalid_choice"] = (
            f"No member of {self.organization} has this name. Add the user to the organization first."
        )
        return form

    def add_member(self) -> HttpResponse:
        form = self.form(self.request.POST)
        if not form.is_valid():
            return self.render_with(form=form)
        user = form.cleaned_data["user"]
        self.team.group.user_set.add(user)
        return self.redirect_with_success(f"{user} was added to {self.team}.")

    def remove_member(self) -> HttpResponse:
        form = UserForm(self.request.POST, users=self.team.group.user_set.all())
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
    """The grants of a team on the repositories and namespaces that the viewer can see."""

    template_name = "repositories/team_access.html"
    actions = ["grant", "revoke"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        to_team = {"group": self.team.group}
        managed = self.access.namespaces("manage_access").values("pk")
        on_namespaces = NamespaceGroupPermission.objects.filter(
            Q(content_object__organization=self.organization) | Q(content_object__in=managed), **to_team
        )
        visible = self.access.repositories().order_by().values("pk")
        on_repositories = RepositoryGroupPermission.objects.filter(content_object__in=visible, **to_team)
        page = self.paginate(
            on_repositories.select_related("permission", "content_object__namespace").annotate(
                namespace_name=F("content_object__namespace__name"), name=F("content_object__name")
            ),
            GRANT_ORDER,
        )
        context = super().get_context_data(
            **kwargs,
            on_namespaces=on_namespaces.select_related("permission", "content_object").order_by(
                "content_object__name", "pk"
            ),
            page=page,
        )
        context.setdefault("form", TeamGrantForm(organization=self.organization))
        return context

    def grant(self) -> HttpResponse:
        form = TeamGrantForm(self.request.POST, organization=self.organization)
        if not form.is_valid():
            return self.render_with(form=form)
        grants.grant(form.cleaned_data["codename"], self.team.group, form.cleaned_data["place"])
        return self.redirect_with_success(f"Granted {self.team} access to {form.cleaned_data['place']}.")

    def revoke(self) -> HttpResponse:
        form = TeamGrantForm(self.request.POST, organization=self.organization)
        if not form.is_valid():
            return self.render_with(form=form)
        grants.revoke(form.cleaned_data["codename"], self.team.group, form.cleaned_data["place"])
        return self.redirect_with_success(
            f"Revoked the access of {self.team} to {form.cleaned_data['place']}."
        )
