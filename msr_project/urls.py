"""URLs of the host project."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

handler400 = "msr_project.errors.bad_request"
handler404 = "msr_project.errors.not_found"
handler500 = "msr_project.errors.server_error"

urlpatterns = [
    # Redirects for shorter admin URLs, which contain the package name instead of the app label.
    *(
        re_path(
            rf"^admin/{package}/(?P<rest>.*)$",
            RedirectView.as_view(url=f"/admin/{label}/%(rest)s", query_string=True),
        )
        for package, label in (("activity", "registry_activity"), ("repositories", "registry_repositories"))
    ),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=static("registry_activity/icon.svg"))),
    path("accounts/login/", auth.LoginView.as_view(), name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("", include("activity.urls")),
]
