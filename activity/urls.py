"""All URLs of the apps. A site includes this module under any prefix."""

from django.urls import include, path

urlpatterns = [
    path("api/v0/", include("activity.api.urls")),
    path("", include("activity.views.urls")),
    path("", include("repositories.urls")),
]
