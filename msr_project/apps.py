from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    """Replaces Django's admin site with the host project's admin site."""

    default = False  # this isn't the configuration for `msr_project` itself
    default_site = "msr_project.admin.AdminSite"
