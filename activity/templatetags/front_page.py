"""Template tag for the recent activity on the admin's front page."""

from typing import Any

from django import template

from activity.admin import front_page

register = template.Library()


@register.inclusion_tag("admin/registry_activity/front_page.html", takes_context=True, name="front_page")
def show(context: Any) -> dict[str, Any]:
    """Render the recent activity, or nothing if the user may not audit the registry."""
    user = context["request"].user
    return front_page.build_context(user) if user.has_perm("registry_repositories.audit_registry") else {}
