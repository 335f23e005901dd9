from django.contrib.admin import apps


class ShopAdminConfig(apps.AdminConfig):
    """The shop's own admin site in place of Django's."""

    default_site = "shop.admin.ShopAdminSite"
