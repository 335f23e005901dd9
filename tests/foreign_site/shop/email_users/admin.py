from django.contrib import admin

from shop.email_users.models import Customer

admin.site.register(Customer)  # an admin that can't search
