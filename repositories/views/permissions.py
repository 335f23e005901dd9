"""The Permissions tab of a repository: who may do what in it, and why; granting and revoking."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView

from repositories.access import explaining, grants
from repositories.access.people import known_organizations
from repositories.forms import SUGGESTED, RepositoryGrantForm
from repositories.models import RepositoryGroupPermission, RepositoryUserPermission, Team
from repositories.utils.keyset import Key, Keyset, Page
from repositories.views.actions import ActionsMixin
from repositories.views.pages import RepositoryPage

PAGE_SIZE = 50
TEAM_GRANTS = Keyset([Key("name"), Key("pk", type=int)])
LARGEST_ID = 2**63 - 1


class RevokeForm(forms.Form):
    """Which grant is taken back: one to a user, or one to a team."""

    user_grant = forms.IntegerField(required=False, min_value=1, max_value=LARGEST_ID)
    team_grant = forms.IntegerField(required=False, min_value=1, max_value=LARGEST_ID)


class PermissionsView(RepositoryPage, ActionsMixin, TemplateView):
    """People with rights of their own and what gives these to them, or, asked for, the grants to teams.

    MSR admins and auditors are listed for each other alone, as a repository's admin, which everybody
    can become, needs not know who they are.
    """

    tab = "Permissions"
    template_name = "repositories/permissions.html"
    actions = ["grant", "revoke"]

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        self.require("manage_access")
        return super().post(request, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        by_team = self.request.GET.get("by") == "team"
        search = self.request.GET.get("q", "").strip().replace("\0", "")
        page = self.teams() if by_team else self.people(search)
        context = super().get_context_data(
            **kwargs,
            by_team=by_team,
            search=search,
            page=page,
            team_grants=self.with_known_teams(page.rows) if by_team else [],
            public_right=explaining.public_right(self.repository),
            lists_overseers=self.access.sees_everything,
            query=self.request.GET,
        )
        if "manage_access" in self.permissions:
            context["teams"] = self.known_teams()
            context.setdefault("form", RepositoryGrantForm(viewer=self.request.user))
        return context

    def people(self, search: str) -> Page:
        return explaining.rights_on(
            self.repository, self.request.GET.get("cursor"), search, overseers=self.access.sees_everything
        )

    def teams(self) -> Page:
        rows = RepositoryGroupPermission.objects.filter(content_object=self.repository)
        rows = rows.select_related("permission", "group").annotate(name=F("group__name"))
        return TEAM_GRANTS.page_or_first(rows, PAGE_SIZE, self.request.GET.get("cursor"))

    def with_known_teams(self, rows: list[Any]) -> list[tuple[Any, Team | None]]:
        """Return grants to teams, each with its team if the viewer may know of that."""
        known = known_organizations(self.request.user)
        teams = Team.objects.filter(group__in=[grant.group_id for grant in rows], organization__in=known)
        by_group = {team.group_id: team for team in teams.select_related("organization")}
        return [(grant, by_group.get(grant.group_id)) for grant in rows]

    def known_teams(self) -> list[Team]:
        """Return teams to suggest: those of the organization that owns the repository."""
        owner = known_organizations(self.request.user).filter(namespaces=self.repository.namespace_id)
        return list(Team.objects.filter(organization__in=owner).select_related("organization")[:SUGGESTED])

    def grant(self) -> HttpResponse:
        form = RepositoryGrantForm(self.request.POST, viewer=self.request.user)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form))
        grants.give(form.cleaned_data["codename"], form.cleaned_data["holder"], self.repository)
        return self.done(f"Granted to {form.cleaned_data['holder']}.")

    def revoke(self) -> HttpResponse:
        form = RevokeForm(self.request.POST)
        if form.is_valid():
            for field, model in (
                ("user_grant", RepositoryUserPermission),
                ("team_grant", RepositoryGroupPermission),
            ):
                rows = model.objects.filter(content_object=self.repository, pk=form.cleaned_data[field])
                for row in rows:  # one by one, so that each is told of
                    row.delete()
        return self.done("Revoked.")

    def done(self, message: str) -> HttpResponse:
        messages.success(self.request, message)
        return redirect(self.request.get_full_path())
