"""The URLs of a site that has neither the admin nor a logout page."""

from django.urls import include, path

urlpatterns = [
    path("", include("activity.urls")),
]
