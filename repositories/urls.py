from django.urls import path
from django.views.generic import RedirectView

from repositories.accounts import views as accounts
from repositories.accounts.profiles import make_pages
from repositories.views import info, organizations, pages, permissions, policies, repositories

app_name = "registry_repositories"

ORGANIZATION = "organizations/<str:name>/"
# A repository's name can contain slashes, and can end in a word such as `tags`. The last segment of the URL
# determines the page.
REPOSITORY = "repositories/<str:namespace>/<path:name>/"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="registry_repositories:list"), name="home"),
    path("settings/", accounts.PreferencesView.as_view(), name="preferences"),
    path("settings/time-zone/", accounts.guess_time_zone, name="guess-time-zone"),
    path("settings/password/", accounts.PasswordView.as_view(), name="password"),
    path("settings/tokens/", accounts.TokensView.as_view(), name="tokens"),
    path("settings/tokens/<slug:pk>/revoke/", accounts.RevokeTokenView.as_view(), name="revoke-token"),
    path("repositories/", repositories.RepositoryListView.as_view(), name="list"),
    # This can't clash with a repository's page, whose URL has at least two segments after `repositories/`.
    path("repositories/new/", repositories.NewRepositoryView.as_view(), name="new"),
    path("organizations/", organizations.OrganizationListView.as_view(), name="organizations"),
    path("new-organization/", organizations.NewOrganizationView.as_view(), name="new_organization"),
    path(ORGANIZATION, organizations.OverviewView.as_view(), name="organization"),
    path(f"{ORGANIZATION}members/", organizations.MembersView.as_view(), name="members"),
    path(f"{ORGANIZATION}teams/", organizations.TeamsView.as_view(), name="teams"),
    path(f"{ORGANIZATION}teams/<str:team>/", organizations.TeamView.as_view(), name="team"),
    path(
        f"{ORGANIZATION}teams/<str:team>/access/",
        organizations.TeamAccessView.as_view(),
        name="team_access",
    ),
    path(f"{REPOSITORY}info/", info.InfoView.as_view(), name="info"),
    path(f"{REPOSITORY}permissions/", permissions.PermissionsView.as_view(), name="permissions"),
    path(f"{REPOSITORY}settings/", info.SettingsView.as_view(), name="repository_settings"),
    *(
        path(f"{REPOSITORY}{name}/", policies.PolicyListView.as_view(tab=tab), name=name)
        for tab in policies.TABS
        for name in [tab.rpartition(":")[2]]
    ),
    path(f"{REPOSITORY}new-<str:kind>-policy/", policies.PolicyCreateView.as_view(), name="policy_create"),
    path("policies/<slug:policy_id>/edit/", policies.PolicyEditView.as_view(), name="policy_edit"),
    path("policies/<slug:policy_id>/switch/", policies.PolicySwitchView.as_view(), name="policy_switch"),
    path("policies/<slug:policy_id>/delete/", policies.PolicyDeleteView.as_view(), name="policy_delete"),
    # This pattern comes last, because it matches any name.
    path(REPOSITORY, pages.first_tab, name="repository"),
]

make_pages(urlpatterns)
