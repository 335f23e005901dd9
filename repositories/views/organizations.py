"""Organizations and teams: who is in them, for their members, and changes, for owners and MSR admins."""

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
from repositories.access.people import known_organizations
from repositories.access.resolving import Access
from repositories.forms import MemberForm, TeamForm, TeamGrantForm, UserForm
from repositories.models import (
    Membership,
    NamespaceGroupPermission,
    Organization,
    RepositoryGroupPermission,
    Team,
)
from repositories.tabs import tabs_of
from repositories.utils.keyset import BY_NAME, Key, Keyset, Page
from repositories.views.actions import ActionsMixin
from repositories.views.repositories import rows_of

PAGE_SIZE = 50
NAMED = Keyset([Key("name")])
USERNAME = get_user_model().USERNAME_FIELD
USERS = Keyset([Key(USERNAME)])
MEMBERS = Keyset([Key("username")])
GRANTS = Keyset([Key("namespace_name"), Key("name"), Key("pk", type=int)])


class OrganizationPage(ContextMixin):
    """A page about one organization: 404 for those who may not know of it.

    For a view whose address has `name`, and whose template extends
    `repositories/organization.html`.
    """

    tab: str
    """The label of the tab that the page belongs to."""
    request: Any
    kwargs: Any

    @cached_property
    def access(self) -> Access:
        return Access.of(self.request.user)

    @cached_property
    def organization(self) -> Organization:
        name = self.kwargs["name"]
        if "\0" in name:  # which no database takes
            raise Http404
        return get_object_or_404(known_organizations(self.request.user), name=name)

    @cached_property
    def manages(self) -> bool:
        """Whether the viewer may change the organization: its owners, and MSR admins."""
        if "manage_access" in self.access.everywhere:
            return True
        owners = self.organization.memberships.filter(role=Membership.Role.OWNER)
        return owners.filter(user=self.request.user).exists()

    def page_of(self, queryset: QuerySet, keyset: Keyset) -> Page:
        return keyset.page_or_first(queryset, PAGE_SIZE, self.request.GET.get("cursor"))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            "query": self.request.GET,  # unless another view says which part of it links may carry on
            **super().get_context_data(**kwargs),
            "organization": self.organization,
            "manages": self.manages,
            "tabs": tabs_of(self.organization),
            "current_tab": self.tab,
            "section": "organizations",
        }


class ManagedPage(OrganizationPage, ActionsMixin, TemplateView):
    """A page on which those who manage the organization change it."""

    def post(self, request: Any, **kwargs: Any) -> HttpResponse:
        if not self.manages:
            raise Http404
        return super().post(request, **kwargs)

    def show(self, **context: Any) -> HttpResponse:
        """Return the page with what is wrong about a form."""
        return self.render_to_response(self.get_context_data(**context))

    def done(self, message: str) -> HttpResponse:
        messages.success(self.request, message)
        return redirect(self.request.path)

    def refused(self, error: ValidationError) -> HttpResponse:
        messages.error(self.request, error.messages[0])
        return redirect(self.request.path)


class OrganizationListView(TemplateView):
    """The organizations that the viewer belongs to; for MSR admins and auditors all."""

    template_name = "repositories/organizations.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        search = self.request.GET.get("q", "").strip().replace("\0", "")
        organizations = known_organizations(self.request.user)
        if search:
            organizations = organizations.filter(name__icontains=search)
        page = NAMED.page_or_first(organizations, PAGE_SIZE, self.request.GET.get("cursor"))
        own = Membership.objects.filter(user=self.request.user.pk, organization__in=page.rows)
        roles = {membership.organization_id: membership.get_role_display() for membership in own}
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
        page = self.page_of(repositories.with_names(), BY_NAME)
        return super().get_context_data(**kwargs, page=page, rows=rows_of(self.access, page.rows))


class MembersView(ManagedPage):
    """Who belongs to an organization."""

    tab = "Members"
    template_name = "repositories/members.html"
    actions = ["save_member", "remove_member"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        members = self.organization.memberships.annotate(username=F(f"user__{USERNAME}"))
        context = super().get_context_data(**kwargs, page=self.page_of(members, MEMBERS))
        context["roles"] = Membership.Role.choices
        context.setdefault("form", MemberForm())
        return context

    def save_member(self) -> HttpResponse:
        form = MemberForm(self.request.POST)
        if not form.is_valid():
            return self.show(form=form)
        user, role = form.cleaned_data["user"], form.cleaned_data["role"]
        try:
            membership = memberships.set_role(self.organization, user, role)
        except ValidationError as error:
            return self.refused(error)
        return self.done(f"{user} is {membership.get_role_display().lower()} of {self.organization} now.")

    def remove_member(self) -> HttpResponse:
        form = UserForm(self.request.POST)
        if not form.is_valid():
            return self.show(form=form)
        user = form.cleaned_data["user"]
        try:
            memberships.remove(self.organization, user)
        except ValidationError as error:
            return self.refused(error)
        messages.success(self.request, f"{user} doesn't belong to {self.organization} any more.")
        left = user == self.request.user
        return redirect("registry_repositories:organizations") if left else redirect(self.request.path)


class TeamsView(ManagedPage):
    """The teams of an organization."""

    tab = "Teams"
    template_name = "repositories/teams.html"
    actions = ["create_team"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        page = self.page_of(self.organization.teams.all(), NAMED)
        context = super().get_context_data(**kwargs, page=page)
        context.setdefault("form", TeamForm())
        return context

    def create_team(self) -> HttpResponse:
        form = TeamForm(self.request.POST, instance=Team(organization=self.organization))
        try:
            with transaction.atomic():
                team = form.save() if form.is_valid() else None
        except IntegrityError:  # somebody else made it meanwhile, or there is a group of its name
            form.add_error("name", "This name is taken.")
            team = None
        if team is None:
            return self.show(form=form)
        messages.success(self.request, f"{team} was created.")
        return redirect("registry_repositories:team", self.organization.name, team.name)


class TeamPage(ManagedPage):
    """A page about one team."""

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
    """Who is in a team."""

    template_name = "repositories/team.html"
    actions = ["add_member", "remove_member", "delete_team"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        page = self.page_of(self.team.group.user_set.all(), USERS)
        context = super().get_context_data(**kwargs, page=page)
        context.setdefault("form", self.form(None))
        return context

    def form(self, data: Any) -> UserForm:
        members = self.organization.users.all()
        form = UserForm(data, among=members)
        form.fields["user"].error_messages["invalid_choice"] = (
            f"No member of {self.organization} has this name: add them to the organization first."
        )
        return form

    def add_member(self) -> HttpResponse:
        form = self.form(self.request.POST)
        if not form.is_valid():
            return self.show(form=form)
        user = form.cleaned_data["user"]
        self.team.group.user_set.add(user)
        return self.done(f"{user} is in {self.team} now.")

    def remove_member(self) -> HttpResponse:
        form = UserForm(self.request.POST, among=self.team.group.user_set.all())
        if not form.is_valid():
            return self.show(form=form)
        user = form.cleaned_data["user"]
        self.team.group.user_set.remove(user)
        return self.done(f"{user} is not in {self.team} any more.")

    def delete_team(self) -> HttpResponse:
        self.team.delete()
        messages.success(self.request, f"{self.team} was deleted.")
        return redirect("registry_repositories:teams", self.organization.name)


class TeamAccessView(TeamPage):
    """What is granted to a team, in repositories and namespaces that the viewer may know of."""

    template_name = "repositories/team_access.html"
    actions = ["grant", "revoke"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        of_team = {"group": self.team.group}
        managed = self.access.namespaces("manage_access").values("pk")
        on_namespaces = NamespaceGroupPermission.objects.filter(
            Q(content_object__organization=self.organization) | Q(content_object__in=managed), **of_team
        )
        visible = self.access.repositories().order_by().values("pk")
        on_repositories = RepositoryGroupPermission.objects.filter(content_object__in=visible, **of_team)
        page = self.page_of(
            on_repositories.select_related("permission", "content_object__namespace").annotate(
                namespace_name=F("content_object__namespace__name"), name=F("content_object__name")
            ),
            GRANTS,
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
            return self.show(form=form)
        grants.give(form.cleaned_data["codename"], self.team.group, form.cleaned_data["place"])
        return self.done(f"Granted to {self.team} on {form.cleaned_data['place']}.")

    def revoke(self) -> HttpResponse:
        form = TeamGrantForm(self.request.POST, organization=self.organization)
        if not form.is_valid():
            return self.show(form=form)
        grants.take(form.cleaned_data["codename"], self.team.group, form.cleaned_data["place"])
        return self.done(f"Taken from {self.team} on {form.cleaned_data['place']}.")
