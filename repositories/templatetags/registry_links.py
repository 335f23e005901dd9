"""Template tags for links to pages and to people."""

from __future__ import annotations

from typing import Any

from django import template

from repositories import extensions
from repositories.access.people import owners_to_ask
from repositories.utils.text import is_storable

register = template.Library()
register.simple_tag(extensions.page_url)


@register.simple_tag(takes_context=True)
def whom_to_ask(context: Any) -> list[Any]:
    """Return the owners of the organization that the address of a page names, if the viewer belongs to it."""
    request = context["request"]
    found = request.resolver_match.kwargs if request.resolver_match else {}
    namespace = str(found.get("namespace") or found.get("name") or "")
    return owners_to_ask(request.user, namespace) if namespace and is_storable(namespace) else []
