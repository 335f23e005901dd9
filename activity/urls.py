from django.urls import path

from activity import policies, views

app_name = "activity"

urlpatterns = [
    # The tab's own last segment tells where the name, which may hold slashes, ends.
    path(
        "repositories/<str:namespace>/<path:name>/activity/",
        views.RepositoryActivityView.as_view(),
        name="repository",
    ),
    path("users/<str:username>/", views.UserView.as_view(), name="user"),
    path("policies/<str:policy_id>/", policies.PolicyView.as_view(), name="policy"),
]
