from django.urls import path

from activity.views import activity, atom, policies, tags
from repositories.utils.private import make_private

app_name = "registry_activity"

urlpatterns = [
    path("activity/", activity.ActivityView.as_view(), name="all"),
    path("activity/atom/", atom.ActivityAtom.as_view(), name="all-atom"),
    # Repository names can contain slashes. The segment after the name marks its end.
    path(
        "repositories/<str:namespace>/<path:name>/activity/",
        activity.RepositoryActivityView.as_view(),
        name="repository",
    ),
    path(
        "repositories/<str:namespace>/<path:name>/activity/atom/",
        atom.RepositoryAtom.as_view(),
        name="repository-atom",
    ),
    path(
        "organizations/<str:name>/activity/",
        activity.OrganizationActivityView.as_view(),
        name="organization",
    ),
    path(
        "organizations/<str:name>/activity/atom/",
        atom.OrganizationAtom.as_view(),
        name="organization-atom",
    ),
    path("repositories/<str:namespace>/<path:name>/tags/", tags.TagsView.as_view(), name="tags"),
    path("users/<str:username>/", activity.UserView.as_view(), name="user"),
    path("users/<str:username>/atom/", atom.UserAtom.as_view(), name="user-atom"),
    path("policies/<slug:policy_id>/", policies.PolicyView.as_view(), name="policy"),
]

make_private(urlpatterns)
