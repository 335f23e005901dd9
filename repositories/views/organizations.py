"""Pages for organizations and teams.

Members of an organization can see its pages. Its owners and MSR admins can also make changes.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.generic import FormView

from repositories import memberships
from repositories.access import grants
from repositories.access.resolving import Access
from repositories.dependents import MAX_SHOWN, Dependents
from repositories.forms import MemberForm, OrganizationForm, SearchForm, TeamForm, TeamGrantForm, UserForm
from repositories.models import (
    Membership,
    Namespace,
    NamespaceGroupPermission,
    Organization,
    Repository,
    RepositoryGroupPermission,
    Team,
)
from repositories.tabs import ORGANIZATION_TABS, tabs_for_organization
from repositories.utils.keyset import Key, Keyset
from repositories.utils.text import get_named_or_404
from repositories.views.actions import ActionsMixin
from repositories.views.lists import KeysetListView
from repositories.views.pages import ViewerMixin
from repositories.views.repositories import RepositoriesMixin

USERNAME = get_user_model().USERNAME_FIELD


class OrganizationPage(ViewerMixin):
    """A page of an organization. Returns 404 to viewers who can't see the organization.

    The view's URL must have a `name` parameter, and its template must extend
    `registry_repositories/organization.html`.
    """

    tab: str
    """The URL name of the tab that the page belongs to."""

    @cached_property
    def organization(self) -> Organization:
        return get_named_or_404(self.access.organizations(), name=self.kwargs["name"])

    @cached_property
    def can_manage(self) -> bool:
        """Whether the viewer can change the organization: owners and MSR admins can."""
        own = self.organization.memberships.filter(user=self.request.user.pk, role=Membership.Role.OWNER)
        return "manage_access" in self.access.everywhere or own.exists()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "organization": self.organization,
            "can_manage": self.can_manage,
            "tabs": tabs_for_organization(self.organization),
            "current_tab": ORGANIZATION_TABS[self.tab],
            "section": "organizations",
        }


class ManagedPage(OrganizationPage, ActionsMixin, KeysetListView):
    """A page with a list that owners and MSR admins can change. It shows the form of the first action."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form_class = next(iter(self.actions.values()))
        return super().get_context_data(**{"form": form_class(), **kwargs})

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if not self.can_manage:
            raise Http404
        return super().post(request, **kwargs)


class OrganizationListView(ViewerMixin, KeysetListView):
    """The organizations that the viewer belongs to, or all of them for MSR admins and auditors."""

    template_name = "registry_repositories/organizations.html"
    search_form = SearchForm
    extra_context = {"section": "organizations"}
    keyset = Keyset([Key("name")])

    def get_queryset(self) -> QuerySet[Organization]:
        return self.access.organizations().filter(name__icontains=self.search.values["q"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, may_create=may_create_organizations(self.access))

    def get_rows(self, rows: list[Organization]) -> list[tuple[Organization, str | None]]:
        own_memberships = Membership.objects.filter(user=self.request.user.pk, organization__in=rows)
        roles = {membership.organization_id: membership.get_role_display() for membership in own_memberships}
        return [(organization, roles.get(organization.pk)) for organization in rows]


class NewOrganizationView(ViewerMixin, FormView):
    """The form with which MSR admins create an organization."""

    template_name = "registry_repositories/new_organization.html"
    form_class = OrganizationForm
    extra_context = {"section": "organizations"}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not may_create_organizations(self.access):
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "viewer": self.request.user}

    def form_valid(self, form: OrganizationForm) -> HttpResponse:
        try:
            organization = form.save()
        except IntegrityError:  # a user or an organization got this name in the meantime
            form.add_error("name", _("A user or another organization already has this name."))
            return self.form_invalid(form)
        messages.success(self.request, _("%(organization)s was created.") % {"organization": organization})
        return redirect("registry_repositories:members", organization.name)


def may_create_organizations(access: Access) -> bool:
    """Return whether a viewer is an MSR admin."""
    return "manage_access" in access.everywhere


class OverviewView(OrganizationPage, RepositoriesMixin):
    """The repositories in an organization, limited to those that the viewer can see."""

    tab = "registry_repositories:organization"
    template_name = "registry_repositories/overview.html"

    def get_queryset(self) -> QuerySet[Repository]:
        own = self.access.repositories().filter(namespace__organization=self.organization)
        return own.select_related("namespace")


class MembersView(ManagedPage):
    """The members of an organization."""

    tab = "registry_repositories:members"
    template_name = "registry_repositories/members.html"
    keyset = Keyset([Key("username")])

    @property
    def actions(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "save_member": partial(MemberForm, viewer=self.request.user),
            "remove_member": partial(
                UserForm, users=self.organization.users.all(), unknown=_("No member has this name.")
            ),
        }

    def get_queryset(self) -> QuerySet[Membership]:
        return self.organization.memberships.annotate(username=F(f"user__{USERNAME}"))

    def save_member(self, user: Any, role: str) -> str:
        membership = memberships.set_role(self.organization, user, role)
        if membership.role == Membership.Role.OWNER:
            text = _("%(user)s is now an owner of %(organization)s.")
        else:
            text = _("%(user)s is now a member of %(organization)s.")
        return text % {"user": user, "organization": self.organization}

    def remove_member(self, user: Any) -> str:
        memberships.remove(self.organization, user)
        if user == self.request.user:
            self.success_url = reverse("registry_repositories:organizations")
        return _("%(user)s was removed from %(organization)s.") % {
            "user": user,
            "organization": self.organization,
        }


class TeamsView(ManagedPage):
    """The teams of an organization."""

    tab = "registry_repositories:teams"
    template_name = "registry_repositories/teams.html"
    keyset = Keyset([Key("name")])

    @property
    def actions(self) -> dict[str, Any]:  # type: ignore[override]
        return {"create_team": TeamForm}

    def get_queryset(self) -> QuerySet[Team]:
        return self.organization.teams.all()

    def create_team(self, name: str) -> str:
        try:
            with transaction.atomic():
                team = Team.objects.create(organization=self.organization, name=name)
        except IntegrityError as error:  # a team or another group has this name
            raise ValidationError({"name": _("This name is taken.")}) from error
        self.success_url = reverse("registry_repositories:team", args=[self.organization.name, name])
        return _("%(team)s was created.") % {"team": team}


class TeamPage(ManagedPage):
    """A page of a team."""

    tab = "registry_repositories:teams"

    @cached_property
    def team(self) -> Team:
        return get_named_or_404(self.organization.teams.select_related("group"), name=self.kwargs["team"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "team": self.team}

    def grants_on_repositories(self) -> QuerySet[RepositoryGroupPermission]:
        """Return the team's grants on repositories that the viewer can see."""
        visible = self.access.repositories().order_by().values("pk")
        grants = RepositoryGroupPermission.objects.filter(content_object__in=visible, group=self.team.group)
        return grants.select_related("permission", "group", "content_object__namespace")

    def grants_on_namespaces(self) -> QuerySet[NamespaceGroupPermission]:
        """Return the team's grants on namespaces that the organization owns or the viewer can manage."""
        managed = self.access.namespaces("manage_access").values("pk")
        grants = NamespaceGroupPermission.objects.filter(
            Q(content_object__organization=self.organization) | Q(content_object__in=managed),
            group=self.team.group,
        )
        return grants.select_related("permission", "group", "content_object").order_by(
            "content_object__name", "pk"
        )


class TeamView(TeamPage):
    """The members of a team."""

    template_name = "registry_repositories/team.html"
    keyset = Keyset([Key(USERNAME)])

    @property
    def actions(self) -> dict[str, Any]:  # type: ignore[override]
        unknown = _(
            "No member of %(organization)s has this name. Add the user to the organization first."
        ) % {"organization": self.organization}
        return {
            "add_member": partial(UserForm, users=self.organization.users.all(), unknown=unknown),
            "remove_member": partial(
                UserForm, users=self.get_queryset(), unknown=_("No member has this name.")
            ),
            "delete_team": forms.Form,
        }

    def get_queryset(self) -> QuerySet:
        return self.team.group.user_set.all()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        if self.can_manage:
            found = [*self.grants_on_namespaces()[:MAX_SHOWN], *self.grants_on_repositories()[:MAX_SHOWN]]
            context["dependents"] = Dependents(found).in_words()
        return context

    def add_member(self, user: Any) -> str:
        self.team.group.user_set.add(user)
        return _("%(user)s was added to %(team)s.") % {"user": user, "team": self.team}

    def remove_member(self, user: Any) -> str:
        self.team.group.user_set.remove(user)
        return _("%(user)s was removed from %(team)s.") % {"user": user, "team": self.team}

    def delete_team(self) -> str:
        self.team.delete()
        self.success_url = reverse("registry_repositories:teams", args=[self.organization.name])
        return _("%(team)s was deleted.") % {"team": self.team}


class TeamAccessView(TeamPage):
    """A team's grants, limited to repositories and namespaces that the viewer can see."""

    template_name = "registry_repositories/team_access.html"
    keyset = Keyset([Key("full_name"), Key("pk", type=int)])

    @property
    def actions(self) -> dict[str, Any]:  # type: ignore[override]
        return dict.fromkeys(["grant", "revoke"], partial(TeamGrantForm, organization=self.organization))

    def get_queryset(self) -> QuerySet[RepositoryGroupPermission]:
        return self.grants_on_repositories().annotate(full_name=F("content_object__full_name"))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, on_namespaces=self.grants_on_namespaces())

    def grant(self, place: Repository | Namespace, codename: str, until: datetime | None) -> str:
        grants.grant(codename, self.team.group, place, until)
        return _("Granted %(team)s access to %(place)s.") % {"team": self.team, "place": place}

    def revoke(self, place: Repository | Namespace, codename: str, until: datetime | None) -> str:
        grants.revoke(codename, self.team.group, place)
        return _("Revoked %(team)s's access to %(place)s.") % {"team": self.team, "place": place}
