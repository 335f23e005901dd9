from django.urls import path

from repositories.views import pages, repositories

app_name = "repositories"

urlpatterns = [
    path("", repositories.home, name="home"),
    path("repositories/", repositories.RepositoryListView.as_view(), name="list"),
    path("settings/", repositories.ProfileView.as_view(), name="settings"),
    # The last of all: a name may hold slashes, and the last segment tells what page it is.
    path("repositories/<str:namespace>/<path:name>/", pages.first_tab, name="repository"),
]
