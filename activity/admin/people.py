"""What the apps add to the admin for users, which is the site's own."""

from repositories.admin import people


class UserAdminMixin(people.UserAdminMixin):
    """What to put before the site's own base class. It adds a link to dispute what the user delivered."""

    change_form_template = "admin/registry_activity/user_change_form.html"
