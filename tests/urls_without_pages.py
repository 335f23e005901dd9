"""The URLs of a site that doesn't include those of the apps."""

from django.contrib.auth.views import LoginView
from django.urls import path

urlpatterns = [path("accounts/login/", LoginView.as_view(), name="login")]
