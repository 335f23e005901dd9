"""The URLs of a site that has neither the admin nor a logout page."""

from django.urls import include, path

urlpatterns = [
    path("api/v0/", include("activity.api.urls")),
    path("", include("activity.urls")),
    path("", include("repositories.urls")),
]
