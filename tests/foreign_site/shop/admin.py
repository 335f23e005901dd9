from django.contrib import admin


class ShopAdminSite(admin.AdminSite):
    site_header = "The shop's office"
