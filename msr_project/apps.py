from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    """Replaces Django's admin site with that of this project."""

    default = False  # not the configuration of `msr_project` itself
    default_site = "msr_project.admin.AdminSite"
