from django.urls import path, re_path

from activity.views import activity, atom, events, health, policies, pulls, tags
from repositories.accounts.profiles import make_pages
from repositories.urls import ORGANIZATION, REPOSITORY
from repositories.utils import converters  # noqa: F401  # registers `name`

app_name = "registry_activity"

urlpatterns = [
    path("activity/", activity.ActivityView.as_view(), name="all"),
    path("events/<uuid:event_id>/", events.EventView.as_view(), name="event"),
    path("activity/atom/", atom.ActivityAtom.as_view(), name="all-atom"),
    path(f"{REPOSITORY}activity/", activity.RepositoryActivityView.as_view(), name="repository"),
    path(f"{REPOSITORY}activity/atom/", atom.RepositoryAtom.as_view(), name="repository-atom"),
    path(f"{REPOSITORY}pulls/", pulls.PullsView.as_view(), name="pulls"),
    path(f"{REPOSITORY}tags/", tags.TagsView.as_view(), name="tags"),
    path(f"{ORGANIZATION}activity/", activity.OrganizationActivityView.as_view(), name="organization"),
    path(f"{ORGANIZATION}activity/atom/", atom.OrganizationAtom.as_view(), name="organization-atom"),
    path("users/<name:username>/", activity.UserView.as_view(), name="user"),
    path("users/<name:username>/atom/", atom.UserAtom.as_view(), name="user-atom"),
    path("policies/<slug:policy_id>/", policies.PolicyView.as_view(), name="policy"),
    # Monitors and Prometheus conventionally leave out the slash.
    re_path("^healthz/?$", health.health_status, name="health"),
    re_path("^metrics/?$", health.metrics, name="metrics"),
]

make_pages(urlpatterns)
