"""The Permissions tab of a repository: who has access and why, with forms to grant and revoke access."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from repositories.access import effective_access, grants
from repositories.forms import MAX_SUGGESTIONS, HolderSearchForm, RepositoryGrantForm
from repositories.models import RepositoryGroupPermission, RepositoryUserPermission, Team
from repositories.utils.keyset import Key, Keyset, Page
from repositories.views.actions import ActionsMixin
from repositories.views.lists import KeysetListView
from repositories.views.pages import RepositoryPage


class RevokeForm(forms.Form):
    """The ID of the grant to revoke. Only one of the two fields is filled in."""

    user_grant = forms.IntegerField(required=False)
    team_grant = forms.IntegerField(required=False)


class PermissionsView(RepositoryPage, ActionsMixin, KeysetListView):
    """Lists either the users with individual access to a repository, and why they have it, or team grants.

    MSR admins and auditors are listed only if the viewer is also an MSR admin or auditor. Repository admins
    don't need to know who the MSR admins and auditors are, and any user can become a repository admin by
    creating a repository.
    """

    tab = "registry_repositories:permissions"
    template_name = "registry_repositories/permissions.html"
    search_form = HolderSearchForm
    keyset = Keyset([Key("name"), Key("pk", type=int)])

    @property
    def actions(self) -> dict[str, Any]:  # type: ignore[override]
        organizations = self.access.organizations()
        grant = partial(RepositoryGrantForm, viewer=self.request.user, organizations=organizations)
        return {"grant": grant, "revoke": forms.Form}

    @property
    def by_team(self) -> bool:
        return self.search.values["by"] == "team"

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        self.require("manage_access")
        self.success_url = request.get_full_path()
        return super().post(request, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(
            **kwargs,
            by_team=self.by_team,
            public_right=effective_access.public_right(self.repository),
            lists_registry_roles=self.access.sees_everything,
        )
        if "manage_access" in self.permissions:
            context["teams"] = self.suggested_teams()
            context.setdefault("form", self.actions["grant"]())
        return context

    def get_page(self) -> Page:
        if self.by_team:
            return super().get_page()
        return effective_access.rights_on(
            self.repository,
            self.request.GET.get("cursor"),
            self.search.values["q"],
            include_registry_roles=self.access.sees_everything,
        )

    def get_queryset(self) -> QuerySet[RepositoryGroupPermission]:
        grants = RepositoryGroupPermission.objects.filter(content_object=self.repository)
        return grants.select_related("permission", "group").annotate(name=F("group__name"))

    def get_rows(self, rows: list[Any]) -> list[Any]:
        """Return the grants with their teams, or with None for teams that the viewer can't see."""
        if not self.by_team:
            return rows
        visible = self.access.organizations()
        teams = Team.objects.filter(group__in=[grant.group_id for grant in rows], organization__in=visible)
        by_group = {team.group_id: team for team in teams.select_related("organization")}
        return [(grant, by_group.get(grant.group_id)) for grant in rows]

    def suggested_teams(self) -> QuerySet[Team]:
        """Return the teams of the organization that owns the repository, to suggest in the form."""
        owner = self.access.organizations().filter(namespaces=self.repository.namespace_id)
        return Team.objects.filter(organization__in=owner).select_related("organization")[:MAX_SUGGESTIONS]

    def grant(self, holder: Any, codename: str, until: datetime | None) -> str:
        grants.grant(codename, holder, self.repository, until)
        return _("Granted %(holder)s access to %(repository)s.") % {
            "holder": holder,
            "repository": self.repository,
        }

    def revoke(self) -> str:
        form = RevokeForm(self.request.POST)
        users, teams = (
            model.objects.filter(content_object=self.repository)
            for model in (RepositoryUserPermission, RepositoryGroupPermission)
        )
        grants: list[Any] = []
        if form.is_valid():
            grants += users.filter(pk=form.cleaned_data["user_grant"])
            grants += teams.filter(pk=form.cleaned_data["team_grant"])
        if not grants:
            raise ValidationError(_("Nothing was revoked. This access was revoked before, or never given."))
        for grant in grants:  # one by one, so that each deletion sends signals
            grant.delete()
        return _("Access revoked.")
