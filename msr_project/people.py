"""The admin for users and groups of the host project."""

from __future__ import annotations

from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin

from activity.admin.people import UserAdminMixin
from repositories.admin.immutable import ImmutableFieldsMixin
from repositories.admin.people import GroupAdminMixin, UserCreationForm


class UserAdmin(UserAdminMixin, ImmutableFieldsMixin, DjangoUserAdmin):
    """The admin for users, whose names can't be changed."""

    immutable_fields = ["username"]
    readonly_fields = ["last_login", "date_joined"]  # Django sets these, so no events record their changes
    add_form = UserCreationForm
    # Every team has a group, so there can be thousands of groups, too many for a select box.
    autocomplete_fields = ["groups"]
    filter_horizontal = ["user_permissions"]


class GroupAdmin(GroupAdminMixin, DjangoGroupAdmin):  # type: ignore[misc]
    pass
