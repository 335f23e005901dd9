from django.urls import path

from activity import policies, tag_list, views

app_name = "activity"

urlpatterns = [
    # The tab's own last segment tells where the name, which may hold slashes, ends.
    path(
        "repositories/<str:namespace>/<path:name>/activity/",
        views.RepositoryActivityView.as_view(),
        name="repository",
    ),
    path("repositories/<str:namespace>/<path:name>/tags/", tag_list.TagsView.as_view(), name="tags"),
    path("users/<str:username>/", views.UserView.as_view(), name="user"),
    path("policies/<str:policy_id>/", policies.PolicyView.as_view(), name="policy"),
]
