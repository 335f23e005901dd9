from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from shop.uuid_users.models import Person


@admin.register(Person)
class PersonAdmin(UserAdmin):
    list_display = ["username"]
