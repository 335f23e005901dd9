from django.urls import path

from repositories import views

app_name = "repositories"

urlpatterns = [
    path("", views.home, name="home"),
    path("repositories/", views.RepositoryListView.as_view(), name="list"),
    path("settings/", views.ProfileView.as_view(), name="settings"),
]
