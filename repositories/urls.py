from django.urls import path

from repositories.views import pages, policies, repositories

app_name = "repositories"

urlpatterns = [
    path("", repositories.home, name="home"),
    path("repositories/", repositories.RepositoryListView.as_view(), name="list"),
    path("settings/", repositories.ProfileView.as_view(), name="settings"),
    *(
        path(
            f"repositories/<str:namespace>/<path:name>/{tab.lower()}/",
            policies.PolicyListView.as_view(tab=tab),
            name=tab.lower(),
        )
        for tab in policies.TABS
    ),
    path(
        "repositories/<str:namespace>/<path:name>/new-<str:kind>-policy/",
        policies.PolicyCreateView.as_view(),
        name="policy_create",
    ),
    path("policies/<str:policy_id>/edit/", policies.PolicyEditView.as_view(), name="policy_edit"),
    path("policies/<str:policy_id>/switch/", policies.PolicySwitchView.as_view(), name="policy_switch"),
    path("policies/<str:policy_id>/delete/", policies.PolicyDeleteView.as_view(), name="policy_delete"),
    # The last of all: a name may hold slashes, and the last segment tells what page it is.
    path("repositories/<str:namespace>/<path:name>/", pages.first_tab, name="repository"),
]
