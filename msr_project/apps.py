from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin import apps


class ProjectConfig(AppConfig):
    name = "msr_project"

    def ready(self) -> None:
        from msr_project import checks  # noqa: F401  # registers the checks


class AdminConfig(apps.AdminConfig):
    """Replaces Django's admin site with the host project's admin site."""

    default = False  # this isn't the configuration for `msr_project` itself
    default_site = "msr_project.admin.AdminSite"

    def ready(self) -> None:
        super().ready()
        from knox.models import AuthToken

        admin.site.unregister(AuthToken)  # the apps' own `AccessToken` replaces Knox's model
