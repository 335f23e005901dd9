"""The addresses of a site that has neither the admin nor a log-out page."""

from django.urls import include, path

urlpatterns = [
    path("api/v0/", include("activity.api.urls")),
    path("", include("activity.urls")),
    path("", include("repositories.urls")),
]
