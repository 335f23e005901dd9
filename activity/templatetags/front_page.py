"""Puts what happened lately on the admin's front page."""

from typing import Any

from django import template

from activity.admin import front_page

register = template.Library()


@register.inclusion_tag("admin/registry_activity/front_page.html", takes_context=True, name="front_page")
def show(context: Any) -> dict[str, Any]:
    """Show it to those who may audit; to others nothing."""
    user = context["request"].user
    return front_page.contents(user) if user.has_perm("registry_repositories.audit_registry") else {}
