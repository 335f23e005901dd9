from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    """Replaces Django's admin site with the admin site of this project."""

    default = False  # this isn't the configuration of `msr_project` itself
    default_site = "msr_project.admin.AdminSite"
