"""Addresses of the host project."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("django.contrib.auth.urls")),
    path("api/v0/", include("activity.api.urls")),
    path("", include("activity.urls")),
    path("", include("repositories.urls")),
]
